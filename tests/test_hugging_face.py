"""Hugging Face's tokenizer.json: the kinds of decoder there are, made here, read back, streamed, saved, broken."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from linearnexus import tokenizers
from linearnexus.core.errors import UserError
from linearnexus.tokenizers import BPETokenizer, HuggingFaceTokenizer, hugging_face
from linearnexus.tokenizers.byte_pieces import pieces_of
from linearnexus.tokenizers.tokenizer import AFTER_A_LETTER, cut

TEXT = "Once upon a time there was a king. He wasn't old, 42 or so.\n\nHis dog sat on the chair.\n" * 3
MERGES = list(BPETokenizer.train(TEXT, 400).merges)
IDS = {name: number for number, name in enumerate(pieces_of(MERGES))}


def byte_level(words: str | None = None) -> Tokenizer:
    """As GPT-2's and, with a pattern, as Llama 3's and Qwen's."""
    made = Tokenizer(models.BPE(IDS, MERGES))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None)
    split = [pre_tokenizers.Split(Regex(words), "isolated")] if words else []
    made.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    made.normalizer = normalizers.NFC() if words else None
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    made.add_tokens([AddedToken("<tool_call>", normalized=False), "    "])
    return made


def sentencepiece() -> Tokenizer:
    """As Llama 2's: a space is U+2581, one before the text, bytes for what is unknown; truncation left on."""
    letters = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdehiknorstuw."]
    merges = [("\u2581", "a"), ("\u2581", "t"), ("h", "e"), ("\u2581t", "he")]
    vocabulary = {name: number for number, name in enumerate([*letters, *(left + right for left, right in merges)])}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.enable_truncation(4)
    made.enable_padding(length=9)
    return made


def word_piece() -> Tokenizer:
    """As BERT's: lower case, and "##" before what goes on with a word."""
    words = ["[UNK]", "[SEP]", "once", "up", "##on", "a", "time", ".", "the", "##re", "king"]
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[UNK]", "[SEP]"])
    return made


LIBRARY = {
    "gpt2": byte_level(),
    "llama3": byte_level(sorted(hugging_face.CUTTABLE)[1]),
    "qwen": byte_level(sorted(hugging_face.CUTTABLE)[0]),
    "llama2": sentencepiece(),
    "bert": word_piece(),
}
OURS = {name: HuggingFaceTokenizer(library.to_str()) for name, library in LIBRARY.items()}
kinds = pytest.mark.parametrize("name", OURS)


@kinds
def test_ids_are_the_librarys_without_limits_and_frames(name: str) -> None:
    """Would catch truncation, padding and begin tokens that files carry along."""
    plain = Tokenizer.from_str(LIBRARY[name].to_str())
    plain.no_truncation()
    plain.no_padding()
    expected = plain.encode(TEXT, add_special_tokens=False).ids
    assert len(expected) > 50
    assert OURS[name].encode(TEXT) == OURS[name].encode_array(TEXT).tolist() == expected
    assert OURS[name].decode(expected) == plain.decode(expected, skip_special_tokens=False)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen", "llama2"])
@settings(deadline=None)
@given(text=st.text())
def test_any_text_comes_back(name: str, text: str) -> None:
    tokenizer = OURS[name]
    expected = text if tokenizer is OURS["gpt2"] else normal(name, text)
    assert tokenizer.decode(tokenizer.encode(text)) == expected


def normal(name: str, text: str) -> str:
    if name == "llama2":
        return text.replace("\u2581", " ")  # its sign for a space
    return str(normalizers.NFC().normalize_str(text))


@kinds
@settings(deadline=None)
@given(data=st.data())
def test_a_stream_gives_what_decode_gives(name: str, data: st.DataObject) -> None:
    """Byte-level decoders: what the library gives for all ids at once. The others: for the ids of texts, because with
    bytes that are no character the library takes characters back that a stream has shown."""
    tokenizer = OURS[name]
    level = name in ("gpt2", "llama3", "qwen")
    numbers = st.lists(st.integers(0, tokenizer.vocab_size - 1))
    ids = data.draw(numbers) if level else tokenizer.encode(data.draw(st.text()))
    stream = tokenizer.stream()
    pieces = [*map(stream.add, ids), stream.finish()]
    assert "".join(pieces) == tokenizer.decode(ids) == LIBRARY[name].decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen"])
@settings(deadline=None, max_examples=200)
@given(
    text=st.text("aZs't1. \n\t\r\u00e9\u00a0\u0085\u3000\u0301_\U0001f600\u4f60", max_size=40), size=st.integers(0, 4)
)
def test_text_may_be_cut(name: str, text: str, size: int) -> None:
    tokenizer = OURS[name]
    assert tokenizer._may_be_cut
    parts = cut(text, AFTER_A_LETTER, size)
    assert [token for part in parts for token in tokenizer.encode(part)] == tokenizer.encode(text)


