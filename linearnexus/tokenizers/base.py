"""What every tokenizer does: text to token ids and back, whole or one token at a time.

Look first at: `Tokenizer` (the interface), `Stream` (text while it is generated), `check_id` (the one range check).
"""

from collections.abc import Iterable
from operator import index
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np

from linearnexus.core.errors import UserError


@runtime_checkable
class Stream(Protocol):
    """Decodes one id at a time and holds back what is not a whole character yet.

    The pieces joined, `finish` included, are what `decode` gives for the same ids.
    """

    def add(self, token: SupportsIndex) -> str:
        """The text that this id completes; empty in the middle of a character."""

    def finish(self) -> str:
        """What is still held back, as U+FFFD; empty if the ids ended with a whole character."""


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids in [0, vocab_size) and back. Two tokenizers are equal when they give the same ids."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises `UserError` for a character that has no id."""

    def encode_array(self, text: str) -> np.ndarray:
        """The same ids as an array [T], uint16 (int32 if vocab_size is over 65,536); for megabytes of text."""

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the ids. Raises `UserError` for an id out of range."""

    def stream(self) -> Stream:
        """A fresh incremental decoder."""

    def to_json(self) -> dict[str, Any]:
        """What `tokenizers.load` needs to build the same tokenizer again; "kind" names the class."""


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The array type of `encode_array`."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.int32)


def check_id(token: SupportsIndex, vocab_size: int) -> int:
    """The id as an `int`; raises `UserError` if it is out of range (a negative one would index from the end)."""
    number = index(token)
    if not 0 <= number < vocab_size:
        raise UserError(
            f"Token id {number} is out of range: this tokenizer has ids 0 to {vocab_size - 1}; "
            "use the tokenizer that the ids were made with."
        )
    return number
