"""What a run trains on, and the kinds of `--data` that say how one is opened.

A `DataSource` gives the batches of a run and the tokenizer that made them. A `SourceKind` decides which texts of
`--data` stand for it, checks them early, and opens the source. The kinds of the package are in task_source.py,
prepared_source.py and text_source.py; docs/add_a_data_source.md adds one from outside.

Look first at: `DataSource`, `SourceKind`; `registry.open_source` (from --data to a source).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, Batches
from linearnexus.data.settings import DataSettings
from linearnexus.tokenizers import Tokenizer


class EvaluationPart(NamedTuple):
    """Part of a validation split."""

    share: float  # of this part's mean loss in the whole
    batches: Iterable[tuple[Batch, np.ndarray]]  # with the weights [B,T] of the targets


class DataSource(ABC):
    """What a run trains on: batches for its steps and for its evaluations, and the tokenizer that made them."""

    tokenizer: Tokenizer
    tokenizer_name: str  # for people
    tokenizer_spec: str | None  # for config.json; None: the data has its own tokenizer
    info: dict[str, Any]  # for config.json: name, sha256
    notes: tuple[str, ...] = ()  # sentences for the user, shown when a run begins
    stop: tuple[str, ...] = ()  # texts that end a sample
    has_answers: ClassVar[bool] = False  # are the targets answers, so that their accuracy is measured?

    @property
    @abstractmethod
    def train_tokens(self) -> int:
        """0: without end."""

    @property
    @abstractmethod
    def validation_tokens(self) -> int: ...

    @property
    @abstractmethod
    def first_token(self) -> int:
        """What a sample may begin with."""

    @abstractmethod
    def batches(self, settings: DataSettings) -> Batches:
        """The training batches of a run. Raises UserError where there is too little to train on."""

    @abstractmethod
    def evaluation(self, settings: DataSettings) -> list[EvaluationPart]:
        """The validation batches of a run, the same every time. Raises UserError where there is too little."""

    def prompt(self, text: str) -> str | list[int]:
        """What a sample begins with, as text or ids."""
        return text

    def unigram_loss(self) -> float | None:
        """The validation loss of a model that knows only how frequent each token is, in nats; None: data without
        end."""
        return None

    def verify(self) -> None:  # noqa: B027 (most sources have nothing to verify)
        """Raises UserError, naming the file, where one is not as it was written."""


class SourceKind(ABC):
    """One kind of --data: which texts stand for it, and how such a text is checked and opened."""

    names: tuple[str, ...] = ()  # the words that stand for it, alone or before a ":"

    def claims(self, data: str) -> bool:
        """Does this text stand for a source of this kind?"""
        return data.partition(":")[0] in self.names

    def fixed_settings(self, data: str) -> dict[str, Any]:
        """Settings that the data decides unless the user gives them, such as the sequence_length of rows that all have
        one length. Raises UserError for a text that cannot be understood."""
        return {}

    def check(self, settings: DataSettings) -> None:  # noqa: B027 (there may be nothing to check)
        """Raises UserError for a mistake that can be found quickly, without JAX and without reading all of the data."""

    @abstractmethod
    def open(self, settings: DataSettings, tokenizer_file: Path | None, sha256: str | None) -> DataSource:
        """The source. tokenizer_file: that of the run that resumes or begins from another, None for a fresh one.
        sha256: the digest in `info` of what a resumed run began with; the registry compares it with the source's.
        Raises UserError."""


def check_unchanged(settings: DataSettings, sha256: str, before: str | None) -> None:
    """Raises UserError where a run began with other data."""
    if before not in (None, sha256):
        raise UserError(
            f"The text of {settings.data} has changed since the run began, so it cannot go on as it was; restore the "
            "text, or train a new run."
        )
