"""OpenAI's own tokenizers through the Rust library `tiktoken`: GPT-2's, whose merge table is in this package, and
`cl100k` (GPT-4) and `o200k` (GPT-4o), whose tables tiktoken downloads once.

Look first at: `TiktokenTokenizer`, `_gpt2` (from the merge table to tiktoken's ranks).
"""

import hashlib
import lzma
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.paths import cache_dir
from linearnexus.tokenizers.byte_pieces import BytePieces, pieces_of
from linearnexus.tokenizers.tokenizer import AFTER_A_LETTER, AFTER_ANYTHING, PIECE, cut, id_dtype, joined, utf8

if TYPE_CHECKING:
    import tiktoken
else:
    tiktoken = LazyPackage("tiktoken")

TABLE = "data/gpt2_vocab.bpe.xz"  # data/LICENSE.gpt2 says where it is from
TABLE_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # of vocab.bpe
# GPT-2's pre-tokenizer: contractions, words, numbers and signs with the space before them, white space. The doubled
# quantifiers never go back, which changes no match and keeps the time linear.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
END = "<|endoftext|>"
HOLE = "\ufffd".encode()  # what an id decodes to that its model does not use


@dataclass(frozen=True)
class TiktokenTokenizer(BytePieces):
    name: str  # gpt2, cl100k or o200k

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TiktokenTokenizer":
        return cls(data["kind"])

    def __post_init__(self) -> None:
        _encoding(self.name)  # a table that cannot be had is told now

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.name}

    @property
    def pieces(self) -> list[bytes]:
        return _pieces(self.name)

    @property
    def end_token(self) -> int | None:
        return _encoding(self.name).eot_token

    @property
    def special_tokens(self) -> Mapping[str, int]:
        encoding = _encoding(self.name)
        return {text: encoding.encode_single_token(text) for text in sorted(encoding.special_tokens_set)}

    def encode(self, text: str) -> list[int]:
        utf8(text)
        return _encoding(self.name).encode_ordinary(text)

    def encode_array(self, text: str) -> np.ndarray:
        encoding, kind = _encoding(self.name), id_dtype(self.vocab_size)

        def encode(part: str) -> np.ndarray:
            return encoding.encode_to_numpy(part, disallowed_special=()).astype(kind)

        if len(text) <= PIECE:  # starting threads would take longer than a document of a page
            utf8(text)
            return encode(text)
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # tiktoken lets the others run while it works
            parts = cut(text, AFTER_ANYTHING if self.name == "gpt2" else AFTER_A_LETTER)
            return joined(threads.map(encode, parts), self.vocab_size)


@lru_cache
def _pieces(name: str) -> list[bytes]:
    encoding = _encoding(name)
    pieces = [HOLE] * encoding.n_vocab
    for piece in [*encoding.token_byte_values(), *(text.encode() for text in encoding.special_tokens_set)]:
        pieces[encoding.encode_single_token(piece)] = piece
    return pieces


@lru_cache
def _encoding(name: str) -> "tiktoken.Encoding":
    if name == "gpt2":
        return _gpt2()
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache_dir() / "tiktoken"))  # its default is a temporary folder
    try:
        return tiktoken.get_encoding(f"{name}_base")
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        reason = type(error).__name__ if "://" in str(error) or "host=" in str(error) else str(error).rstrip(".")
        raise UserError(
            f"Could not download the table of the tokenizer {name} ({reason}), which is needed once; connect to the "
            "network, or use one that needs none: gpt2, bpe, word, byte, char."
        ) from error


def gpt2_merges() -> list[tuple[str, str]]:
    """GPT-2's merges, in the order they were learned, as GPT-2 writes them."""
    table = lzma.decompress(files("linearnexus.tokenizers").joinpath(TABLE).read_bytes())
    if hashlib.sha256(table).hexdigest() != TABLE_SHA256:
        raise UserError(f"The file {TABLE} of the package is damaged; install linearnexus again.")
    lines = table.decode().splitlines()[1:]  # the first one is a version
    return [(left, right) for left, right in (line.split(" ") for line in lines)]


def _gpt2() -> "tiktoken.Encoding":
    pieces = pieces_of(gpt2_merges())
    ranks = {piece: rank for rank, piece in enumerate(pieces.values())}
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END: len(ranks)})
