"""LoRA: the weights stay as they are, and a product of two thin matrices is learned beside each.

    W' = W + (alpha / rank) A B                 A [in, rank] random, B [rank, out] zero: the first step changes nothing
    DoRA: W' = m * V / |V|, V = W + (alpha / rank) A B, m = |W| at first; one length for each output, |V| a constant in
    the gradient

Hu et al. 2022, section 4.1; Liu et al. 2024, "DoRA", sections 4.1 and 4.3. Initial values as in PEFT. The effective
weights are made inside the loss, so no mixer knows of it, and every matrix of every mixer can be a target: attention's,
recurrent ones', MLPs', each expert of a mixture.

Look first at: `Adapter.onto`, `Adapters.init`, `adaptable`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from linearnexus.core.axes import Axes
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.initializers import uniform
from linearnexus.core.module import (
    axes,
    matrix,
    matrix_dims,
    module,
    name_of,
    roles,
    static,
    vector,
)
from linearnexus.core.renames import current_name
from linearnexus.models.costs import count
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.stacked import layer_names, unstacked
from linearnexus.posttraining.config import SFTConfig, SFTSettings

NAMES = {"lora": "LoRA", "dora": "DoRA"}


@module
class Adapter:
    """What is learned beside one matrix, or beside each of a stack of them."""

    A: Array = matrix(lambda adapter: (*adapter.beside[:-1], "adapter_rank"))  # [..., in, R]
    B: Array = matrix(lambda adapter: (*adapter.beside[:-2], "adapter_rank", adapter.beside[-1]))  # [..., R, out]
    magnitude: Array | None = vector(lambda adapter: (*adapter.beside[:-2], adapter.beside[-1]))  # [..., out], DoRA's m
    beside: Axes = static()  # the axes of the matrix

    @classmethod
    def init(cls, weight: Float[Array, "... I O"], beside: Axes, rank: int, dora: bool, key: Array) -> "Adapter":
        *stack, inner, outer = weight.shape
        A = uniform(key, *stack, inner, rank, fan_in=inner)
        return cls(A, jnp.zeros((*stack, rank, outer), weight.dtype), lengths(weight) if dora else None, beside)

    def onto(self, weight: Float[Array, "..."], scale: float) -> Float[Array, "..."]:
        """The effective weight, in the dimensions that the weight is stored in."""
        more = self.A @ self.B
        changed = weight.reshape(more.shape) + scale * more
        if self.magnitude is not None:
            length = lax.stop_gradient(jnp.maximum(lengths(changed), 1e-12))
            changed = changed * (self.magnitude / length)[..., None, :]
        return changed.reshape(weight.shape)


@module
class Adapters:
    """What is learned beside a language model that stays as it is."""

    layers: dict[str, Adapter]  # by the place of the matrix, blocks.7.mixer.wq
    scale: float = static()

    @classmethod
    def init(cls, model: LanguageModel, settings: SFTSettings, seed: int) -> "Adapters":
        found = chosen(model, settings.targets)
        keys = jax.random.split(jax.random.key(seed), len(found))
        dora = settings.method == "dora"
        made = {
            name: Adapter.init(*target, settings.rank, dora, key)
            for (name, target), key in zip(found.items(), keys, strict=True)
        }
        return cls(made, settings.alpha / settings.rank)

    def merged(self, model: LanguageModel) -> LanguageModel:
        """The model with the effective weights."""
        leaves, structure = jax.tree.flatten(model)
        return jax.tree.unflatten(structure, map(self._effective, layer_names(model), leaves))

    def _effective(self, names: tuple[str, ...], weight: Array) -> Array:
        """The effective weight of one matrix, or of those of several layers in a stack."""
        places = [place for place, name in enumerate(names) if name in self.layers]
        if not places:
            return weight
        adapters = [self.layers[names[place]] for place in places]
        if adapters[0].A.ndim == weight.ndim:
            return adapters[0].onto(weight, self.scale)
        together: Adapter = jax.tree.map(lambda *layers: jnp.stack(layers), *adapters)
        if len(places) == len(names):
            return together.onto(weight, self.scale)
        chosen_layers = jnp.array(places)
        return weight.at[chosen_layers].set(together.onto(weight[chosen_layers], self.scale))

    def check_moved(self) -> None:
        """Raises UserError where a B is still zero after a step: it got no gradient."""
        still = [name for name, adapter in self.layers.items() if not np.asarray(adapter.B).any()]
        if still:
            raise UserError(
                f"{still[0]} gets no gradient, so nothing would be learned there ({len(still)} of {len(self.layers)} "
                "targets are so); choose --targets without it."
            )


def lengths(weight: Float[Array, "... I O"]) -> Float[Array, "... O"]:
    """The Euclidean length of each output's weights."""
    return jnp.sqrt(jnp.sum(weight * weight, axis=-2))


def adaptable(model: LanguageModel) -> dict[str, tuple[Array, Axes]]:
    """The matrices [..., in, out] of all mixers and channel mixers with their axes, by their places."""
    found, model = {}, unstacked(model)

    def note(path: Any, array: Array, role: str, dims: Any, names: Axes) -> None:
        if role == "matrix":
            found[name_of(path)] = dims.matrix(array), dims.axes(names)

    jax.tree_util.tree_map_with_path(note, model, roles(model), matrix_dims(model), axes(model))
    return found


def chosen(model: LanguageModel, targets: tuple[str, ...]) -> dict[str, tuple[Array, Axes]]:
    """The matrices that the targets name (all, without targets): each is a matrix (wq), a part (mixer), a layer
    (blocks.3), or a place (blocks.3.mixer.wq). Raises UserError, naming the nearest, for one that names nothing."""
    found = adaptable(model)
    if not found:
        raise UserError("This model has no matrix that an adapter could be learned beside; use --method full.")
    picked = set()
    for target in map(current_name, targets):
        hits = {name for name in found if f".{target}." in f".{name}."}
        if not hits:
            parts = (name.split(".") for name in found)
            raise unknown("target", target, {word for _, _, *words in parts for word in [*words, ".".join(words)]})
        picked |= hits
    return {name: target for name, target in found.items() if not targets or name in picked}


def describe(model: LanguageModel, config: SFTConfig) -> list[str]:
    """Which matrices are adapted, and how many parameters train: lines for the user."""
    adapters = jax.eval_shape(lambda: Adapters.init(model, config, config.seed))
    kinds: dict[tuple[str, str], list[int]] = {}
    for name, (weight, _) in chosen(model, config.targets).items():
        _, layer, kind = name.split(".", 2)
        kinds.setdefault((kind, " x ".join(map(str, weight.shape))), []).append(int(layer) + 1)
    wide = max(len(kind) for kind, _ in kinds)
    trains, all_ = count(adapters), count(model)
    return [
        f"{NAMES[config.method]}, rank {config.rank}, alpha {config.alpha:g}, beside {len(adapters.layers)} matrices:",
        *(
            f"  {kind:<{wide}}  {shape:>12}  in layer{'s' * (len(layers) > 1)} {_ranges(layers)}"
            for (kind, shape), layers in kinds.items()
        ),
        f"{trains:,} parameters train, {trains / all_:.2%} of the model's {all_:,}, which stay as they are.",
    ]


def _ranges(numbers: list[int]) -> str:
    """1-3, 5 for [1, 2, 3, 5]."""
    begins = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(begins, ends, strict=True))
