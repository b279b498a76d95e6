"""Text to ids and back: `build` a tokenizer for a text, `save` it beside the model, `load` it again.

    char, byte              a character, a byte of UTF-8
    word, word:20000        frequent words and the sign <unk>; the number is the size of the vocabulary
    bpe, bpe:8192           byte-level BPE, trained on the text
    gpt2, cl100k, o200k     the BPE of GPT-2, GPT-4, GPT-4o
    path/to/tokenizer.json  one that was saved here, or a Hugging Face tokenizer (or the folder that it is in)

Look first at: `base.Tokenizer` (the interface), `build`, `load`.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.paths import write_atomic
from linearnexus.tokenizers import bpe, word
from linearnexus.tokenizers.bpe import BPETokenizer
from linearnexus.tokenizers.byte import ByteTokenizer
from linearnexus.tokenizers.char import CharTokenizer
from linearnexus.tokenizers.hugging_face import HuggingFaceTokenizer
from linearnexus.tokenizers.symbols import SymbolTokenizer
from linearnexus.tokenizers.tiktoken_bpe import TiktokenTokenizer
from linearnexus.tokenizers.tokenizer import TextStream, Tokenizer
from linearnexus.tokenizers.word import WordTokenizer

__all__ = [
    "KINDS",
    "NAMES",
    "TRAINED",
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "HuggingFaceTokenizer",
    "SymbolTokenizer",
    "TextStream",
    "TiktokenTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "build",
    "check",
    "is_path",
    "load",
    "save",
]

KINDS: dict[str, Callable[[dict[str, Any]], Tokenizer]] = {
    "char": CharTokenizer.from_json,
    "byte": ByteTokenizer.from_json,
    "word": WordTokenizer.from_json,
    "bpe": BPETokenizer.from_json,
    "gpt2": TiktokenTokenizer.from_json,
    "cl100k": TiktokenTokenizer.from_json,
    "o200k": TiktokenTokenizer.from_json,
    "hugging_face": HuggingFaceTokenizer.from_json,
    "symbols": SymbolTokenizer.from_json,
}
NAMES = tuple(name for name in KINDS if name not in ("hugging_face", "symbols"))  # what `build` knows beside paths
TRAINED = ("char", "word", "bpe")  # these learn from a text
SMALLEST = {"word": len(WordTokenizer.special_tokens) + 1, "bpe": bpe.SMALLEST}  # vocabularies


def build(spec: str, text: str) -> Tokenizer:
    """The tokenizer that `spec` (above) stands for, trained on this text where it needs training.

    Raises `UserError` for an unknown name, a size out of range, a file that is missing or broken.
    """
    if is_path(spec):
        path = os.path.expanduser(spec)
        if not os.path.exists(path):
            raise UserError(
                f"There is no tokenizer file '{spec}'; give the path of a tokenizer.json or of the folder that it is "
                f"in, or one of: {', '.join(NAMES)}."
            )
        return load(path)
    name, size = check(spec)
    if name == "char":
        return CharTokenizer.train(text)
    if name == "byte":
        return ByteTokenizer()
    if name == "word":
        return WordTokenizer.train(text, size or word.VOCAB_SIZE)
    if name == "bpe":
        return BPETokenizer.train(text, size or bpe.VOCAB_SIZE)
    return TiktokenTokenizer(name)


def check(spec: str) -> tuple[str, int | None]:
    """The name in a spec that is no path, and its size. Raises `UserError` for one that `build` does not know."""
    if is_path(spec):
        return spec, None
    name, colon, number = spec.partition(":")
    if name not in NAMES:
        if os.path.exists(spec):
            raise UserError(f"There is no tokenizer named '{spec}'; for the file or folder, write ./{spec}")
        raise unknown("tokenizer", name, NAMES)
    if not colon:
        return name, None
    if name not in SMALLEST:
        raise UserError(f"tokenizer is '{spec}', but the vocabulary of {name} has no size to choose; write {name}.")
    if not (number.isascii() and number.isdigit()) or not SMALLEST[name] <= int(number) < 2**31:
        raise UserError(
            f"tokenizer is '{spec}'; the size of the vocabulary is a whole number from {SMALLEST[name]}, such as "
            f"{name}:4096."
        )
    return name, int(number)


def is_path(spec: str) -> bool:
    return "/" in spec or "\\" in spec or spec.endswith(".json")


def save(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write the tokenizer as JSON, whole or not at all."""
    write_atomic(path, json.dumps(tokenizer.to_json(), indent=2) + "\n")


def load(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `save` wrote, or a Hugging Face tokenizer.json; a folder stands for the file in it.

    Raises `UserError`, which names the file, if it is missing or broken.
    """
    file = Path(path)
    if file.is_dir():
        file /= "tokenizer.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(data, dict) and "kind" not in data and "model" in data:
            return HuggingFaceTokenizer.read(file)
        if not isinstance(data, dict) or "kind" not in data:
            raise UserError('it has no "kind"')
        if data["kind"] not in KINDS:
            raise unknown("tokenizer", data["kind"], KINDS)
        return KINDS[data["kind"]](data)
    except OSError as error:
        raise UserError(
            f"Could not read the tokenizer file '{file}' ({error.strerror}); "
            "it belongs beside the model that was trained with it: restore it from a copy, or train a new run."
        ) from error
    except KeyError as error:
        reason = f"it has no {error}"
    except (ValueError, TypeError) as error:
        reason = str(error).rstrip(".")
    raise UserError(f"'{file}' is not a tokenizer file ({reason}); take it again from where it came from.")
