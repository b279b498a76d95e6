"""Every choice of a run of supervised fine-tuning. Pure data, importable without JAX.

Look first at: `SFTConfig`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers import AdamWConfig, OptimizerConfig

Method = Literal["lora", "dora", "full"]
# Of the peak learning rates that train models of WIDTH from nothing: a usual proportion, not swept here.
SHARES: dict[Method, float] = {"lora": 1.0, "dora": 1.0, "full": 0.3}
WIDTH = 128


@dataclass(frozen=True)
class SFTSettings:  # --help prints the docstring and the comments
    """What of the model is trained, and how conversations become rows."""

    # lora: thin matrices beside the weights; dora: with a length for each output; full: all weights
    method: Method = "lora"
    rank: int = 8  # inner size of the thin matrices
    alpha: float = 16.0  # alpha / rank multiplies their product
    # matrices to adapt: by name (wq), part (mixer, channel_mixer), layer (blocks.3) or place; none: all of them
    targets: tuple[str, ...] = ()
    too_long: Literal["drop", "cut"] = "drop"  # what becomes of examples longer than sequence_length


@config("sft")
class SFTConfig(SFTSettings, TrainConfig):
    """A run that begins with the weights of another and learns answers from conversations."""

    packing: Literal["windows", "best-fit"] = "best-fit"
    epochs: float | None = 3.0
    batch_size: int = 8
    optimizer: OptimizerConfig = AdamWConfig(weight_decay=0.0)
    warmup_steps: int = 10
    eval_batches: int = 0
    job: ClassVar[str] = "linearnexus.posttraining.sft:FineTuning"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed, rule in (
            ("rank", self.rank >= 1, "it is the inner size of A B, so give 1 or more, such as 8"),
            ("alpha", 0 < self.alpha < float("inf"), "alpha / rank multiplies A B, so give more than 0, such as 16"),
            ("packing", self.packing == "best-fit", "conversations are packed whole; leave it out"),
            ("tokenizer", self.tokenizer is None, "fine-tuning keeps the run's tokenizer; leave it out"),
            ("targets", self.method != "full" or not self.targets, "full fine-tuning trains everything; leave it out"),
        ):
            if not allowed:
                raise UserError(f"{name} is {getattr(self, name)}; {rule}.")

    @property
    def peak_rate(self) -> float:
        """The peak learning rate; the usual one falls with the width of the model (Yang et al. 2022, table 3)."""
        share = SHARES[self.method] * min(1.0, WIDTH / self.model.hidden_size)
        return share * self.optimizer.usual_rate if self.learning_rate is None else self.learning_rate

    @property
    def freezes_base(self) -> bool:
        """Adapters leave the weights as they are."""
        return self.method != "full"
