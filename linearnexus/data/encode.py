"""A chunk of text to tokens and hashes: what the worker processes of `data prepare` do.

Look first at: `encode`, `words_hash`.
"""

import re
from dataclasses import dataclass

import numpy as np

from linearnexus.data.documents import TextChunk, hash_of
from linearnexus.tokenizers.tokenizer import Tokenizer, id_dtype

NOT_WORDS = re.compile(r"[\W_]+")
PUNCTUATION = bytes(byte for byte in range(128) if not chr(byte).isalnum())


@dataclass
class Encoded:
    tokens: np.ndarray
    lengths: np.ndarray  # int64: tokens of each text
    sizes: np.ndarray  # int64: bytes of each text
    hashes: np.ndarray  # uint64 [texts, 2]: of the text, and of its words (0: not compared)


def encode(chunk: TextChunk, tokenizer: Tokenizer) -> Encoded:
    """The tokens of a chunk's texts, an end token after each document where the tokenizer has one."""
    end, dtype = tokenizer.end_token, id_dtype(tokenizer.vocab_size)
    parts, lengths = [np.empty(0, dtype)], []
    for data in chunk.texts:
        ids = tokenizer.encode_array(data.decode("utf-8"))
        parts.append(ids)
        lengths.append(len(ids))
        if end is not None and chunk.ends:
            parts.append(np.array([end], dtype))
            lengths[-1] += 1
    if chunk.document is None:
        hashes = [(hash_of(data), words_hash(data)) for data in chunk.texts]
    else:
        hashes = [(chunk.document, 0)]  # the words of a document in pieces are not compared
    sizes = np.array([len(data) for data in chunk.texts], np.int64)
    return Encoded(
        np.concatenate(parts), np.array(lengths, np.int64), sizes, np.array(hashes, np.uint64).reshape(-1, 2)
    )


def words_hash(data: bytes) -> int:
    """The hash of a text's letters and digits, case folded; 0 where it has none."""
    if data.isascii():
        words = data.lower().translate(None, PUNCTUATION)
    else:
        words = NOT_WORDS.sub("", data.decode("utf-8").casefold()).encode("utf-8")
    return hash_of(words) if words else 0
