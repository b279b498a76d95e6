"""An optimizer as the compiled step sees it: the program that its config makes, and the numbers that are data.

Look first at: `Optimizer.of`, `Optimizer.update`.
"""

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import optax

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.forms import forward_mode
from linearnexus.core.module import module, roles, static
from linearnexus.models.stacked import layer_names, unstacked
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig

Pattern = tuple[str, ...]


@module
class Optimizer:
    """The first match of a parameter's name among the patterns counts."""

    values: dict[str, float]  # of the config's traced fields
    gradient_clip: float | None  # the largest norm of a gradient; None: gradients are not clipped
    rates: tuple[float, ...]  # of each pattern: what multiplies the learning rate
    decays: tuple[float, ...]  # of each pattern: the weight decay
    config: OptimizerConfig = static()
    rate_patterns: Pattern = static()
    decay_patterns: Pattern = static()

    @classmethod
    def of(cls, config: TrainConfig) -> "Optimizer":
        """The optimizer of a run."""
        rates, decays = parse_patterns("rate", config.rate), parse_patterns("decay", config.decay)
        values = config.optimizer.values(config.peak_rate)
        return cls(
            {name: float(value) for name, value in values.items()},  # 0 would be data of another dtype than 0.1
            float(config.gradient_clip) or None,
            tuple(rates.values()),
            tuple(decays.values()),
            config.optimizer.program(),
            tuple(rates),
            tuple(decays),
        )

    def init(self, trained: Any) -> Any:
        """optax's state before the first step."""
        return self._chain().init(trained)

    def update(self, gradients: Any, state: Any, trained: Any, loss: Callable[[Any], jax.Array]) -> tuple[Any, Any]:
        """What to add to the weights at a learning rate of 1, and optax's next state. `loss`: of the weights that
        train; Sophia differentiates it again."""
        with forward_mode():
            updates, state = self._chain().update(gradients, state, trained, obj_fn=loss)
        if not (self.rate_patterns or self.decay_patterns):
            return updates, state
        leaves, structure = jax.tree.flatten(updates)
        parts = zip(
            layer_names(trained), leaves, jax.tree.leaves(trained), jax.tree.leaves(roles(trained)), strict=True
        )
        return jax.tree.unflatten(structure, [self._by_name(*part) for part in parts]), state

    def _by_name(self, names: tuple[str, ...], update: jax.Array, weight: jax.Array, role: str) -> jax.Array:
        """The update of one parameter, or of a stack of those of several layers, with what the patterns say of it."""
        if self.decay_patterns:
            # what the optimizer has already subtracted
            usual = 0.0 if role == "vector" else self.values["weight_decay"]
            decay = _value(names, weight, self.decay_patterns, self.decays, usual)
            update = update if decay is None else update + (usual - decay) * weight
        rate = _value(names, weight, self.rate_patterns, self.rates, 1.0)
        return update if rate is None else update * rate

    def _chain(self) -> optax.GradientTransformationExtraArgs:
        clip = optax.identity() if self.gradient_clip is None else _clip(self.gradient_clip)
        return optax.chain(clip, self.config.build(self.values))


def gradient_norm(gradients: Any) -> jax.Array:
    """The Euclidean length of all gradients together, summed layer by layer also where these are stacked: the order
    decides the last bits."""
    return optax.tree.norm(unstacked(gradients))


def _clip(largest: Any) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, with the norm of `gradient_norm`."""

    def update(gradients: Any, state: Any, _: Any = None) -> tuple[Any, Any]:
        norm = gradient_norm(gradients)
        small = norm < largest

        def scaled(part: jax.Array) -> jax.Array:
            return jax.lax.select(small, part, (part / norm.astype(part.dtype)) * largest)

        return jax.tree.map(scaled, gradients), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _value(names: tuple[str, ...], weight: jax.Array, patterns: Pattern, values: tuple[Any, ...], usual: Any) -> Any:
    """What the first pattern that matches says of a parameter, or of each layer of a stack: one number where all layers
    have the same, and `usual` for those that no pattern matches. None where it matches none."""
    found = [next((n for n, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), None) for name in names]
    if len(set(found)) == 1:
        return None if found[0] is None else values[found[0]]
    layers = [usual if number is None else values[number] for number in found]
    return jnp.stack([jnp.asarray(value, weight.dtype) for value in layers]).reshape(-1, *[1] * (weight.ndim - 1))


def parse_patterns(option: str, entries: tuple[str, ...]) -> dict[str, float]:
    """{pattern: value} of entries such as `blocks.*.mixer.A_log=0.1`. Raises UserError for what is not of that form."""
    found = {}
    for entry in entries:
        pattern, equals, value = entry.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not equals or not pattern or not 0 <= number < float("inf"):
            raise UserError(
                f"{option} has '{entry}'; write PATTERN=NUMBER with a number of 0 or more, such as "
                "blocks.*.mixer.A_log=0.1."
            )
        found[pattern] = number
    return found


def check_patterns(config: TrainConfig, trained: Any) -> None:
    """Raises UserError for a pattern that matches no parameter, naming the nearest one."""
    names = [name for layers in layer_names(trained) for name in layers]
    for option, entries in (("rate", config.rate), ("decay", config.decay)):
        for pattern in parse_patterns(option, entries):
            if not any(fnmatchcase(name, pattern) for name in names):
                near = get_close_matches(pattern, names, n=1, cutoff=0.5)
                raise unknown(f"parameter for --{option}", pattern, near or names[:12])
