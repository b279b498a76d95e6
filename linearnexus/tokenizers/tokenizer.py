"""What every tokenizer does: text to token ids and back, whole or one token at a time.

Look first at: `Tokenizer` (the interface), `TextStream` (text while it is generated), `cut` (megabytes of text in
pieces that give the same tokens).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from operator import index
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np

from linearnexus.core.errors import UserError

PIECE = 2**17  # characters: large enough for a library call, small enough to keep both cores and no memory busy
# Where text may be cut, the space or new line beginning the next piece. The pre-tokenizers of GPT-2 and of our own
# tokenizers put a boundary before any white space that follows something else, those of later models may join a sign
# and the new line after it, but never a letter.
AFTER_ANYTHING = re.compile(r"\S(?=[ \n])")
AFTER_A_LETTER = re.compile(r"[A-Za-z](?=[ \n])")


@runtime_checkable
class TextStream(Protocol):
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

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Tokens that stand for no text, such as `<|endoftext|>`, by name. `encode` never makes one: text that looks
        like one is ordinary text. `decode` shows them."""

    @property
    def end_token(self) -> int | None:
        """The special token that ends a document; None if there is none."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises `UserError` for a character that has no id."""

    def encode_array(self, text: str) -> np.ndarray:
        """The same ids as an array [T], uint16 (uint32 if vocab_size is over 65,536); for megabytes of text."""

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of the ids. Raises `UserError` for an id out of range."""

    def stream(self) -> TextStream:
        """A fresh incremental decoder."""

    def to_json(self) -> dict[str, Any]:
        """What `tokenizers.load` needs to build the same tokenizer again; "kind" names the class."""


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The array type of ids: of `encode_array`, and of the tokens of prepared data."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def joined(arrays: Iterable[np.ndarray], vocab_size: int) -> np.ndarray:
    """The pieces of an `encode_array` as one."""
    return np.concatenate([np.empty(0, id_dtype(vocab_size)), *arrays])


def check_id(token: SupportsIndex, vocab_size: int) -> int:
    """The id as an `int`; raises `UserError` if it is out of range (a negative one would index from the end)."""
    number = index(token)
    if not 0 <= number < vocab_size:
        raise UserError(
            f"Token id {number} is out of range: this tokenizer has ids 0 to {vocab_size - 1}; "
            "use the tokenizer that the ids were made with."
        )
    return number


def utf8(text: str, start: int = 0) -> bytes:
    """The bytes of a text, which begins at character `start` of the user's. Raises `UserError` for half a character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"The text holds a lone surrogate (U+{ord(text[error.start]):04X}) at position {start + error.start} "
            "(counted from 0), which is half a character and has no UTF-8 bytes; leave it out."
        ) from None


def cut(text: str, where: re.Pattern[str], size: int = PIECE) -> Iterator[str]:
    """The text in pieces of `size` characters, each a little longer up to the next place where it may be cut.

    Raises `UserError` for a lone surrogate.
    """
    start = 0
    while start < len(text):
        found = where.search(text, start + size)
        end = found.end() if found else len(text)
        piece = text[start:end]
        utf8(piece, start)
        yield piece
        start = end
