"""The word tokenizer: one id per frequent word of the training text, and one, `<unk>`, for all other words.

A piece is a word with the space before it (" world"), a sign with the space before it (" ("), or other white space, so
that the pieces joined are the text. `<unk>` is where this tokenizer loses text: a name that it has not read twice.

Look first at: `PIECE`, `WordTokenizer.train`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.tokenizers.tokenizer import AFTER_ANYTHING, check_id, cut, id_dtype, joined, utf8

# Apostrophes inside a word belong to it; of several spaces before a word the last one does.
PIECE = re.compile(r" ?\w+(?:['\u2019]\w+)*| ?[^\w\s]|\s+(?!\S)|\s")
UNKNOWN, END = "<unk>", "<end>"  # no piece of a text can look like these: a sign is a piece of its own
VOCAB_SIZE, MIN_COUNT = 20_000, 2


@dataclass(frozen=True)
class WordTokenizer:
    """The id of a word is its place in `words`, which must be distinct, after those of `<unk>` and `<end>`."""

    words: tuple[str, ...]
    special_tokens: ClassVar[Mapping[str, int]] = {UNKNOWN: 0, END: 1}
    end_token: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        if len(self._table) != len(self.words) + len(self.special_tokens):
            raise UserError("A word tokenizer needs distinct words; use WordTokenizer.train(text) for a text.")

    @classmethod
    def train(cls, text: str, vocab_size: int = VOCAB_SIZE, min_count: int = MIN_COUNT) -> "WordTokenizer":
        """The most frequent pieces of the text, of those that occur `min_count` times; equally frequent ones by
        code points. Raises `UserError` if there are none."""
        counts: Counter[str] = Counter()
        for part in cut(text, AFTER_ANYTHING):
            counts.update(PIECE.findall(part))
        frequent = sorted(((-count, piece) for piece, count in counts.items() if count >= min_count))
        if not frequent:
            raise UserError(
                f"No word of the text occurs {min_count} times, so there is no vocabulary; give a longer text, or use "
                "--tokenizer byte, which needs none."
            )
        return cls(tuple(piece for _, piece in frequent[: vocab_size - len(cls.special_tokens)]))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "WordTokenizer":
        words = data["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError('"words" is not a list of text')
        return cls(tuple(words))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "word", "words": list(self.words)}

    @property
    def vocab_size(self) -> int:
        return len(self._texts)

    def encode(self, text: str) -> list[int]:
        utf8(text)
        return self._ids(text)

    def encode_array(self, text: str) -> np.ndarray:
        kind = id_dtype(self.vocab_size)
        return joined((np.array(self._ids(part), kind) for part in cut(text, AFTER_ANYTHING)), self.vocab_size)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(self._texts[check_id(token, self.vocab_size)] for token in ids)

    def stream(self) -> "WordStream":
        return WordStream(self)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return (*self.special_tokens, *self.words)

    @cached_property
    def _table(self) -> dict[str, int]:
        return {text: token for token, text in enumerate(self._texts)}

    def _ids(self, text: str) -> list[int]:
        table, unknown = self._table, self.special_tokens[UNKNOWN]
        return [table.get(piece, unknown) for piece in PIECE.findall(text)]


@dataclass(frozen=True)
class WordStream:
    """Every id is whole characters, so nothing is ever held back."""

    tokenizer: WordTokenizer

    def add(self, token: SupportsIndex) -> str:
        return self.tokenizer.decode([token])

    def finish(self) -> str:
        return ""
