"""The byte tokenizer: the ids are the 256 bytes of UTF-8, so any text in any language has ids, with no training.

Look first at: `_utf8` (text to bytes), `decode` (bad UTF-8 becomes U+FFFD), `ByteStream` (waits for whole characters).
"""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.tokenizers.base import check_id, id_dtype


@dataclass(frozen=True)
class ByteTokenizer:
    """An ASCII character is one token, an accented letter two, most Chinese characters three, an emoji four or more."""

    @classmethod
    def train(cls, text: str) -> "ByteTokenizer":
        return cls()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ByteTokenizer":
        return cls()

    def to_json(self) -> dict[str, Any]:
        return {"kind": "byte"}

    @property
    def vocab_size(self) -> int:
        return 256

    def encode(self, text: str) -> list[int]:
        return list(_utf8(text))

    def encode_array(self, text: str) -> np.ndarray:
        return np.frombuffer(_utf8(text), np.uint8).astype(id_dtype(self.vocab_size))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(check_id(token, self.vocab_size) for token in ids).decode("utf-8", "replace")

    def stream(self) -> "ByteStream":
        return ByteStream()


class ByteStream:
    """Holds the bytes of an unfinished character back."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: SupportsIndex) -> str:
        return self._decoder.decode(bytes([check_id(token, 256)]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"The text holds a lone surrogate (U+{ord(text[error.start]):04X}) at position {error.start} (counted from "
            "0), which is half a character and has no UTF-8 bytes; leave it out."
        ) from None
