"""Words, BPE and GPT-2's tokens: published ids, exact round trips, the same tokens whole and in pieces."""

import lzma
import os
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linearnexus import tokenizers
from linearnexus.core.errors import UserError
from linearnexus.tokenizers import BPETokenizer, ByteTokenizer, TiktokenTokenizer, WordTokenizer, tiktoken_bpe
from linearnexus.tokenizers.byte_pieces import pieces_of
from linearnexus.tokenizers.tokenizer import AFTER_A_LETTER, AFTER_ANYTHING, PIECE, cut

TEXT = "Once upon a time there was a king. He wasn't old, 42 or so.\n\nHis dog sat on the king's  chair.\n" * 3
WORD = WordTokenizer.train(TEXT)
BPE = BPETokenizer.train(TEXT + "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{GRINNING FACE} \u4f60\u597d " * 5, 400)
GPT2 = TiktokenTokenizer("gpt2")
ALL = [WORD, BPE, GPT2]
each = pytest.mark.parametrize("tokenizer", ALL, ids=["word", "bpe", "gpt2"])
lossless = pytest.mark.parametrize("tokenizer", [BPE, GPT2], ids=["bpe", "gpt2"])
# What pre-tokenizers look at: letters, digits, signs, and every kind of white space and of half-known letter.
ODD = "aZs't1. \n\t\r\u00e9\u00a0\u0085\x1c\u2028\u3000\u0301\u2019\u0660_\U0001f600\u4f60\ufffd"
texts = st.one_of(st.text(), st.text(ODD, max_size=40))


@lossless
@settings(deadline=None)
@given(text=texts)
@example(text="\N{GRINNING FACE}\0 <|endoftext|>")
def test_any_text_comes_back(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    """Hypothesis draws every character but lone surrogates."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_array(text).tolist() == ids
    stream = tokenizer.stream()
    pieces = [*map(stream.add, ids), stream.finish()]
    assert "".join(pieces) == text
    assert "".join(pieces).count("\ufffd") == text.count("\ufffd")


@each
@settings(deadline=None)
@given(data=st.data())
def test_a_stream_gives_what_decode_gives(tokenizer: tokenizers.Tokenizer, data: st.DataObject) -> None:
    """Also for ids in no order, as an untrained model writes them: broken characters, special tokens."""
    last = tokenizer.vocab_size - 1
    ids = data.draw(
        st.lists(st.one_of(st.integers(0, last), st.sampled_from([94, 172, 256, last]).filter(last.__ge__)))
    )
    stream = tokenizer.stream()
    assert "".join([*map(stream.add, ids), stream.finish()]) == tokenizer.decode(ids)


@each
@settings(deadline=None, max_examples=300)
@given(text=texts, size=st.integers(0, 5))
@example(text="a\x1c b", size=0)
def test_text_may_be_cut(tokenizer: tokenizers.Tokenizer, text: str, size: int) -> None:
    """What lets `encode_array` work in pieces. Would catch a cut inside what the pre-tokenizer keeps together."""
    whole = tokenizer.encode(text)
    for where in (AFTER_ANYTHING, AFTER_A_LETTER):
        parts = list(cut(text, where, size))
        assert "".join(parts) == text
        assert [token for part in parts for token in tokenizer.encode(part)] == whole


@each
def test_many_pieces_are_one_array(tokenizer: tokenizers.Tokenizer) -> None:
    text = TEXT * 1500
    assert len(text) > 3 * PIECE
    ids = tokenizer.encode_array(text)
    assert ids.dtype == np.uint16 and ids.flags.writeable
    assert ids.tolist() == tokenizer.encode(text)
    assert tokenizer.encode_array("").shape == (0,)


@each
def test_a_lone_surrogate_is_named(tokenizer: tokenizers.Tokenizer) -> None:
    """With the sentence of the byte tokenizer, and its place in the whole text, not in a piece of it."""
    text = "word " * PIECE + "\ud83d end"
    with pytest.raises(UserError) as expected:
        ByteTokenizer().encode(text)
    for encode in (tokenizer.encode, tokenizer.encode_array):
        with pytest.raises(UserError) as caught:
            encode(text)
        assert str(caught.value) == str(expected.value)


@each
def test_special_tokens_are_shown_and_never_made(tokenizer: tokenizers.Tokenizer) -> None:
    assert tokenizer.end_token in tokenizer.special_tokens.values()
    for name, token in tokenizer.special_tokens.items():
        assert tokenizer.decode([token]) == tokenizer.stream().add(token) == name
        made = tokenizer.encode(f"end {name} x")
        assert token not in made or tokenizer is WORD  # "end" is unknown to it
        assert tokenizer.end_token not in made


@each
def test_an_id_out_of_range_is_named(tokenizer: tokenizers.Tokenizer) -> None:
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(UserError, match=f"id {token} is out of range"):
            tokenizer.decode([token])
        with pytest.raises(UserError, match=f"id {token} is out of range"):
            tokenizer.stream().add(token)


@each
def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    tokenizers.save(tokenizer, tmp_path / "tokenizer.json")
    for path in (tmp_path / "tokenizer.json", tmp_path):
        loaded = tokenizers.build(str(path), "")
        assert loaded == tokenizer
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)


def test_gpt2_gives_the_published_ids() -> None:
    assert GPT2.encode("Hello, world!") == [15496, 11, 995, 0]
    assert GPT2.vocab_size == 50257
    assert GPT2.special_tokens == {"<|endoftext|>": 50256} and GPT2.end_token == 50256


def test_gpt2_counts_tiny_shakespeare(data_dir: Path) -> None:
    """nanoGPT's counts for the same split."""
    text = (data_dir / "tinyshakespeare.txt").read_text()
    split = int(0.9 * len(text))
    assert len(GPT2.encode_array(text[:split])) == 301_966
    assert len(GPT2.encode_array(text[split:])) == 36_059


@pytest.mark.parametrize(
    ("name", "ids"), [("cl100k", [9906, 11, 1917, 0]), ("o200k", [13225, 11, 2375, 0])], ids=["cl100k", "o200k"]
)
def test_later_models_give_the_published_ids(name: str, ids: list[int]) -> None:
    try:
        tokenizer = tokenizers.build(name, "")
    except UserError as error:
        assert "use one that needs none: gpt2, bpe" in str(error)
        pytest.skip("no network")
    assert tokenizer.encode("Hello, world!") == ids
    assert tokenizer.encode_array("Hello, world!").dtype == np.uint32
    assert tokenizer.decode(range(tokenizer.vocab_size))


def test_a_damaged_merge_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiktoken_bpe, "TABLE_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"gpt2_vocab.bpe.xz of the package is damaged; install"):
        tiktoken_bpe._gpt2()


def test_our_bpe_with_gpt2s_merges_is_gpt2() -> None:
    """Two libraries, one table: the order of ids, the merges and the pre-tokenizers agree."""
    table = lzma.decompress(files("linearnexus.tokenizers").joinpath(tiktoken_bpe.TABLE).read_bytes()).decode()
    merges = tuple((left, right) for left, right in (line.split(" ") for line in table.splitlines()[1:]))
    ours = BPETokenizer(merges)
    text = f"{TEXT} \u4f60\u597d\N{GRINNING FACE} x\u00a0y\t\tz ''' don't DON'T 1234567 {ODD}\n \n"
    assert ours.encode(text) == GPT2.encode(text)
    assert ours.pieces == GPT2.pieces and ours.end_token == GPT2.end_token


def test_bpe_learns_the_most_frequent_pairs_first() -> None:
    """ "ab" occurs 5 times, then "c" after it 4; "xy", once, is too rare. The end token follows."""
    tokenizer = BPETokenizer.train("abc\nabc\nabc\nabc\nab\nxy", 300)
    assert tokenizer.merges[:2] == (("a", "b"), ("ab", "c"))
    assert ("x", "y") not in tokenizer.merges
    assert tokenizer.vocab_size == 257 + len(tokenizer.merges) < 300
    assert BPETokenizer.train(TEXT, 300).vocab_size == 300
    assert BPETokenizer.train("", 300).vocab_size == 257


def test_two_merges_may_make_the_same_token() -> None:
    assert list(pieces_of([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]))[256:] == ["ab", "bc", "abc"]
    tokenizer = BPETokenizer((("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c")))
    assert tokenizer.vocab_size == 256 + 3 + 1
    assert tokenizer.decode(tokenizer.encode("abc ab bc")) == "abc ab bc"


def test_bpe_training_is_the_same_in_every_process() -> None:
    script = (
        "import json, sys; from linearnexus.tokenizers import BPETokenizer;"
        "print(json.dumps(BPETokenizer.train(sys.stdin.read(), 600).to_json()))"
    )
    text = " ".join(f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst") * 20
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            input=text,
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("0", "1"), ("1", "2"), ("2", "3"))
    }
    assert len(found) == 1


