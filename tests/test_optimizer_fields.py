"""Every field of every optimizer reaches the update, as part of the program or as data, and patterns on the names of
parameters change what they match and nothing else. No run is trained.

An optimizer that is added to the package is tested here without a line of test code.
"""

import dataclasses
import math
import typing
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from linearnexus.core import config as config_module
from linearnexus.core.config import config_types
from linearnexus.core.errors import UserError
from linearnexus.core.module import matrix, module, named_leaves, roles, table, vector
from linearnexus.training import optimizers
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizer import Optimizer, check_patterns, parse_patterns
from linearnexus.training.optimizers import MuonConfig, traced
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig, optimizer_config, spec_of
from linearnexus.training.recipes import resumed_config
from tests.tiny import config

OPTIMIZERS = {
    name: cls for name, cls in config_types(OptimizerConfig).items() if cls.__module__.startswith(optimizers.__name__)
}
FIELDS = [(name, field.name) for name, cls in OPTIMIZERS.items() for field in dataclasses.fields(cls)]
ROLES = {"matrix", "embedding", "vector"}
by_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@module
class Layer:
    wq: Array = matrix()
    wo: Array = matrix()
    scale: Array = vector()


@module
class Toy:
    """Every role, and names as those of a model."""

    embedding: Array = table()
    blocks: tuple[Layer, ...]


def toy(seed: int) -> Toy:
    draw = np.random.default_rng(seed)

    def array(*shape: int) -> Array:
        return jnp.asarray(draw.normal(size=shape), jnp.float32)

    return Toy(array(5, 4), tuple(Layer(array(4, 4), array(4, 6), array(4)) for _ in range(3)))


def loss(weights: Any) -> Array:
    """Its Hessian is neither constant nor diagonal, so that Sophia's estimates differ from step to step."""
    return sum(jnp.sum(jnp.cosh(leaf)) + 0.1 * jnp.sum(leaf) ** 2 for leaf in jax.tree.leaves(weights))


@cache
def second_update(settings: TrainConfig) -> dict[str, np.ndarray]:
    """The second update of a toy model at a learning rate of 1, in float64: by then all means have a past."""
    optimizer, weights = Optimizer.of(settings), toy(0)
    state = optimizer.init(weights)
    for seed in (1, 2):
        update, state = optimizer.update(toy(seed), state, weights, loss)
    return {name: np.asarray(leaf, np.float64) for name, leaf in named_leaves(update).items()}


def changed(optimizer: Any, field: str) -> Any:
    """The optimizer with another value in a field, one that its checks allow."""
    value = getattr(optimizer, field)
    options = typing.get_args(typing.get_type_hints(type(optimizer))[field])  # of a Literal
    others = [option for option in options if option != value]
    other = not value if isinstance(value, bool) else others[0] if others else 0.75 * value if value else 0.25
    return dataclasses.replace(optimizer, **{field: other})


def test_the_package_has_optimizers() -> None:
    assert set(OPTIMIZERS) >= {"adamw", "lion", "muon", "sophia"}
    assert set(jax.tree.leaves(roles(toy(0)))) == ROLES


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_is_part_of_the_program_or_data(name: str, field: str) -> None:
    """One of the two, never both or neither. Catches a field that `program` resets and `values` leaves out: it would
    count for nothing, without an error. Catches one that is in both, too, which compiles again for nothing."""
    before = OPTIMIZERS[name]()
    after = changed(before, field)
    traced = field in before.traced_names()
    assert (before.program() != after.program()) is not traced
    assert (before.values(0.01) != after.values(0.01)) is traced
    assert after.program().program() == after.program()
    assert optimizer_config(spec_of(after)) == after  # the command line and config.json keep it


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_changes_the_update(name: str, field: str) -> None:
    """Catches a field that `build` ignores, and a traced one that it reads from the config, where it is the default."""
    before = OPTIMIZERS[name]()
    one, other = (second_update(config("gpt", optimizer=made)) for made in (before, changed(before, field)))
    assert all(np.isfinite(value).all() for value in other.values())
    assert any(not np.allclose(one[leaf], other[leaf], rtol=1e-4, atol=0) for leaf in one), field


@by_optimizer
def test_an_update_does_not_forget_a_role(name: str) -> None:
    """Catches a parameter whose role the optimizer has no rule for, and one that it takes out of the tree."""
    update, weights = second_update(config("gpt", optimizer=name)), toy(0)
    assert list(update) == list(named_leaves(weights))
    assert all(np.abs(value).max() > 0 for value in update.values())


