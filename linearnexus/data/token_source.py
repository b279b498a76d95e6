"""Texts as tokens, cut into windows or packed by documents: what plain texts and prepared folders have in common.

Look first at: `TokenSource.batches`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linearnexus.data.batches import Batches, MixedBatches, WindowBatches, evaluation_windows
from linearnexus.data.order import random
from linearnexus.data.packing import PackedBatches
from linearnexus.data.settings import DataSettings
from linearnexus.data.shards import Prepared
from linearnexus.data.source import DataSource, EvaluationPart
from linearnexus.data.token_array import TokenArray
from linearnexus.tokenizers import Tokenizer

COUNTED = 2**22  # tokens of a split that its frequencies are counted in
SEEDS = 2**64 - 2  # counter of the random stream that the seeds of a mixture's sources come from


@dataclass(frozen=True)
class TokenSource(DataSource):
    """One text, or several that are mixed by weights."""

    tokenizer: Tokenizer
    tokenizer_name: str
    tokenizer_spec: str | None
    info: dict[str, Any]
    train: tuple[np.ndarray | TokenArray, ...]  # of each text
    validation: tuple[np.ndarray | TokenArray, ...]
    weights: tuple[float, ...] = (1.0,)  # of each text, their sum is 1
    prepared: tuple[Prepared, ...] = ()  # none: a plain text

    @property
    def train_tokens(self) -> int:
        return sum(map(len, self.train))

    @property
    def validation_tokens(self) -> int:
        return sum(map(len, self.validation))

    @property
    def first_token(self) -> int:
        return int(TokenArray.of(self.train[0]).read(0, 1)[0])

    def batches(self, settings: DataSettings) -> Batches:
        length, size = settings.sequence_length, settings.batch_size
        parts: list[Batches] = []
        for number, ids in enumerate(self.train):
            seed = settings.seed if len(self.train) == 1 else int(random(settings.seed, SEEDS, number + 1)[-1])
            if settings.packing == "best-fit":
                parts.append(PackedBatches(TokenArray.of(ids), length, size, seed))
            else:
                parts.append(WindowBatches(ids, length, size, seed, settings.order))
        return parts[0] if len(parts) == 1 else MixedBatches(parts, self.weights, size, settings.seed)

    def evaluation(self, settings: DataSettings) -> list[EvaluationPart]:
        length, size, limit = settings.sequence_length, settings.batch_size, settings.eval_batches or None
        return [
            EvaluationPart(share, evaluation_windows(ids, length, size, limit))
            for ids, share in zip(self.validation, self.weights, strict=True)
        ]

    def unigram_loss(self) -> float:
        size = self.tokenizer.vocab_size
        shares, frequent = np.zeros(size), []
        for train, validation, weight in zip(self.train, self.validation, self.weights, strict=True):
            counts, met = (np.bincount(_first(ids), minlength=size)[:size] for ids in (train, validation))
            shares += weight * (counts + 1) / (counts.sum() + size)
            frequent.append(weight * met / met.sum())
        return float(-sum(frequent) @ np.log(shares))

    def verify(self) -> None:
        for prepared in self.prepared:
            prepared.verify()


def _first(ids: np.ndarray | TokenArray) -> np.ndarray:
    """Enough of the tokens to count them."""
    return np.asarray(TokenArray.of(ids).read(0, min(len(ids), COUNTED)))
