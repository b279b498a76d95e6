"""The character tokenizer: one id per character that the training text holds, in code point order.

Look first at: `CharTokenizer.train` (the whole vocabulary), `encode_array` (one table look-up), `_unknown` (the error).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.tokenizers.tokenizer import check_id, id_dtype


@dataclass(frozen=True)
class CharTokenizer:
    """The id of a character is its place in `characters`, which must be distinct."""

    characters: str
    special_tokens: ClassVar[Mapping[str, int]] = {}
    end_token: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not self.characters:
            raise UserError("A character tokenizer needs at least one character; give it a text that is not empty.")
        if len(set(self.characters)) != len(self.characters):
            raise UserError(
                "A character tokenizer needs distinct characters; use CharTokenizer.train(text) for a text."
            )

    @classmethod
    def train(cls, text: str) -> "CharTokenizer":
        return cls("".join(sorted(set(text))))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "CharTokenizer":
        if not isinstance(data["characters"], str):
            raise UserError('"characters" is not text')
        return cls(data["characters"])

    def to_json(self) -> dict[str, Any]:
        return {"kind": "char", "characters": self.characters}

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> np.ndarray:
        ids: np.ndarray = self._table[np.minimum(_code_points(text), len(self._table) - 1)]
        if (ids < 0).any():
            raise self._unknown(text, int(np.argmax(ids < 0)))
        return ids.astype(id_dtype(self.vocab_size))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(self.characters[check_id(token, self.vocab_size)] for token in ids)

    def stream(self) -> "CharStream":
        return CharStream(self)

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point to id; -1 for an unknown one, and in the last entry for all that are higher."""
        codes = _code_points(self.characters)
        table = np.full(codes.max() + 2, -1, np.int32)
        table[codes] = np.arange(len(codes))
        return table

    def _unknown(self, text: str, position: int) -> UserError:
        known = repr(self.characters[:200]) + (", ..." if self.vocab_size > 200 else "")
        return UserError(
            f"The character {text[position]!r} (U+{ord(text[position]):04X}) at position {position} (counted from 0) "
            f"is not one of the {self.vocab_size} that this tokenizer knows: {known}; leave it out, or train a model "
            "with --tokenizer byte, which knows every character."
        )


@dataclass(frozen=True)
class CharStream:
    """Every id is a whole character, so nothing is ever held back."""

    tokenizer: CharTokenizer

    def add(self, token: SupportsIndex) -> str:
        return self.tokenizer.decode([token])

    def finish(self) -> str:
        return ""


def _code_points(text: str) -> np.ndarray:
    # surrogatepass: a lone surrogate must reach the error that names it, not fail here.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