def test_words_carry_their_space_and_come_by_frequency() -> None:
    """Equally frequent ones by code points; what occurs once is unknown."""
    tokenizer = WordTokenizer.train(" dog dog cat cat ox ox ox zebra, isn't, isn't\n\nisn't")
    assert tokenizer.words == (" ox", "\n", " cat", " dog", " isn't", ",")
    assert tokenizer.encode(" ox cat zebra") == [2, 4, 0]
    assert tokenizer.decode(tokenizer.encode(" cat, isn't zebra, ox")) == " cat, isn't<unk>, ox"


def test_a_text_without_repeated_words_has_no_vocabulary() -> None:
    for text in ("", "every word differs here"):
        with pytest.raises(UserError, match=r"No word of the text occurs 2 times.*--tokenizer byte"):
            WordTokenizer.train(text)


@settings(deadline=None)
@given(text=st.text(st.sampled_from(ODD + "\u20ac\u00df"), min_size=1))
def test_words_of_the_text_come_back(text: str) -> None:
    tokenizer = WordTokenizer.train(text, min_count=1)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@each
@pytest.mark.parametrize("letter", ["a", " ", "^", "\n", "\u4f60"])
def test_a_text_of_one_letter_takes_no_time(tokenizer: tokenizers.Tokenizer, letter: str) -> None:
    """Would catch a pre-tokenizer that goes back, or merging in the square of a word's length."""
    text = letter * 100_000
    start = time.perf_counter()
    ids = tokenizer.encode_array(text)
    assert time.perf_counter() - start < 4
    assert tokenizer is WORD or tokenizer.decode(ids) == text
