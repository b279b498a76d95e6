"""An optimizer as the compiled step sees it: the program that its config makes, and the numbers that are data.

Look first at: `Optimizer.of`, `Optimizer.update`.
"""

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import jax
import optax

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.forms import forward_mode
from linearnexus.core.module import module, named_leaves, roles, static
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
            named_leaves(trained), leaves, jax.tree.leaves(trained), jax.tree.leaves(roles(trained)), strict=True
        )
        return jax.tree.unflatten(structure, [self._by_name(*part) for part in parts]), state

    def _by_name(self, name: str, update: jax.Array, weight: jax.Array, role: str) -> jax.Array:
        """The update of one parameter with what the patterns say of it."""
        decay = _first(name, self.decay_patterns, self.decays)
        if decay is not None:
            usual = (
                0.0 if role == "vector" else self.values["weight_decay"]
            )  # what the optimizer has already subtracted
            update = update + (usual - decay) * weight
        rate = _first(name, self.rate_patterns, self.rates)
        return update if rate is None else update * rate

    def _chain(self) -> optax.GradientTransformationExtraArgs:
        clip = optax.identity() if self.gradient_clip is None else optax.clip_by_global_norm(self.gradient_clip)
        return optax.chain(clip, self.config.build(self.values))


def _first(name: str, patterns: Pattern, values: tuple[Any, ...]) -> Any | None:
    """The value of the first pattern that matches a parameter's name."""
    return next((value for pattern, value in zip(patterns, values, strict=True) if fnmatchcase(name, pattern)), None)


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
    names = list(named_leaves(trained))
    for option, entries in (("rate", config.rate), ("decay", config.decay)):
        for pattern in parse_patterns(option, entries):
            if not any(fnmatchcase(name, pattern) for name in names):
                near = get_close_matches(pattern, names, n=1, cutoff=0.5)
                raise unknown(f"parameter for --{option}", pattern, near or names[:12])
