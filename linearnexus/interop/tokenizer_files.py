"""Our tokenizers as the files of Hugging Face models: tokenizer.json, tokenizer_config.json, chat_template.jinja.

Look first at: `write_tokenizer`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from linearnexus.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    HuggingFaceTokenizer,
    TiktokenTokenizer,
    Tokenizer,
)
from linearnexus.tokenizers.byte_pieces import BYTES, pieces_of
from linearnexus.tokenizers.tiktoken_bpe import gpt2_merges

# GPT-2's pre-tokenizer: words with the space before them, their bytes written as letters.
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def write_tokenizer(tokenizer: Tokenizer) -> dict[str, str]:
    """The texts of the files by their names; none where the tokenizer has no such form."""
    content = _content(tokenizer)
    if content is None:
        return {}
    texts = {"tokenizer.json": content}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if isinstance(tokenizer, HuggingFaceTokenizer) and tokenizer.chat_template is not None:
        texts["chat_template.jinja"] = tokenizer.chat_template
    if tokenizer.end_token is not None:
        names = {token: name for name, token in tokenizer.special_tokens.items()}
        settings["eos_token"] = names.get(tokenizer.end_token, getattr(tokenizer, "end", None))
    return texts | {"tokenizer_config.json": json.dumps(settings, indent=2) + "\n"}


def _content(tokenizer: Tokenizer) -> str | None:
    """The text of a tokenizer.json that gives the same ids."""
    if isinstance(tokenizer, HuggingFaceTokenizer):
        return tokenizer.content
    if isinstance(tokenizer, CharTokenizer):
        letters = {letter: token for token, letter in enumerate(tokenizer.characters)}
        # <unk> is no character: one that is not known is an error, as with ours
        model = {"type": "WordLevel", "vocab": letters, "unk_token": "<unk>"}
        each = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
        return tokenizer_json(model, [each], {"type": "Fuse"}, {}, {})
    if isinstance(tokenizer, ByteTokenizer):
        return byte_level_bpe(BYTES, [], {}, [{**BYTE_LEVEL, "use_regex": False}])
    merges = None
    if isinstance(tokenizer, BPETokenizer):
        merges = list(tokenizer.merges)
    elif isinstance(tokenizer, TiktokenTokenizer) and tokenizer.name == "gpt2":
        merges = gpt2_merges()
    if merges is None:
        return None
    vocabulary = {name: token for token, name in enumerate(pieces_of(merges))}
    return byte_level_bpe(vocabulary, merges, tokenizer.special_tokens)


def byte_level_bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special: Mapping[str, int],
    before: Sequence[dict[str, Any]] = (BYTE_LEVEL,),
    added: Mapping[str, int] | None = None,
) -> str:
    """The tokenizer.json of a BPE over bytes, tokens written as GPT-2 does. `before`: how it cuts a text into words;
    `added`: tokens of text that come before all merges."""
    model = {"type": "BPE", "vocab": dict(vocabulary), "merges": [list(merge) for merge in merges]}
    return tokenizer_json(model, before, BYTE_LEVEL, special, added or {})


def tokenizer_json(
    model: dict[str, Any],
    before: Sequence[dict[str, Any]],
    decoder: dict[str, Any],
    special: Mapping[str, int],
    added: Mapping[str, int],
) -> str:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    both = [(number, name, True) for name, number in special.items()]
    both += [(number, name, False) for name, number in added.items()]
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [
                {"id": number, "content": name, **plain, "special": one} for number, name, one in sorted(both)
            ],
            "pre_tokenizer": before[0] if len(before) == 1 else {"type": "Sequence", "pretokenizers": list(before)},
            "decoder": decoder,
            "model": model,
        },
        ensure_ascii=False,
    )
