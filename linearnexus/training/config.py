"""Every choice of a training run. A run writes it to its config.json; a recipe is a Python file that defines one.

Pure data: it opens no file and builds no model. The type of a config picks the job that carries it out
(`training.job`).

Look first at: `TrainSettings`, `TrainConfig`.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self, get_args

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.data.settings import DataSettings
from linearnexus.models.config import ModelConfig, Remat
from linearnexus.training.optimizers import MuonConfig, OptimizerConfig, optimizer_config

DEFAULT_STEPS = 2000


@dataclass(frozen=True)
class TrainSettings(DataSettings):  # --help prints the docstring and the comments
    """The data, the length of the run, the optimizer, and how often it is looked at."""

    max_steps: int | None = None  # the length of the run: give one of these three (none: 2,000 steps)
    epochs: float | None = None  # ... or passes through the training text ...
    max_minutes: float | None = None  # ... or minutes, measured in the first steps, then a fixed number of steps
    # evaluations in a row without a lower validation loss after which the run stops; None: it does not stop early
    patience: int | None = None

    # how gradients become updates: adamw, lion, muon, sophia, or with options such as muon(weight_decay=0.05)
    optimizer: OptimizerConfig = MuonConfig()
    learning_rate: float | None = None  # the peak; None: a good one for the optimizer
    schedule: Literal["cosine", "constant", "wsd"] = "cosine"  # course of the rate; wsd: warm up, stay, decay
    warmup_steps: int = 100  # steps in which the learning rate rises to its peak
    min_lr_ratio: float = 0.0  # of the peak learning rate, reached at the last step (cosine, wsd)
    decay_fraction: float = 0.2  # wsd only: share of the steps that decay
    # factors on the learning rate of some parameters, by patterns on their names: blocks.*.mixer.A_log=0.1
    rate: tuple[str, ...] = ()
    decay: tuple[str, ...] = ()  # the weight decay of some parameters, in the same way: embedding=0
    gradient_clip: float = 1.0  # largest gradient norm; 0: off
    gradient_accumulation_steps: int = 1  # batches whose gradients are averaged before a step
    # what the backward pass computes again instead of keeping it in memory: none; norms: norms and nonlinearities;
    # dots: all but products with weights; block: whole blocks, the least memory and most work; results stay the same
    remat: Remat = "norms"
    # decay of the moving average of the weights that checkpoints hold too, such as 0.999; 0: there is none
    ema_decay: float = 0.0

    eval_interval: int | None = None  # steps between evaluations, samples and checkpoints; None: a tenth of the run
    log_interval: int = 10  # steps between rows of metrics.jsonl
    sample_prompt: str = "\n"  # what the samples begin with
    sample_tokens: int = 200  # length of the samples; 0: none

    @property
    def peak_rate(self) -> float:
        """The peak learning rate."""
        return self.optimizer.usual_rate if self.learning_rate is None else self.learning_rate

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length * self.gradient_accumulation_steps


@config("train")
class TrainConfig(TrainSettings):
    """A whole run. Raises UserError for a setting out of range."""

    job: ClassVar[str] = "linearnexus.training.job:Job"  # what carries it out, imported when it is needed

    model: ModelConfig = field(kw_only=True)
    preset: str = "custom"  # the name that the model was made from, for people

    @property
    def freezes_base(self) -> bool:
        """Do the weights that the run begins with stay as they are, while something on top of them trains?"""
        return False

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, str):  # a recipe may write optimizer="adamw"
            object.__setattr__(self, "optimizer", optimizer_config(self.optimizer))
        lengths = {name: getattr(self, name) for name in LENGTHS}
        given = [name for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} both set the length of the run; give one of them.")
        whole = "give 1 or more"
        rules: tuple[tuple[str, bool, str], ...] = (
            *((name, value is None or 0 < value < math.inf, "give more than 0") for name, value in lengths.items()),
            ("sequence_length", self.sequence_length >= 1, whole),
            ("batch_size", self.batch_size >= 1, whole),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps >= 1, whole),
            ("remat", self.remat in get_args(Remat), f"give one of {', '.join(get_args(Remat))}"),
            ("log_interval", self.log_interval >= 1, whole),
            ("eval_interval", self.eval_interval is None or self.eval_interval >= 1, whole),
            ("patience", self.patience is None or self.patience >= 1, whole),
            ("validation_fraction", 0 < self.validation_fraction < 1, "give a share of the text, such as 0.1"),
            ("learning_rate", 0 < self.peak_rate < math.inf, "give a step size above 0, such as 0.001"),
            ("warmup_steps", self.warmup_steps >= 0, "give 0 (no warm-up) or more"),
            ("min_lr_ratio", 0 <= self.min_lr_ratio <= 1, "it is a share of the peak, so give 0 to 1"),
            ("decay_fraction", 0 < self.decay_fraction <= 1, "it is a share of the steps, so give above 0, up to 1"),
            ("gradient_clip", 0 <= self.gradient_clip < math.inf, "give 0 (off) or more, such as 1"),
            ("ema_decay", 0 <= self.ema_decay < 1, "give 0 (off) to below 1, such as 0.999"),
            ("eval_batches", self.eval_batches >= 0, "give 0 (the whole validation split) or more"),
            ("sample_tokens", self.sample_tokens >= 0, "give 0 (no samples) or more"),
            ("seed", 0 <= self.seed < 2**32, "give a whole number from 0 to 4294967295"),
        )
        for name, allowed, rule in rules:
            if not allowed:
                raise UserError(f"{name} is {getattr(self, name)}; {rule}.")
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
        return dataclasses.replace(self, max_steps=steps, learning_rate=self.peak_rate)


LENGTHS = ("max_steps", "epochs", "max_minutes")
# What may change when a run is resumed: how long, how fast, how it is watched. The traced fields of its optimizer may
# change too. Everything else makes it another run.
RESUMABLE = {
    *(*LENGTHS, "patience", "learning_rate", "schedule", "warmup_steps", "min_lr_ratio", "decay_fraction"),
    *("rate", "decay", "gradient_clip", "remat", "eval_interval", "eval_batches", "log_interval"),
    *("sample_prompt", "sample_tokens"),
}
