"""Every choice of a training run. A run writes it to its config.json; a recipe is a Python file that defines one.

Look first at: `TrainSettings`, `TrainConfig`.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.data.registry import open_source
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import DataSource
from linearnexus.models.config import ModelConfig
from linearnexus.tokenizers import check as check_tokenizer

if TYPE_CHECKING:
    from linearnexus.models.language_model import LanguageModel

Optimizer = Literal["adamw", "muon", "sophia", "lion"]
DEFAULT_STEPS = 2000
# Peak learning rates that train the small presets well; docs/log.md has the sweep.
LEARNING_RATES: dict[str, float] = {"adamw": 3e-3, "muon": 5e-3, "sophia": 1e-3, "lion": 3e-4}


@dataclass(frozen=True)
class TrainSettings(DataSettings):  # --help prints the docstring and the comments
    """The data, the length of the run, the optimizer, and how often it is looked at."""

    max_steps: int | None = None  # the length of the run: give one of these three (none: 2,000 steps)
    epochs: float | None = None  # ... or passes through the training text ...
    max_minutes: float | None = None  # ... or minutes, measured in the first steps, then a fixed number of steps

    optimizer: Optimizer = "muon"  # how gradients become updates
    learning_rate: float | None = None  # the peak; None: a good one for the optimizer
    matrix_learning_rate: float = 0.02  # Muon only: the peak for matrices, learning_rate is for the rest
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"  # course of the rate; wsd: warm up, stay, decay
    warmup_steps: int = 100  # steps in which the learning rate rises to its peak
    final_fraction: float = 0.0  # of the peak learning rate, reached at the last step (cosine, wsd)
    decay_fraction: float = 0.2  # wsd only: share of the steps that decay
    weight_decay: float = 0.1  # of matrices and embeddings, never of norms, biases, decays
    beta1: float = 0.9  # decay of the mean of gradients
    beta2: float = 0.95  # decay of the mean of squares
    gradient_clip: float = 1.0  # largest gradient norm; 0: off
    accumulate: int = 1  # batches whose gradients are averaged before a step

    eval_interval: int | None = None  # steps between evaluations, samples and checkpoints; None: a tenth of the run
    log_interval: int = 10  # steps between rows of metrics.jsonl
    sample_prompt: str = "\n"  # what the samples begin with
    sample_tokens: int = 200  # length of the samples; 0: none

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length * self.accumulate


@config("train")
class TrainConfig(TrainSettings):
    """A whole run. Raises UserError for a setting out of range."""

    model: ModelConfig = field(kw_only=True)
    preset: str = "custom"  # the name that the model was made from, for people
    keeps_base: ClassVar[bool] = False  # do the weights that the run begins with stay as they are?
    tries: ClassVar[str] = 'let it write: linearnexus generate {} "..."'  # what to do with the trained model

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in ("max_steps", "epochs", "max_minutes")}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} both set the length of the run; give one of them.")
        whole = "give 1 or more"
        rules: tuple[tuple[str, bool, str], ...] = (
            *((name, value is None or 0 < value < math.inf, "give more than 0") for name, value in lengths.items()),
            ("sequence_length", self.sequence_length >= 1, whole),
            ("batch_size", self.batch_size >= 1, whole),
            ("accumulate", self.accumulate >= 1, whole),
            ("log_interval", self.log_interval >= 1, whole),
            ("eval_interval", self.eval_interval is None or self.eval_interval >= 1, whole),
            ("validation_fraction", 0 < self.validation_fraction < 1, "give a share of the text, such as 0.1"),
            ("learning_rate", 0 < self.rate < math.inf, "give a step size above 0, such as 0.001"),
            ("matrix_learning_rate", 0 < self.matrix_learning_rate < math.inf, "give a step size above 0"),
            ("warmup_steps", self.warmup_steps >= 0, "give 0 (no warm-up) or more"),
            ("final_fraction", 0 <= self.final_fraction <= 1, "it is a share of the peak, so give 0 to 1"),
            ("decay_fraction", 0 < self.decay_fraction <= 1, "it is a share of the steps, so give above 0, up to 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "give 0 (off) or more, such as 0.1"),
            ("beta1", 0 <= self.beta1 < 1, "give 0 to below 1, such as 0.9"),
            ("beta2", 0 <= self.beta2 < 1, "give 0 to below 1, such as 0.95"),
            ("gradient_clip", 0 <= self.gradient_clip < math.inf, "give 0 (off) or more, such as 1"),
            ("eval_batches", self.eval_batches >= 0, "give 0 (the whole validation split) or more"),
            ("sample_tokens", self.sample_tokens >= 0, "give 0 (no samples) or more"),
            ("seed", 0 <= self.seed < 2**32, "give a whole number from 0 to 4294967295"),
        )
        for name, allowed, rule in rules:
            if not allowed:
                raise UserError(f"{name} is {getattr(self, name)}; {rule}.")
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer)
        if self.packing == "best-fit" and self.order == "random":
            raise UserError("packing best-fit has no order random; leave one of them out.")
        table = self.model.learned_positions
        if table and self.sequence_length > table:
            raise UserError(
                f"sequence_length is {self.sequence_length}, and this model has {table} learned positions; "
                f"give a sequence_length of at most {table}, or learned_positions of at least {self.sequence_length}."
            )

    def resolved(self) -> Self:
        """The same run with nothing left open, as it is written to disk."""
        lengths = (self.max_steps, self.epochs, self.max_minutes)
        steps = DEFAULT_STEPS if lengths == (None, None, None) else self.max_steps
        return dataclasses.replace(self, max_steps=steps, learning_rate=self.rate)

    def open_source(self, tokenizer: Path | None = None, sha256: str | None = None) -> DataSource:
        """What the run trains on; see `data.registry.open_source`."""
        return open_source(self, tokenizer, sha256)

    def trainable(self, base: "LanguageModel") -> Any:
        """What trains, of a run that begins with these weights: all of them."""
        return base


LENGTHS = ("max_steps", "epochs", "max_minutes")
# What may change when a run goes on: how long, how fast, how it is watched. Everything else makes it another run.
RESUMABLE = {
    *(*LENGTHS, "learning_rate", "matrix_learning_rate", "schedule", "warmup_steps"),
    *("final_fraction", "decay_fraction", "weight_decay", "gradient_clip"),
    *("eval_interval", "eval_batches", "log_interval", "sample_prompt", "sample_tokens"),
}
