"""What all tokenizers have in common whose tokens are pieces of UTF-8: bytes, and byte-level BPE.

GPT-2 writes each byte as one printable character, so that its vocabulary is a text file: a printable byte as itself,
the others as U+0100 and up, in order (the space is "\u0120"). A token's id is its place in that order of bytes, then in
the order of the merges.

Look first at: `BytePieces`, `pieces_of`, `ByteStream`.
"""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from linearnexus.tokenizers.tokenizer import check_id

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = sorted({*range(256)} - {*_PRINTABLE})
_LETTERS = [*map(chr, _PRINTABLE), *(chr(0x100 + n) for n in range(len(_OTHERS)))]
BYTES = dict(zip(_LETTERS, _PRINTABLE + _OTHERS, strict=True))


def pieces_of(merges: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """The vocabulary of a byte-level BPE in the order of its ids: a token as GPT-2 writes it, and its bytes.

    Two merges may make the same token; it then has the id of the first. Raises `KeyError` for parts that are no tokens.
    """
    pieces = {letter: bytes([byte]) for letter, byte in BYTES.items()}
    for left, right in merges:
        pieces.setdefault(left + right, pieces[left] + pieces[right])
    return pieces


class BytePieces(ABC):
    """Decodes by joining the bytes of the tokens; bad UTF-8 becomes U+FFFD."""

    @property
    @abstractmethod
    def pieces(self) -> Sequence[bytes]:
        """The bytes of each id."""

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        pieces = self.pieces
        return b"".join([pieces[check_id(token, len(pieces))] for token in ids]).decode("utf-8", "replace")

    def stream(self) -> "ByteStream":
        return ByteStream(self.pieces)


class ByteStream:
    """Holds the bytes of an unfinished character back."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: SupportsIndex) -> str:
        return self._decoder.decode(self._pieces[check_id(token, len(self._pieces))])

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)