def test_what_is_not_known_to_be_exact_is_not_cut() -> None:
    assert not OURS["llama2"]._may_be_cut and not OURS["bert"]._may_be_cut
    across = {"id": 999, "content": "tool call", "special": False, "normalized": False, "single_word": False}
    for change in (
        {"added_tokens": [{**across, "lstrip": False, "rstrip": False}]},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
        {"normalizer": {"type": "Lowercase"}},
    ):
        changed = HuggingFaceTokenizer(json.dumps({**json.loads(LIBRARY["gpt2"].to_str()), **change}))
        assert not changed._may_be_cut
        assert changed.encode_array(TEXT).tolist() == changed.encode(TEXT)


@kinds
def test_special_tokens_are_shown_and_never_made(name: str) -> None:
    tokenizer = OURS[name]
    ends = {"llama2": "</s>", "bert": "[SEP]"}
    assert tokenizer.end_token == tokenizer.special_tokens[ends.get(name, "<|endoftext|>")]
    for text, token in tokenizer.special_tokens.items():
        assert text in tokenizer.decode([5, token])
        if text not in ("[UNK]", "<unk>"):
            assert token not in tokenizer.encode(f"a {text} b")


def test_added_tokens_that_are_not_special_are_made() -> None:
    tokenizer = OURS["gpt2"]
    assert len(tokenizer.encode("<tool_call>")) == 1
    assert tokenizer.decode(tokenizer.encode("a <tool_call>    b")) == "a <tool_call>    b"
    assert tokenizer.vocab_size == max(tokenizer.encode("<tool_call>    ")) + 1


def test_a_lone_surrogate_is_named() -> None:
    for tokenizer in OURS.values():
        for encode in (tokenizer.encode, tokenizer.encode_array):
            with pytest.raises(UserError, match=r"lone surrogate \(U\+D83D\) at position 3"):
                encode("abc\ud83d")


def folder(path: Path, config: Any = None, template: str | None = None) -> Path:
    (path / "tokenizer.json").write_text(LIBRARY["gpt2"].to_str(), encoding="utf-8")
    if config is not None:
        (path / "tokenizer_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def test_a_folder_is_read_and_kept_whole(tmp_path: Path) -> None:
    chat = "{% for message in messages %}{{ message.content }}{% endfor %}"
    source = folder(tmp_path, {"eos_token": {"content": "<|im_start|>"}, "chat_template": "old"}, chat)
    tokenizer = tokenizers.build(str(source), "")
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    assert tokenizer.chat_template == chat
    assert tokenizer.end_token == tokenizer.special_tokens["<|im_start|>"]
    assert tokenizers.build(str(source / "tokenizer.json"), "") == tokenizer
    tokenizers.save(tokenizer, tmp_path / "kept.json")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (source / name).unlink()
    assert tokenizers.load(tmp_path / "kept.json") == tokenizer


@pytest.mark.parametrize(
    ("config", "chat", "end"),
    [
        ({"chat_template": "plain", "eos_token": "<|endoftext|>"}, "plain", "<|endoftext|>"),
        ({"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}, "d", None),
        ({"eos_token": None}, None, None),
        (None, None, None),
    ],
)
def test_settings_beside_the_file(config: Any, chat: str | None, end: str | None, tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer.read(folder(tmp_path, config) / "tokenizer.json")
    assert tokenizer.chat_template == chat
    assert tokenizer.end == end or (end is None and tokenizer.end == "<|endoftext|>")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "its tokenizer_config.json is not JSON"),
        ("[]", "its tokenizer_config.json is not a JSON object"),
        ({"eos_token": 5}, '"eos_token" in its tokenizer_config.json is not text'),
        ({"chat_template": 5}, '"chat_template" in its tokenizer_config.json is not text'),
    ],
)
def test_broken_settings_are_named(config: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        tokenizers.load(folder(tmp_path, config))
    assert reason in str(caught.value) and str(tmp_path / "tokenizer.json") in str(caught.value)


@pytest.mark.parametrize("old, new", [('"BPE"', '"BPF"'), ('"merges":', '"mergers":'), ("<|endoftext|>", "\ud800")])
def test_a_broken_file_is_named(old: str, new: str, tmp_path: Path) -> None:
    path = folder(tmp_path) / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))).replace(old, json.dumps(new)[1:-1]))
    if new == '"BPF"' or new == '"mergers":':
        path.write_text(json.dumps(json.loads(LIBRARY["gpt2"].to_str())).replace(old, new))
    with pytest.raises(UserError, match="is not a tokenizer file") as caught:
        tokenizers.load(path)
    assert "\n" not in str(caught.value)
