"""Our models against Hugging Face transformers: with the same weights, the same logits and the same gradients.

What transformers computed lies in `tests/parity/golden/`; the weights follow from their names (`parity/families.py`).
Configs and weights become ours by the tables of linearnexus/interop, or by `parity/mappings.py`; gradients go back
through them by themselves, because they are taken by the weights of transformers.

Look first at: `opened`, `compare`.
"""

import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from safetensors import safe_open

from linearnexus.core.module import named_leaves
from linearnexus.interop.families import family_of
from linearnexus.interop.settings import Family, PublishedSettings
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from tests.laws.law import error, jit, precision
from tests.parity import families
from tests.parity.mappings import MAPPINGS, Weights

LOGITS = 1e-4  # absolute
GRADIENTS = 1e-3  # relative to the tensor's largest one


def apart(weights: Weights) -> Weights:
    """The experts' matrices, which transformers keeps in one tensor, by the names that they have in files."""
    found = dict(weights)
    for name in [name for name in weights if ".experts." in name]:
        place, _, kind = name.rpartition(".")
        for number, both in enumerate(found.pop(name)):
            parts = jnp.split(both, 2) if kind == "gate_up_proj" else [both]
            names = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
            found |= {f"{place}.{number}.{one}.weight": part for one, part in zip(names, parts, strict=True)}
    return found


def by_table(family: Family, config: ModelConfig, weights: Weights) -> Weights:
    """The weights by our names; every one must have its place."""
    theirs, ours = apart(weights), {}
    for entry in family.table(config):
        arrays = entry.layout.to_ours([theirs.pop(name) for name in entry.theirs.split()])
        ours |= dict(zip(entry.ours.split(), arrays, strict=True))
    assert not theirs, "weights without a place"
    return ours


def filled(config: ModelConfig, ours: Weights) -> LanguageModel:
    """The model with these weights; every one must have its place and its shape, and every place its weight."""
    empty = LanguageModel.shapes(config)
    for name, leaf in named_leaves(empty).items():
        assert ours[name].shape == leaf.shape, f"{name} is {ours[name].shape}, not {leaf.shape}"
    assert len(ours) == len(named_leaves(empty))
    return jax.tree.unflatten(jax.tree.structure(empty), [ours[name] for name in named_leaves(empty)])


def opened(family: str, number: int) -> tuple[ModelConfig, Callable[[Weights], Weights]]:
    """Our config for theirs, and what brings their weights to our names."""
    given = families.FAMILIES[family][number]
    if family in MAPPINGS:
        config, mapping = MAPPINGS[family]
        return config(given), lambda weights: mapping(given, weights)
    kind = families.TYPES.get(family, family)
    known = family_of(kind, family)
    ours = known.read(PublishedSettings({**given, "model_type": kind}, family))
    return ours, lambda weights: by_table(known, ours, weights)


def compare(family: str, number: int) -> tuple[float, dict[str, float]]:
    """The largest error of a logit, and of each parameter's gradient."""
    config, mapped = opened(family, number)
    with safe_open(families.file(family, number), "np") as file:
        shapes = json.loads(file.metadata()["shapes"])
        logits, gradients = file.get_tensor("logits"), file.get_tensor("gradients")
    weights = {name: families.weight(family, number, name, tuple(shape)) for name, shape in shapes.items()}
    ids, cotangent = families.ids(family, number), families.cotangent(family, number)

    def weighted(weights: Weights) -> tuple[Array, Array]:
        got = filled(config, mapped(weights))(jnp.asarray(ids)).logits
        return (got * cotangent).sum(), got

    with precision("float32"):
        (_, got), slopes = jit(jax.value_and_grad(weighted, has_aux=True))(weights)
    mine = {name: families.kept(name, np.asarray(slopes[name])) for name in shapes}
    theirs = np.split(gradients, np.cumsum([len(one) for one in mine.values()])[:-1])
    errors = {name: error(one, want) for (name, one), want in zip(mine.items(), theirs, strict=True)}
    return float(np.abs(np.asarray(got) - logits).max()), errors


@pytest.mark.parametrize(("family", "number"), families.CASES)
@pytest.mark.slow
def test_logits_and_gradients_are_those_of_transformers(family: str, number: int) -> None:
    """Catches a layout, a scale, an epsilon or a nonlinearity that differs from the published models' code."""
    logits, gradients = compare(family, number)
    worst = max(gradients, key=gradients.__getitem__)
    assert logits <= LOGITS
    assert gradients[worst] <= GRADIENTS, worst
