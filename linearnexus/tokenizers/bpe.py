"""Byte-level BPE, trained here: it begins with the 256 bytes and again and again joins the most frequent pair of
neighbours to a new token, so that frequent words become one token and every text still has ids.

As in GPT-2, tokens never cross from one word to the next, and the space belongs to the word after it. The work is
done by the Rust library `tokenizers`, imported when first needed. Paper: Sennrich, Haddow, Birch (2016),
https://arxiv.org/abs/1508.07909.

Look first at: `BPETokenizer.train`, `byte_pieces.pieces_of` (what the merges mean).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.tokenizers.byte_pieces import BytePieces, pieces_of
from linearnexus.tokenizers.tokenizer import AFTER_ANYTHING, cut, id_dtype, joined, utf8

if TYPE_CHECKING:
    import tokenizers
else:
    tokenizers = LazyPackage("tokenizers")

END = "<|endoftext|>"
VOCAB_SIZE = 4096
SMALLEST = 257  # the bytes and END
BATCH = 16  # pieces of text that the library encodes at a time, on all cores


@dataclass(frozen=True)
class BPETokenizer(BytePieces):
    """Ids: the bytes in GPT-2's order, the merges in the order they were learned, `<|endoftext|>`."""

    merges: tuple[tuple[str, str], ...]  # as GPT-2 writes them

    @classmethod
    def train(cls, text: str, vocab_size: int = VOCAB_SIZE) -> "BPETokenizer":
        """The same text gives the same merges; fewer than asked for if no pair occurs twice any more."""
        utf8(text)
        models, pre_tokenizers = tokenizers.models, tokenizers.pre_tokenizers
        letters = pre_tokenizers.ByteLevel.alphabet()
        library = tokenizers.Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size - 1, min_frequency=2, show_progress=False, initial_alphabet=letters
        )
        library.train_from_iterator(cut(text, AFTER_ANYTHING), trainer)
        return cls(tuple((left, right) for left, right in json.loads(library.to_str())["model"]["merges"]))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BPETokenizer":
        merges = [merge.split(" ") for merge in data["merges"] if isinstance(merge, str)]
        if len(merges) != len(data["merges"]) or any(len(merge) != 2 for merge in merges):
            raise UserError('"merges" is not a list of pairs')
        made = cls(tuple((left, right) for left, right in merges))
        try:
            made.pieces  # noqa: B018
        except KeyError as error:
            raise UserError(f'"merges" joins {error}, which is no token before it') from None
        return made

    def to_json(self) -> dict[str, Any]:
        return {"kind": "bpe", "merges": [" ".join(merge) for merge in self.merges]}

    @cached_property
    def pieces(self) -> list[bytes]:
        return [*pieces_of(self.merges).values(), END.encode()]

    @property
    def end_token(self) -> int | None:
        return self.vocab_size - 1

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return {END: self.vocab_size - 1}

    def encode(self, text: str) -> list[int]:
        utf8(text)
        return self._library.encode(text, add_special_tokens=False).ids

    def encode_array(self, text: str) -> np.ndarray:
        arrays, parts, kind = [], cut(text, AFTER_ANYTHING), id_dtype(self.vocab_size)
        while batch := list(islice(parts, BATCH)):
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            arrays += [np.array(encoding.ids, kind) for encoding in found]
        return joined(arrays, self.vocab_size)

    @cached_property
    def _library(self) -> "tokenizers.Tokenizer":
        # `<|endoftext|>` stays unknown to the library, so that no text can make it.
        vocabulary = {name: token for token, name in enumerate(pieces_of(self.merges))}
        library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, list(self.merges)))
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return library
