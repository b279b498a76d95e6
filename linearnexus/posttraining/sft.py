"""Supervised fine-tuning as a job: a trained model learns the answers of conversations, by adapters or all its weights.

Look first at: `FineTuning`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from linearnexus.models.language_model import LanguageModel
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.lora import Adapters
from linearnexus.posttraining.source import open_conversations
from linearnexus.training.config import TrainConfig
from linearnexus.training.job import Job, first_state
from linearnexus.training.step import Update


@dataclass(frozen=True)
class FineTuning(Job):
    config: SFTConfig
    suggestion: ClassVar[str] = "talk with it: linearnexus chat {}"

    @classmethod
    def open(cls, config: TrainConfig, tokenizer: Path | None = None, sha256: str | None = None) -> Self:
        assert isinstance(config, SFTConfig) and tokenizer is not None
        return cls(config, open_conversations(config, tokenizer, sha256))

    @classmethod
    def trainable(cls, config: Any, parent: LanguageModel) -> Any:
        """Adapters, or the whole model."""
        return parent if config.method == "full" else Adapters.init(parent, config, config.seed)

    def check(self, update: Update) -> None:
        """Raises UserError where an adapter gets no gradient: after a first step that is thrown away."""
        if update.frozen is None or self.config.method == "full":
            return
        stream = self.stream()
        state = first_state(self.config, update.frozen)
        moved, _ = update.at_rate(state, stream.next(0, state), self.config.peak_rate)
        stream.close()
        moved.model.check_moved()
