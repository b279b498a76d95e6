"""A task of text to tokens and hashes: what the worker processes of `data prepare` do.

Look first at: `encode`, `words_hash`.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from linearnexus.data.documents import Task, hash_of
from linearnexus.tokenizers.tokenizer import Tokenizer

NOT_WORDS = re.compile(r"[\W_]+")
PUNCTUATION = bytes(byte for byte in range(128) if not chr(byte).isalnum())


@dataclass
class Encoded:
    tokens: np.ndarray
    lengths: np.ndarray  # int64: tokens of each text
    sizes: np.ndarray  # int64: bytes of each text
    hashes: np.ndarray  # uint64 [texts, 2]: of the text, and of its words (0: not compared)


def encode(task: Task, tokenizer: Tokenizer) -> Encoded:
    """The tokens of a task's texts, an end token after each document where the tokenizer has one."""
    end = tokenizer.end_token
    parts, lengths = [], []
    for data in task.texts:
        ids = tokenizer.encode_array(data.decode("utf-8"))
        parts.append(ids)
        lengths.append(len(ids))
        if end is not None and task.ends:
            parts.append(np.array([end]))
            lengths[-1] += 1
    if task.document is None:
        hashes = [(hash_of(data), words_hash(data)) for data in task.texts]
    else:
        hashes = [(task.document, 0)]  # the words of a document in pieces are not compared
    tokens = np.concatenate(parts).astype(token_dtype(tokenizer)) if parts else np.empty(0, token_dtype(tokenizer))
    sizes = np.array([len(data) for data in task.texts], np.int64)
    return Encoded(tokens, np.array(lengths, np.int64), sizes, np.array(hashes, np.uint64).reshape(-1, 2))


def words_hash(data: bytes) -> int:
    """The hash of a text's letters and digits, case folded; 0 where it has none."""
    if data.isascii():
        words = data.lower().translate(None, PUNCTUATION)
    else:
        words = NOT_WORDS.sub("", data.decode("utf-8").casefold()).encode("utf-8")
    return hash_of(words) if words else 0


def token_dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
