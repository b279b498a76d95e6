"""What every optimizer's config offers. Importable without JAX.

An optimizer is built for a peak learning rate of 1, and the training step multiplies its updates by the rate of the
schedule. Its fields are of two kinds: those that its compiled program depends on, and numbers that reach the program
as data (`traced`). Another value of a traced field compiles nothing again, and may be given when a run is resumed.

Look first at: `OptimizerConfig`, `traced`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from linearnexus.core.config import config_name, config_types, make
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.resolve import resolve
from linearnexus.core.spec import parse_spec


def traced(default: float) -> Any:
    """A field whose value is data to the compiled program."""
    return dataclasses.field(default=default, metadata={"traced": True})


class OptimizerConfig(ABC):
    """How gradients become updates. Subclasses are frozen dataclasses made with `@config(NAME)`.

    Every optimizer decays weights decoupled from its gradients (Loshchilov and Hutter 2019): besides its own step it
    subtracts `weight_decay` times the weight, both times the learning rate.
    """

    usual_rate: ClassVar[float]  # a peak learning rate that trains the small presets well; docs/log.md has the sweep
    # Does it treat each number, or each matrix of a stack [n, in, out], by itself? Then it gets the layers of a deep
    # model stacked, and the step is faster.
    takes_stacks: ClassVar[bool] = False
    weight_decay: float

    @abstractmethod
    def build(self, values: Mapping[str, Any]) -> Any:
        """The optax.GradientTransformationExtraArgs at a learning rate of 1. `values`: what `values` returns, as traced
        numbers; a traced field must be read from there."""

    def values(self, learning_rate: float) -> dict[str, float]:
        """The numbers that are data to the program, for a peak learning rate."""
        return {name: getattr(self, name) for name in self.traced_names()}

    def at_rate(self, learning_rate: float) -> Self:
        """This optimizer for a sweep of the learning rate: what other rates it has move along."""
        return self

    def times_usual(self, learning_rate: float) -> float:
        """How many times the usual one a peak learning rate is."""
        return learning_rate / self.usual_rate

    def program(self) -> Self:
        """What the compiled program depends on: this config with the defaults in its traced fields."""
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.metadata.get("traced")}  # type: ignore[arg-type]
        return dataclasses.replace(self, **defaults)  # type: ignore[type-var]

    @classmethod
    def traced_names(cls) -> tuple[str, ...]:
        """The names of the traced fields."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.metadata.get("traced"))  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        self._check(
            ("weight_decay", 0 <= self.weight_decay < float("inf"), "give 0 (off) or more, such as 0.1"),
            *(
                (beta, 0 <= getattr(self, beta) < 1, "give 0 to below 1, such as 0.9")
                for beta in ("beta1", "beta2")
                if hasattr(self, beta)
            ),
        )

    def _check(self, *rules: tuple[str, bool, str]) -> None:
        for name, allowed, rule in rules:
            if not allowed:
                raise UserError(f"{name} is {getattr(self, name)}; {rule}.")


def optimizer_config(given: Any, before: OptimizerConfig | None = None) -> OptimizerConfig:
    """The optimizer that a person named: `adamw`, or with fields of its own `muon(matrix_learning_rate=0.01)`.

    before: the optimizer that it replaces; where it has other values than its defaults, fields that both have keep
    them, so that `--optimizer lion` leaves the weight decay of a recipe as it is. Raises UserError for an unknown name
    or field.
    """
    if isinstance(given, OptimizerConfig):
        return given
    name, options = parse_spec(str(given), "optimizer", "muon(matrix_learning_rate=0.01)")
    if name not in config_types(OptimizerConfig):
        resolve("linearnexus.core.plugins:load_plugins")()
    known = config_types(OptimizerConfig)
    if name not in known:
        raise unknown("optimizer", name, known)
    chosen = {} if before is None else _not_default(before)
    kept = {field.name: chosen[field.name] for field in dataclasses.fields(known[name]) if field.name in chosen}
    return make(known[name], {**kept, **options})


def _not_default(optimizer: OptimizerConfig) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    fields = dataclasses.fields(optimizer)  # type: ignore[arg-type]
    return {field.name: value for field in fields if (value := getattr(optimizer, field.name)) != field.default}


def from_flat_fields(values: Mapping[str, Any], cls: type | None = None) -> dict[str, Any]:
    """The values of a run's config as version 0.1 had them, the optimizer's fields next to its name, in today's form.

    cls: the config's class, whose optimizer is meant where `values` has none. Fields that the optimizer does not have
    were ignored, and are dropped.
    """
    flat = {name: values[name] for name in option_names() if name in values}
    if not flat:
        return dict(values)
    usual = None if cls is None else next(f.default for f in dataclasses.fields(cls) if f.name == "optimizer")
    optimizer = optimizer_config(values.get("optimizer", usual))
    own = {field.name for field in dataclasses.fields(optimizer)}  # type: ignore[arg-type]
    changed = with_fields(optimizer, {name: value for name, value in flat.items() if name in own})
    return {**{name: value for name, value in values.items() if name not in flat}, "optimizer": changed}


def spec_of(optimizer: OptimizerConfig) -> str:
    """The text that `optimizer_config` makes this optimizer of: its name, and the fields that differ from the usual."""
    name = config_name(type(optimizer))
    options = [f"{field}={value!r}" for field, value in _not_default(optimizer).items()]
    return f"{name}({', '.join(options)})" if options else name


def option_names() -> dict[str, str]:
    """The fields of all optimizers, which the command line takes as options, and the optimizers that have each."""
    owners: dict[str, list[str]] = {}
    for name, cls in config_types(OptimizerConfig).items():
        for field in dataclasses.fields(cls):
            owners.setdefault(field.name, []).append(name)
    return {field: ", ".join(sorted(names)) for field, names in owners.items()}


def with_fields(optimizer: OptimizerConfig, options: Mapping[str, Any]) -> OptimizerConfig:
    """The optimizer with fields changed. Raises UserError where it does not have one of them."""
    own = {field.name for field in dataclasses.fields(optimizer)}  # type: ignore[arg-type]
    for name in options:
        if name not in own:
            raise UserError(
                f"The optimizer {config_name(type(optimizer))} has no {name}; leave it out, or choose an optimizer "
                f"that has one: {option_names()[name]}."
            )
    current = {name: getattr(optimizer, name) for name in own}
    return make(type(optimizer), {**current, **options})
