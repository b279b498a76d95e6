"""Text to ids and back without loss, a sentence for what has no id, and streams that never show half a character."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linearnexus import tokenizers
from linearnexus.core.errors import UserError
from linearnexus.models.presets import preset
from linearnexus.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, TiktokenTokenizer, WordTokenizer
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import with_options

LETTERS = CharTokenizer("abcdefghijklmnopqrstuvwxyz")


def test_the_guide_example() -> None:
    assert LETTERS.encode("hello") == [7, 4, 11, 11, 14]
    assert LETTERS.decode([7, 4, 11, 11, 14]) == "hello"


@settings(deadline=None)
@given(st.text())
def test_bytes_round_trip_any_text(text: str) -> None:
    """Hypothesis draws every character but lone surrogates."""
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert ids == list(text.encode())
    assert tokenizer.encode_array(text).tolist() == ids
    assert tokenizer.decode(ids) == text


@settings(deadline=None)
@given(st.text(st.characters(), min_size=1))
def test_characters_round_trip_the_text_they_were_trained_on(text: str) -> None:
    """`st.characters` draws lone surrogates too."""
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode_array(text)
    assert tokenizer.vocab_size == len(set(text))
    assert list(tokenizer.characters) == sorted(set(text))
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert "".join([tokenizer.stream().add(token) for token in ids]) == text


@settings(deadline=None)
@given(st.lists(st.integers(0, 255)))
def test_a_byte_stream_gives_what_decode_gives(ids: list[int]) -> None:
    """Also for bytes that are no UTF-8, which an untrained model writes."""
    tokenizer = ByteTokenizer()
    stream = tokenizer.stream()
    assert "".join([*map(stream.add, ids), stream.finish()]) == tokenizer.decode(ids)


@settings(deadline=None)
@given(st.text())
def test_a_byte_stream_never_splits_a_character(text: str) -> None:
    stream = ByteTokenizer().stream()
    pieces = [stream.add(token) for token in ByteTokenizer().encode(text)]
    assert [piece for piece in pieces if piece] == list(text)
    assert stream.finish() == ""


def test_a_byte_stream_shows_that_the_end_is_missing() -> None:
    stream = ByteTokenizer().stream()
    assert [stream.add(token) for token in "\N{SNOWMAN}".encode()[:2]] == ["", ""]
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()])
def test_arrays_are_small_and_writable(tokenizer: tokenizers.Tokenizer) -> None:
    ids = tokenizer.encode_array("hello")
    assert ids.dtype == np.uint16
    assert ids.flags.writeable
    assert tokenizer.encode_array("").shape == (0,)
    assert tokenizer.encode("") == []
    assert tokenizer.decode(np.array([], np.int32)) == ""


def test_more_than_65536_characters_need_wider_ids() -> None:
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x13000)]))
    ids = CharTokenizer(every).encode_array(every)
    assert ids.dtype == np.uint32
    np.testing.assert_array_equal(ids, np.arange(len(every)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("naive caf\N{LATIN SMALL LETTER E WITH ACUTE}", "(U+0020) at position 5"),
        ("ca\N{LATIN SMALL LETTER E WITH ACUTE}f\N{GRINNING FACE}", "(U+00E9) at position 2"),
        ("ok\N{GRINNING FACE}", "(U+1F600) at position 2"),
        ("A", "'A' (U+0041) at position 0"),
        ("a\n", r"'\n' (U+000A) at position 1"),
        ("a\udcff", r"'\udcff' (U+DCFF) at position 1"),
    ],
)
def test_an_unknown_character_is_named(text: str, named: str) -> None:
    for encode in (LETTERS.encode, LETTERS.encode_array):
        with pytest.raises(UserError) as caught:
            encode(text)
        assert named in str(caught.value)
        assert "'abcdefghijklmnopqrstuvwxyz'" in str(caught.value)
        assert "--tokenizer byte" in str(caught.value)


def test_a_lone_surrogate_has_no_bytes() -> None:
    with pytest.raises(UserError, match=r"U\+D83D\) at position 3"):
        ByteTokenizer().encode("abc\ud83d")


@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()])
def test_an_id_out_of_range_is_named(tokenizer: tokenizers.Tokenizer) -> None:
    for token in (-1, tokenizer.vocab_size):
        message = rf"id {token} is out of range: this tokenizer has ids 0 to {tokenizer.vocab_size - 1};"
        with pytest.raises(UserError, match=message):
            tokenizer.decode([0, token])
        with pytest.raises(UserError, match=message):
            tokenizer.stream().add(token)


def test_character_tokenizers_need_distinct_characters() -> None:
    with pytest.raises(UserError, match="at least one character"):
        CharTokenizer.train("")
    with pytest.raises(UserError, match="distinct"):
        CharTokenizer("aba")


def test_build_knows_the_names() -> None:
    assert tokenizers.build("char", "banana") == CharTokenizer("abn")
    assert tokenizers.build("byte", "banana") == ByteTokenizer()
    assert tokenizers.build("word", " a b a b") == WordTokenizer((" a", " b"))
    assert tokenizers.build("word:3", " a b a b a") == WordTokenizer((" a",))
    assert tokenizers.build("bpe:258", "abab") == BPETokenizer((("a", "b"),))
    assert tokenizers.build("gpt2", "") == TiktokenTokenizer("gpt2")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("bytes", "no tokenizer named 'bytes'; did you mean 'byte'"),
        ("bep:4096", "no tokenizer named 'bep'; did you mean 'bpe'"),
        ("hugging_face", "no tokenizer named 'hugging_face'; known: bpe, byte, char"),
        ("", "no tokenizer named ''; known: bpe, byte, char"),
        ("tests", "no tokenizer named 'tests'; for the file or folder, write ./tests"),
        ("bpe:256", "a whole number from 257, such as bpe:4096"),
        ("bpe:", "a whole number from 257"),
        ("word:many", "a whole number from 3"),
        ("bpe:-1", "a whole number from 257"),
        ("bpe:\N{SUPERSCRIPT TWO}", "a whole number from 257"),
        ("gpt2:5", "the vocabulary of gpt2 has no size to choose; write gpt2"),
    ],
)
def test_a_wrong_spec_is_named(spec: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        tokenizers.check(spec)
    assert said in str(caught.value)
    with pytest.raises(UserError, match=re.escape(said)):
        with_options(TrainConfig(model=preset("gpt-nano")), {"tokenizer": spec})


def test_the_path_of_a_run_is_not_looked_at_again() -> None:
    """A run keeps its tokenizer, so its config is good when the file that it came from is gone."""
    assert TrainConfig(model=preset("gpt-nano"), tokenizer="gone/tokenizer.json").tokenizer == "gone/tokenizer.json"
    with pytest.raises(UserError, match=r"no tokenizer file 'gone/tokenizer.json'; give the path"):
        tokenizers.build("gone/tokenizer.json", "")


@pytest.mark.parametrize("tokenizer", [LETTERS, ByteTokenizer()])
def test_letters_and_bytes_have_no_special_tokens(tokenizer: tokenizers.Tokenizer) -> None:
    assert tokenizer.special_tokens == {} and tokenizer.end_token is None
    assert isinstance(tokenizer, tokenizers.Tokenizer)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer('\n"\\ab\N{SNOWMAN}\N{GRINNING FACE}\ud800')])
def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    tokenizers.save(tokenizer, tmp_path / "tokenizer.json")
    assert tokenizers.load(tmp_path / "tokenizer.json") == tokenizer
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a tokenizer file"),
        (b'{"kind": "char", "chara', "not a tokenizer file"),
        (b"\xff\xfe", "not a tokenizer file"),
        (b"[]", 'no "kind"'),
        (b"{}", 'no "kind"'),
        (b'{"kind": "chars"}', "did you mean 'char'"),
        (b'{"kind": []}', "not a tokenizer file"),
        (b'{"kind": "char"}', "no 'characters'"),
        (b'{"kind": "char", "characters": 5}', '"characters" is not text'),
        (b'{"kind": "char", "characters": "aa"}', "distinct"),
        (b'{"kind": "word", "words": [1]}', '"words" is not a list of text'),
        (b'{"kind": "word", "words": [" a", " a"]}', "distinct"),
        (b'{"kind": "word", "words": ["<unk>"]}', "distinct"),
        (b'{"kind": "bpe"}', "no 'merges'"),
        (b'{"kind": "bpe", "merges": [["a", "b"]]}', '"merges" is not a list of pairs'),
        (b'{"kind": "bpe", "merges": ["a b c"]}', '"merges" is not a list of pairs'),
        (b'{"kind": "bpe", "merges": ["a bc"]}', "\"merges\" joins 'bc', which is no token before it"),
        (b'{"kind": "bpe", "merges": 5}', "not a tokenizer file"),
        (b'{"kind": "hugging_face"}', "no 'content'"),
        (b'{"kind": "hugging_face", "content": "{}", "end": null, "chat_template": null}', "cannot read it"),
        (b'{"model": {}}', "the tokenizers library cannot read it"),
    ],
)
def test_a_broken_file_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        tokenizers.load(path)
    assert f"'{path}'" in str(caught.value)
    assert reason in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "tokenizer.json", tmp_path):  # a folder stands for the file in it
        with pytest.raises(UserError) as caught:
            tokenizers.load(path)
        assert f"'{tmp_path / 'tokenizer.json'}'" in str(caught.value)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizers.save(LETTERS, path)

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        tokenizers.save(ByteTokenizer(), path)
    assert json.loads(path.read_text())["kind"] == "char"
    assert list(tmp_path.iterdir()) == [path]
