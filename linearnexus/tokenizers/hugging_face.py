"""Any Hugging Face tokenizer: a `tokenizer.json`, and the end token and chat template from the files beside it.

Read and run by the Rust library `tokenizers`, imported when first needed. The whole file is kept, so a model that is
trained with it needs nothing else.

Look first at: `HuggingFaceTokenizer.read`, `WindowStream` (also decodes), `_may_be_cut`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.tokenizers.tokenizer import AFTER_A_LETTER, check_id, cut, id_dtype, joined, utf8

if TYPE_CHECKING:
    import tokenizers
else:
    tokenizers = LazyPackage("tokenizers")

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")  # where no file says which it is
BATCH = 16  # pieces of text that the library encodes at a time, on all cores
# The pre-tokenizers of Llama 3 and Qwen; {} is a number's digits.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CUTTABLE = {WORDS.replace("{}", digits) for digits in ("", "{1,3}")}


@dataclass(frozen=True)
class HuggingFaceTokenizer:
    content: str  # of tokenizer.json
    end: str | None = None  # the token that ends a document
    chat_template: str | None = None  # Jinja, which turns a conversation into text

    @classmethod
    def read(cls, file: Path) -> "HuggingFaceTokenizer":
        """From a tokenizer.json. Raises `UserError`, which says what is wrong, `OSError` for a file it cannot read."""
        content = _text(file)
        settings, template = file.with_name("tokenizer_config.json"), file.with_name("chat_template.jinja")
        config = _object(settings) if settings.exists() else {}
        end = config.get("eos_token")
        end = end.get("content") if isinstance(end, dict) else end
        chat = _text(template) if template.exists() else config.get("chat_template")
        if isinstance(chat, list):  # several with names
            chats = {item.get("name"): item.get("template") for item in chat if isinstance(item, dict)}
            chat = chats.get("default", next(iter(chats.values()), None))
        for name, value in (("eos_token", end), ("chat_template", chat)):
            if value is not None and not isinstance(value, str):
                raise UserError(f'"{name}" in its tokenizer_config.json is not text')
        return cls(content, end, chat)

    def __post_init__(self) -> None:
        special = self.special_tokens  # reads the file
        if self.end is None:
            object.__setattr__(self, "end", next((end for end in ENDS if end in special), None))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "HuggingFaceTokenizer":
        return cls(data["content"], data["end"], data["chat_template"])

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "hugging_face",
            "end": self.end,
            "chat_template": self.chat_template,
            "content": self.content,
        }

    @cached_property
    def vocab_size(self) -> int:
        return max(self._library.get_vocab(with_added_tokens=True).values()) + 1  # ids may have holes

    @property
    def end_token(self) -> int | None:
        return None if self.end is None else self._library.token_to_id(self.end)

    @cached_property
    def special_tokens(self) -> Mapping[str, int]:
        added = self._library.get_added_tokens_decoder()
        return {token.content: number for number, token in sorted(added.items()) if token.special}

    def encode(self, text: str) -> list[int]:
        utf8(text)
        return self._library.encode(text, add_special_tokens=False).ids

    def encode_array(self, text: str) -> np.ndarray:
        kind = id_dtype(self.vocab_size)
        if not self._may_be_cut:
            return np.array(self.encode(text), kind)
        arrays, parts = [], cut(text, AFTER_A_LETTER)
        while batch := list(islice(parts, BATCH)):
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            arrays += [np.array(encoding.ids, kind) for encoding in found]
        return joined(arrays, self.vocab_size)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        stream = self.stream()
        return "".join([*map(stream.add, ids), stream.finish()])

    def stream(self) -> "WindowStream":
        return WindowStream(self._library, self.vocab_size)

    @cached_property
    def _library(self) -> "tokenizers.Tokenizer":
        try:
            library = tokenizers.Tokenizer.from_str(self.content)
            library.no_truncation()  # files carry the limits of the model that they came with
            library.no_padding()
            library.encode_special_tokens = True  # text that looks like a special token is ordinary text
        except Exception as error:  # the library has no class of its own for a file that it cannot read
            raise UserError(f"the tokenizers library cannot read it: {error}") from error
        if not library.get_vocab_size():
            raise UserError("it has no tokens")
        return library

    @cached_property
    def _may_be_cut(self) -> bool:
        """Do pieces of a text give the same tokens? Known to be so for the usual pre-tokenizers of byte-level BPE."""
        data = json.loads(self.content)
        before = data.get("pre_tokenizer") or {}
        parts = before.get("pretokenizers", [before])
        words = False
        for part in parts:
            if part.get("type") == "ByteLevel" and not part.get("add_prefix_space"):
                words |= part.get("use_regex", True)
            elif part.get("type") == "Split" and part["pattern"].get("Regex") in CUTTABLE:
                words |= part.get("behavior") == "Isolated" and not part.get("invert")
            elif part.get("type") != "Digits":
                return False
        added = data.get("added_tokens") or []
        across = any(token.get("rstrip") or AFTER_A_LETTER.search(token.get("content", "")) for token in added)
        normalizer = (data.get("normalizer") or {"type": "NFC"})["type"]
        return words and normalizer == "NFC" and not across


class WindowStream:
    """Decodes with the few ids before, whatever decoder the file names, and holds half a character back.

    The text of a token may depend on whether it is the first one, and on a neighbour's bytes, so its text is what it
    adds to that of the ids before it.
    """

    def __init__(self, library: "tokenizers.Tokenizer", vocab_size: int) -> None:
        self._library, self._vocab_size = library, vocab_size
        self._ids: list[int] = []
        self._shown, self._text = 0, ""  # ids of these whose text has been given, and that text

    def add(self, token: SupportsIndex) -> str:
        self._ids.append(check_id(token, self._vocab_size))
        text = self._decode(self._ids)
        if text.endswith("\ufffd"):  # half a character, or this very sign: the next token tells
            return ""
        piece = text[len(self._text) :]
        self._text = text
        rest = self._ids[self._shown :]
        if shown := self._decode(rest):  # a window of no text would make the next token the first one
            self._ids, self._text = rest, shown
        self._shown = len(self._ids)
        return piece

    def finish(self) -> str:
        return self._decode(self._ids)[len(self._text) :]

    def _decode(self, ids: list[int]) -> str:
        return self._library.decode(ids, skip_special_tokens=False)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"its {path.name} is not UTF-8 text: {error.reason}") from None


def _object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"its {path.name} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"its {path.name} is not a JSON object")
    return data
