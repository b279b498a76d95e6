"""Training and encoding, beside calling the libraries tiktoken and tokenizers directly, on stories and Shakespeare.

    python -m benchmarks.tokenizers [TEXT.txt]

Each round times every row once, so that all share the machine's moods; a row is the best of its rounds. "directly" is
the library's fastest way with the same pieces of text: its batch call, on all cores, ids as arrays.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from linearnexus.data.corpora import load_corpus
from linearnexus.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, TiktokenTokenizer, WordTokenizer
from linearnexus.tokenizers.tiktoken_bpe import _encoding
from linearnexus.tokenizers.tokenizer import AFTER_ANYTHING, PIECE, cut

VOCAB_SIZE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", type=Path, help="a text to add to stories, such as tiny Shakespeare")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    text = load_corpus("stories").text + (chosen.text.read_text(encoding="utf-8") if chosen.text else "")
    size = len(text.encode())
    began = time.perf_counter()
    bpe = BPETokenizer.train(text, VOCAB_SIZE)
    print(f"BPE of {bpe.vocab_size:,} tokens on {size:,} bytes: {time.perf_counter() - began:.2f} s\n")
    gpt2, char, word = TiktokenTokenizer("gpt2"), CharTokenizer.train(text), WordTokenizer.train(text)
    library, encoding, parts = bpe._library, _encoding("gpt2"), list(cut(text, AFTER_ANYTHING))
    rows: dict[str, Callable[[], np.ndarray]] = {
        "gpt2, here": lambda: gpt2.encode_array(text),
        "tiktoken directly, the text in one call": lambda: np.array(encoding.encode_ordinary(text), np.uint16),
        "tiktoken directly, batch": lambda: np.concatenate(
            [np.array(ids, np.uint16) for ids in encoding.encode_ordinary_batch(parts, num_threads=os.cpu_count() or 1)]
        ),
        "bpe, here": lambda: bpe.encode_array(text),
        "tokenizers directly, the text in one call": lambda: np.array(library.encode(text).ids, np.uint16),
        "tokenizers directly, batch": lambda: np.concatenate(
            [np.array(found.ids, np.uint16) for found in library.encode_batch_fast(parts)]
        ),
        "word": lambda: word.encode_array(text),
        "char": lambda: char.encode_array(text),
        "byte": lambda: ByteTokenizer().encode_array(text),
    }
    best = dict.fromkeys(rows, float("inf"))
    counts = {}
    for _ in range(chosen.rounds):
        for name, encode in rows.items():
            began = time.perf_counter()
            counts[name] = len(encode())
            best[name] = min(best[name], time.perf_counter() - began)
    print(f"Encoding {size:,} bytes, best of {chosen.rounds} rounds, pieces of {PIECE:,} characters\n")
    print("| | million bytes a second | million tokens a second | bytes per token |\n|---|---|---|---|")
    for name, seconds in best.items():
        speed, tokens = size / seconds / 1e6, counts[name] / seconds / 1e6
        print(f"| {name} | {speed:.1f} | {tokens:.2f} | {size / counts[name]:.2f} |")


if __name__ == "__main__":
    main()