@by_optimizer
def test_other_numbers_compile_nothing_again(name: str) -> None:
    """Five learning rates, and other values of every traced field: one compiled function sees one kind of argument.
    Catches a rate or a decay in the static part, and a whole number that is data of another dtype."""
    compiled = []

    @jax.jit
    def program(optimizer: Optimizer) -> Any:
        compiled.append(optimizer)
        return optimizer.values, optimizer.gradient_clip

    rates = [config("gpt", optimizer=name, learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2, 0.1, 1)]
    usual = OPTIMIZERS[name]()
    others = [config("gpt", optimizer=changed(usual, field)) for field in usual.traced_names()]
    whole = [config("gpt", optimizer=dataclasses.replace(usual, weight_decay=0), gradient_clip=2)]
    made = [Optimizer.of(settings) for settings in (*rates, *others, *whole)]
    assert len({jax.tree.structure(optimizer) for optimizer in made}) == 1
    for optimizer in made:
        program(optimizer)
    assert len(compiled) == 1
    static = [field for field, _ in vars(usual).items() if field not in usual.traced_names()]
    for field in static:
        other = Optimizer.of(config("gpt", optimizer=changed(usual, field)))
        assert jax.tree.structure(other) != jax.tree.structure(made[0]), field


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_resumed_run_may_change_data_and_nothing_else(name: str, field: str) -> None:
    """As `--optimizer "muon(weight_decay=0.05)"`, and by the field's own name. Catches a spec that counts as another
    optimizer whatever differs, and a sentence without the fields that the run was trained with."""
    before = config("gpt", optimizer=OPTIMIZERS[name](weight_decay=0.2), max_steps=9)
    after = changed(before.optimizer, field)
    for changes in ({"optimizer": spec_of(after)}, {field: getattr(after, field)}):
        if field in after.traced_names():
            assert resumed_config(before, changes, Path("run")).optimizer == after
        else:
            with pytest.raises(UserError, match="run was trained with another") as told:
                resumed_config(before, changes, Path("run"))
            value = spec_of(before.optimizer) if "optimizer" in changes else getattr(before.optimizer, field)
            assert f"another {next(iter(changes))} ({value}), which cannot change" in str(told.value)
    with pytest.raises(UserError, match="another optimizer"):
        resumed_config(before, {"optimizer": next(other for other in OPTIMIZERS if other != name)}, Path("run"))


