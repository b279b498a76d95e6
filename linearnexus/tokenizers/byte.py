"""The byte tokenizer: the ids are the 256 bytes of UTF-8, so any text in any language has ids, with no training.

Look first at: `encode`; `byte_pieces.BytePieces` decodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from linearnexus.tokenizers.byte_pieces import BytePieces
from linearnexus.tokenizers.tokenizer import id_dtype, utf8

_BYTES = [bytes([byte]) for byte in range(256)]


@dataclass(frozen=True)
class ByteTokenizer(BytePieces):
    """An ASCII character is one token, an accented letter two, most Chinese characters three, an emoji four or more."""

    special_tokens: ClassVar[Mapping[str, int]] = {}
    end_token: ClassVar[int | None] = None
    pieces: ClassVar = _BYTES

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ByteTokenizer":
        return cls()

    def to_json(self) -> dict[str, Any]:
        return {"kind": "byte"}

    def encode(self, text: str) -> list[int]:
        return list(utf8(text))

    def encode_array(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), np.uint8).astype(id_dtype(self.vocab_size))