@by_optimizer
def test_another_optimizer_keeps_what_was_chosen_and_has_its_own_defaults(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a default of the optimizer that is replaced taken for a choice: a new optimizer would never see its
    own."""
    monkeypatch.setattr(config_module, "_TYPES", dict(config_module._TYPES))  # other tests do not see it

    @config_module.config("other_defaults")
    class OtherDefaults(OptimizerConfig):
        usual_rate = 1.0
        weight_decay: float = traced(0.0)
        beta1: float = 0.5

        def build(self, values: Any) -> Any:
            raise AssertionError

    before = MuonConfig(weight_decay=0.03)
    assert optimizer_config(name, before).weight_decay == 0.03
    assert optimizer_config(f"{name}(weight_decay=0.5)", before).weight_decay == 0.5
    assert optimizer_config("other_defaults", before) == OtherDefaults(weight_decay=0.03, beta1=0.5)
    assert optimizer_config(name, OtherDefaults()) == OPTIMIZERS[name]()
    assert optimizer_config("other_defaults", OPTIMIZERS[name]()) == OtherDefaults()


# --- Patterns on names ------------------------------------------------------------------------------------------------


@by_optimizer
def test_a_rate_pattern_multiplies_the_updates_that_it_matches(name: str) -> None:
    """The first match counts. Catches a factor on another parameter, one that is applied twice or before the decay, and
    patterns that hit the state instead of the update."""
    usual = second_update(config("gpt", optimizer=name))
    rates = ("blocks.1.*=3", "blocks.*.wo=0.25", "embedding=0")
    made = second_update(config("gpt", optimizer=name, rate=rates))
    factors = {"blocks.1.wq": 3, "blocks.1.wo": 3, "blocks.1.scale": 3, "embedding": 0}
    factors |= {"blocks.0.wo": 0.25, "blocks.2.wo": 0.25}
    for leaf, value in made.items():
        np.testing.assert_allclose(value, factors.get(leaf, 1) * usual[leaf], rtol=1e-6, err_msg=leaf)


@by_optimizer
def test_a_decay_pattern_sets_the_decay_of_what_it_matches(name: str) -> None:
    """Also of a vector, which does not decay by itself, and at Muon's second rate. Catches a decay that is added to the
    usual one, and one that the other parameters get too."""
    settings = config("gpt", optimizer=name, learning_rate=0.01, weight_decay=0.3)
    decays = {"embedding": 0.0, "blocks.0.scale": 0.5, "blocks.2.*": 0.05}
    entries = tuple(f"{pattern}={value}" for pattern, value in decays.items())
    usual, made = second_update(settings), second_update(dataclasses.replace(settings, decay=entries))
    weights = {leaf: np.asarray(value, np.float64) for leaf, value in named_leaves(toy(0)).items()}
    for leaf, role in named_leaves(roles(toy(0))).items():
        before = 0.0 if role == "vector" else 0.3
        decay = next((value for pattern, value in decays.items() if fnmatchcase(leaf, pattern)), before)
        expected = usual[leaf] + (before - decay) * weights[leaf]
        np.testing.assert_allclose(made[leaf], expected, rtol=1e-5, atol=1e-6, err_msg=leaf)


def test_rate_and_decay_of_one_parameter() -> None:
    """The factor is on all that the optimizer does, its decay included: that is what a learning rate of its own is. The
    compiled update is the same."""
    settings = config("gpt", weight_decay=0.3)
    patterns = {"rate": ("embedding=0.5",), "decay": ("embedding=0.1",)}
    usual, made = second_update(settings), second_update(dataclasses.replace(settings, **patterns))
    weight = np.asarray(toy(0).embedding, np.float64)
    np.testing.assert_allclose(made["embedding"], 0.5 * (usual["embedding"] + 0.2 * weight), rtol=1e-5, atol=1e-6)

    @jax.jit
    def first_update(optimizer: Optimizer) -> Any:
        return optimizer.update(toy(1), optimizer.init(toy(0)), toy(0), loss)[0]

    optimizer = Optimizer.of(dataclasses.replace(settings, **patterns))
    plain = optimizer.update(toy(1), optimizer.init(toy(0)), toy(0), loss)[0]
    for leaf, value in named_leaves(first_update(optimizer)).items():
        np.testing.assert_allclose(value, named_leaves(plain)[leaf], rtol=1e-4, atol=1e-5, err_msg=leaf)


@pytest.mark.parametrize("option", ["rate", "decay"])
@pytest.mark.parametrize(
    ("pattern", "hint"),
    [("blocks.2.wk", "did you mean 'blocks.2.wq'?"), ("zzz", "known: blocks.0.scale, blocks.0.wo,"), ("WQ", "known:")],
)
def test_a_pattern_that_matches_nothing_is_refused(option: str, pattern: str, hint: str) -> None:
    """Catches a misspelt name that is ignored, and a hint that knows only the first layers' names."""
    settings = config("gpt", **{option: ("embedding=1", f"{pattern}=0.1")})
    with pytest.raises(UserError) as told:
        check_patterns(settings, toy(0))
    assert str(told.value).startswith(f"There is no parameter for --{option} named '{pattern}'; {hint}")


def test_patterns_that_match_are_not_refused() -> None:
    check_patterns(config("gpt", rate=("blocks.*.wq=2",), decay=("embed*=0", "blocks.[01].scale=0.5")), toy(0))


@pytest.mark.parametrize("option", ["rate", "decay"])
@pytest.mark.parametrize("entry", ["embedding", "=0.1", "embedding=", "embedding=fast", "a=-1", "a=nan", "a=inf", ""])
def test_bad_syntax_is_refused_in_a_sentence(option: str, entry: str) -> None:
    """Catches a number that would turn every weight into NaN, and a traceback."""
    sentence = (
        f"{option} has '{entry}'; write PATTERN=NUMBER with a number of 0 or more, such as blocks.*.mixer.A_log=0.1."
    )
    for refuse in (
        lambda: parse_patterns(option, (entry,)),
        lambda: Optimizer.of(config("gpt", **{option: (entry,)})),
    ):
        with pytest.raises(UserError) as told:
            refuse()
        assert str(told.value) == sentence


def test_the_good_syntax() -> None:
    assert parse_patterns("rate", ("blocks.*.mixer.A_log=1e-1", "a=b=2")) == {"blocks.*.mixer.A_log": 0.1, "a=b": 2.0}
    assert math.isclose(Optimizer.of(config("gpt", rate=("a=0.5",))).rates[0], 0.5)
