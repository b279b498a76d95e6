"""`data prepare`: every document once, the same bytes whatever happens on the way, and what bad input gets."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from benchmarks.prepare import digest, generate, kill
from linearnexus.core.errors import UserError
from linearnexus.data.documents import BOUNDARY
from linearnexus.data.download import download
from linearnexus.data.encode import words_hash
from linearnexus.data.prepare import PrepareProgress, prepare
from linearnexus.data.shards import SPLITS, Prepared, open_prepared
from linearnexus.data.writer import PrepareSettings, Seen

WORDS = ["the", "cat", "sat", "on", "a", "red", "mat", "☃", "été", "中文"]


def some_documents(count: int, seed: int = 0, longest: int = 60) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, longest))) + f" {n}." for n in range(count)]


def jsonl(path: Path, documents: list[str], key: str = "text") -> str:
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in documents))
    return str(path)


def documents_of(prepared: Prepared, split: str) -> list[str]:
    tokens = prepared.tokens(split)
    places = tokens.document_starts(np.arange(tokens.documents + 1)).tolist()
    return [prepared.tokenizer.decode(tokens.read(start, end).tolist()) for start, end in pairwise(places)]


def all_documents(prepared: Prepared) -> list[str]:
    return [text for split in SPLITS for text in documents_of(prepared, split)]


SMALL = PrepareSettings(shard_tokens=5000)  # tasks of 5,000 bytes, so groups of one or two


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_every_document_of_every_format_once(tmp_path: Path) -> None:
    """Catches a format that is skipped or read twice, a compressed file taken for text, and byte order marks, carriage
    returns or separators that stay."""
    source, texts = tmp_path / "source", some_documents(70)
    (source / "deep").mkdir(parents=True)
    jsonl(source / "a.jsonl", texts[:20])
    (source / "b.txt").write_bytes(b"\xef\xbb\xbf" + texts[20].replace(" ", "\r\n").encode())
    texts[20] = texts[20].replace(" ", "\n")
    (source / "deep" / "c.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"text": text}) + "\n\n" for text in texts[21:50]).encode())
    )
    (source / "d.md.gz").write_bytes(gzip.compress(texts[50].encode()))
    (source / ".hidden.txt").write_text("no")
    (source / "picture.png").write_bytes(b"\x89PNG\0")
    prepared = prepare([str(source)], tmp_path / "out", SMALL)
    assert sorted(all_documents(prepared)) == sorted(texts[:51])
    counts = prepared.manifest
    assert counts["train"]["documents"] + counts["validation"]["documents"] == 51
    assert counts["train"]["tokens"] + counts["validation"]["tokens"] == sum(len(text.encode()) for text in texts[:51])
    assert 0 < counts["validation"]["documents"] < 15
    prepared.verify()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_zstd(tmp_path: Path) -> None:
    """Two frames, as `zstd` and concatenation make them."""
    zstandard = pytest.importorskip("zstandard")
    texts = some_documents(200)
    halves = ["".join(json.dumps({"text": text}) + "\n" for text in part) for part in (texts[:90], texts[90:])]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(zstandard.compress(half.encode()) for half in halves))
    found = prepare([str(tmp_path / "a.jsonl.zst")], tmp_path / "out", SMALL)
    assert sorted(all_documents(found)) == sorted(texts)
    assert documents_of(interrupted([str(tmp_path / "a.jsonl.zst")], tmp_path / "again", SMALL), "train")
    assert digest(tmp_path / "again") == digest(tmp_path / "out")


def test_parquet(tmp_path: Path) -> None:
    """Three row groups, a column that has another name, and going on in the middle of a group."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = some_documents(500)
    pq.write_table(pa.table({"id": list(range(500)), "body": texts}), tmp_path / "a.parquet", row_group_size=190)
    settings = PrepareSettings(shard_tokens=5000, text_field="body")
    found = prepare([str(tmp_path / "a.parquet")], tmp_path / "out", settings)
    assert sorted(all_documents(found)) == sorted(texts)
    interrupted([str(tmp_path / "a.parquet")], tmp_path / "again", settings)
    assert digest(tmp_path / "again") == digest(tmp_path / "out")
    with pytest.raises(UserError, match="no column 'text'; give --text-field one of: id, body"):
        prepare([str(tmp_path / "a.parquet")], tmp_path / "other", SMALL)


def test_splits_share_no_document(tmp_path: Path) -> None:
    """A document's side is its own: the same in any order and company. Catches copies on both sides."""
    texts = some_documents(400)
    first = prepare([jsonl(tmp_path / "a.jsonl", texts * 2)], tmp_path / "out", SMALL)
    train, validation = (set(documents_of(first, split)) for split in SPLITS)
    assert train | validation == set(texts) and not train & validation
    other = prepare([jsonl(tmp_path / "b.jsonl", texts[::-1][:300])], tmp_path / "other", SMALL)
    assert set(documents_of(other, "validation")) <= validation
    assert 15 < len(validation) < 75  # 40 expected, with a standard deviation of 6


def test_duplicates(tmp_path: Path) -> None:
    """Catches a copy kept, the first one dropped, near duplicates taken for exact ones or counted twice, and counts
    that do not survive a kill."""
    texts = some_documents(300)
    near = [text.upper().replace(" ", ", ") + "!" for text in texts[50:80]]
    mixed = [*texts, *texts[:40], *near, *texts[:5]]
    source = [jsonl(tmp_path / "a.jsonl", mixed)]
    kept = prepare(source, tmp_path / "kept", SMALL)
    settings = PrepareSettings(shard_tokens=5000, drop_duplicates=True)
    dropped = prepare(source, tmp_path / "dropped", settings)
    for found, out in ((kept, 0), (dropped, 45)):
        counts = found.manifest
        assert (counts["exact_duplicates"], counts["near_duplicates"], counts["dropped"]) == (45, 30, out)
    assert sorted(all_documents(dropped)) == sorted([*texts, *near])
    assert sorted(all_documents(kept)) == sorted(mixed)
    interrupted(source, tmp_path / "again", settings)
    assert digest(tmp_path / "again") == digest(tmp_path / "dropped")


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert words_hash(b"Hello, World") == words_hash(b"hello world!") == words_hash("HELLO  \u2014 world".encode())
    assert words_hash("\u00c9T\u00c9".encode()) == words_hash("\u00e9t\u00e9.".encode()) != words_hash(b"ete")
    assert words_hash(b" ... ") == words_hash("\u2014".encode()) == 0


def test_the_set_of_hashes_is_a_set() -> None:
    """Against Python's own, with many repeats."""
    draw, seen, known = np.random.default_rng(0), Seen(), set()
    for size in (1, 5, 0, 300, 2, 1000, 7, 7, 7, 400):
        keys = draw.integers(0, 3000, size).astype(np.uint64)
        expected = []
        for key in keys.tolist():
            expected.append(key in known)
            known.add(key)
        assert seen.add(keys).tolist() == expected
    assert sum(map(len, seen.runs)) == len(known) and len(seen.runs) < 10


# --- long documents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["txt", "txt.gz", "jsonl"])
@pytest.mark.slow
def test_a_long_document_comes_in_pieces_and_stays_one(form: str, tmp_path: Path) -> None:
    """100 KB in pieces of 5 KB. Catches a piece lost at a cut or at a group's end, a document that begins twice, and
    one that lies on both sides."""
    text = " ".join(some_documents(600)) + "\r\nend"
    path = tmp_path / f"long.{form}"
    content = json.dumps({"text": text}) if form == "jsonl" else text
    data = content.encode()
    path.write_bytes(gzip.compress(data) if form.endswith("gz") else data)
    source = [str(path), jsonl(tmp_path / "short.jsonl", some_documents(90)), str(path)]
    prepared = prepare(source, tmp_path / "out", SMALL)
    assert len(prepared.manifest["groups"]) > 15
    assert prepared.manifest["exact_duplicates"] == 1 and prepared.manifest["inexact_cuts"] == 0
    long = [text for text in all_documents(prepared) if len(text) > 10_000]
    assert long == [text.replace("\r\n", "\n")] * 2
    drop = PrepareSettings(shard_tokens=5000, drop_duplicates=True)
    once = prepare(source, tmp_path / "once", drop)
    assert [len(text) > 10_000 for text in all_documents(once)].count(True) == 1 and once.manifest["dropped"] == 1
    interrupted(source, tmp_path / "again", drop)
    assert digest(tmp_path / "again") == digest(tmp_path / "once")


def test_cuts_are_where_pre_tokenizers_cut() -> None:
    """In English every cut is between a letter and white space, so that no token differs; in a text without such
    places it is between characters, and counted where the tokenizer would have joined them."""
    from linearnexus.data.documents import Reader

    joins = Reader([], piece=5000, fits=lambda left, right: False)
    english = (" ".join(some_documents(300)) + "\n").encode()[:10_000]
    cut, exact = Reader([], piece=5000)._cut(english)
    assert exact and BOUNDARY.match(english, cut - 1) and 4000 < cut <= 5000
    chinese = ("\u4e2d\u6587" * 3000).encode()[:10_000]
    for reader, expected in ((Reader([], piece=5000), True), (joins, False)):
        cut, exact = reader._cut(chinese)
        assert (cut, exact) == (4998, expected)
    assert Reader([], piece=5000)._cut((b"1" * 4999 + b"\r\n").ljust(10_000, b"1"))[0] == 4999


# --- killed and gone on with ------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """In place of a kill: nothing catches it."""


def interrupted(source: list[str], folder: Path, settings: PrepareSettings) -> Prepared:
    """Stops again and again, each time nine tasks further on."""
    for limit in range(1, 1000, 9):
        left = [limit]

        def tell(_: PrepareProgress, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Stopped

        try:
            return prepare(source, folder, settings, 0, tell)
        except Stopped:
            pass
    raise AssertionError("it never ended")


@pytest.mark.slow
def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Also with workers. Catches a place that is off by a document, counts that begin anew, and an order of results
    that depends on the workers."""
    documents = some_documents(900)
    source = [jsonl(tmp_path / "a.jsonl", [*documents, "  ", *documents[:99]])]
    (tmp_path / "b.txt").write_text("\n\n".join(some_documents(300, seed=1)))
    source.append(str(tmp_path / "b.txt"))
    settings = PrepareSettings(tokenizer="char", shard_tokens=9000, separator=r"\n\n")
    alone = prepare(source, tmp_path / "alone", settings, 0)
    assert len(alone.manifest["groups"]) > 10
    assert len(all_documents(alone)) == 1299 and alone.manifest["empty"] == 1
    interrupted(source, tmp_path / "again", settings)
    prepare(source, tmp_path / "workers", settings, 2)
    assert digest(tmp_path / "alone") == digest(tmp_path / "again") == digest(tmp_path / "workers")
    assert prepare(source, tmp_path / "alone", settings).sha256 == alone.sha256  # it is there already


@pytest.mark.slow
def test_killed_for_real(tmp_path: Path) -> None:
    """SIGKILL at random moments, with worker processes. Catches half-written groups that count, and workers that live
    on. The large version: python -m benchmarks.prepare --kills 10."""
    generate(tmp_path / "source", 8_000_000)
    assert kill(tmp_path / "source", tmp_path, "byte", 300_000, kills=3)


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    source = [jsonl(tmp_path / "a.jsonl", some_documents(200))]
    prepare(source, tmp_path / "out", SMALL)
    before = digest(tmp_path / "out")
    with pytest.raises(UserError, match=r"begun with another tokenizer 'byte' \(now 'char'\); give another --output"):
        prepare(source, tmp_path / "out", PrepareSettings("char", shard_tokens=5000))
    jsonl(tmp_path / "a.jsonl", some_documents(201))
    with pytest.raises(UserError, match="other sources, or they have changed"):
        prepare(source, tmp_path / "out", SMALL)
    with pytest.raises(UserError, match="is not empty"):
        prepare(source, tmp_path, SMALL)
    assert digest(tmp_path / "out") == before


# --- bad input --------------------------------------------------------------------------------------------------------


BAD: dict[str, tuple[str, bytes, str]] = {
    "latin": ("x.txt", b"caf\xe9 noir", "'x.txt' is not UTF-8 text (byte 3 is 0xE9); leave"),
    "utf16": ("x.txt", "hello".encode("utf-16"), "'x.txt' is not UTF-8 text (it begins with the mark of UTF-16)"),
    "nul": ("x.txt", b"PK\x03\x04\x00", "(byte 4 is 0, as in a binary file)"),
    "far": ("x.txt", b"word " * 4000 + b"\xff", "(byte 20,000 is 0xFF)"),
    "json": ("x.jsonl", b'{"text": "a"}\n{"text": "b"\n', "'x.jsonl' is not text in line 2 (it is not JSON"),
    "list": ("x.jsonl", b'{"text": "a"}\n\n[1]\n', "in line 3 (it is not an object"),
    "field": ("x.jsonl", b'{"body": "a"}\n', "no text under 'text'; fields that are text: body; choose one with --tex"),
    "null": ("x.jsonl", b'{"text": null}\n', "no text under 'text'"),
    "half": ("x.jsonl", b'{"text": "a\\ud800"}\n', "in line 1 (U+D800 is half a character)"),
    "zero": ("x.jsonl", b'{"text": "a\\u0000b"}\n', "in line 1 (byte 1 is 0"),
    "mixed": (
        "x.jsonl",
        b'{"text": "a"}\n{"text": "caf\xe9"}\n',
        "is not UTF-8 text in line 2 (byte 13 of the line is 0x",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_text(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named with its file and line or byte, and nothing of it in the folder; or left out and counted."""
    monkeypatch.chdir(tmp_path)
    name, data, sentence = BAD[kind]
    Path(name).write_bytes(data)
    sources = [jsonl(Path("good.jsonl"), some_documents(50)), name]
    with pytest.raises(UserError) as caught:
        prepare(sources, Path("out"))
    assert sentence in str(caught.value) and "--skip-bad" in str(caught.value)
    assert not Path("out").exists()
    left = prepare(sources, Path("other"), PrepareSettings(shard_tokens=5000, skip_bad=True))
    assert left.manifest["bad"] == 1
    good = data.count(b'"text": "a"}')
    assert left.manifest["train"]["documents"] + left.manifest["validation"]["documents"] == 50 + good


def test_a_bad_document_late_costs_nothing(tmp_path: Path) -> None:
    """What is written stays, and --skip-bad goes on from there. Catches a start from the beginning."""
    source = [jsonl(tmp_path / "a.jsonl", some_documents(400)), str(tmp_path / "b.jsonl")]
    (tmp_path / "b.jsonl").write_text("no\n" + json.dumps({"text": "yes"}) + "\n")
    with pytest.raises(UserError, match=r"b\.jsonl' is not text in line 1"):
        prepare(source, tmp_path / "out", SMALL)
    assert (tmp_path / "out" / "00003").exists()
    going_on: list[int] = []
    settings = PrepareSettings(shard_tokens=5000, skip_bad=True)
    found = prepare(source, tmp_path / "out", settings, on_progress=lambda progress: going_on.append(progress.resumed))
    assert going_on[0] > 10_000 and found.manifest["bad"] == 1 and len(all_documents(found)) == 401
    assert prepare(source, tmp_path / "other", settings).sha256 == found.sha256


@pytest.mark.parametrize(
    ("prepare_it", "sentence"),
    [
        (lambda: Path("x.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a b c"}\n' * 999)[:-20]), "cut short"),
        (lambda: Path("x.jsonl.gz").write_bytes(b"not gzip"), "Could not read 'x.jsonl.gz'"),
        (lambda: Path("x.json").write_text("[]"), "give JSON lines"),
        (lambda: Path("x.txt").write_text(""), "are empty"),
        (lambda: Path("x.txt").write_text(" \n "), "hold no text"),
        (lambda: Path("x.txt").write_text("one document"), "All of the 1 documents fell to"),
        (lambda: Path("x").mkdir(), "holds no .txt, .md, .jsonl"),
    ],
    ids=["gzip", "no gzip", "json", "empty", "blank", "one", "folder"],
)
def test_sources_that_do_not_do(
    prepare_it: Callable[[], Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_it()
    (source,) = (path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=sentence):
        prepare([source], Path("out"), SMALL)


def test_a_missing_source_and_settings_out_of_range(tmp_path: Path) -> None:
    for source, sentence in (("storys", "did you mean 'stories'"), ("no/x.txt", "no file"), ("hf:imdb", "hf download")):
        with pytest.raises(UserError, match=sentence):
            prepare([source], tmp_path / "out")
    for options in ({"validation_fraction": 1.0}, {"shard_tokens": 0}, {"separator": ""}):
        with pytest.raises(UserError, match=next(iter(options))):
            PrepareSettings(**options)


def test_a_character_that_the_tokenizer_does_not_know(tmp_path: Path) -> None:
    """Through the worker processes too."""
    prepare(
        [jsonl(tmp_path / "a.jsonl", some_documents(99))], tmp_path / "out", PrepareSettings("char", shard_tokens=5000)
    )
    source = [jsonl(tmp_path / "b.jsonl", [*some_documents(50), "zebra"])]
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"'.*b\.jsonl': The character 'z'"):
            prepare(source, tmp_path / str(workers), PrepareSettings(str(tmp_path / "out" / "tokenizer.json")), workers)


# --- damage -----------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (lambda folder: flip(folder / "00001/train_tokens.npy"), r"00001/train_tokens\.npy is damaged"),
    "starts": (lambda folder: flip(folder / "00000/train_starts.npy"), r"00000/train_starts\.npy is damaged"),
    "cut": (lambda folder: cut_short(folder / "00002/train_tokens.npy"), r"00002/train_tokens\.npy has 100 bytes inst"),
    "missing": (lambda folder: (folder / "00000/validation_tokens.npy").unlink(), r"validation_tokens\.npy is missing"),
    "tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text('{"kind": "char", "characters": "abc"}\n'),
        "is not the tokenizer that the tokens of",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "manifest": (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json cannot be read"),
    "other": (lambda folder: (folder / "manifest.json").write_text('{"version": 1}'), r"manifest\.json cannot be read"),
    "version": (lambda folder: (folder / "manifest.json").write_text('{"version": 2}'), "has version 2"),
    "unfinished": (lambda folder: (folder / "manifest.json").unlink(), "is not finished; run the same"),
    "elsewhere": (
        lambda folder: (folder / "manifest.json").write_text(
            (folder / "manifest.json").read_text().replace('"00000/train_t', '"00000/../../train_t')
        ),
        r"manifest\.json cannot be read \(a file lies elsewhere",
    ),
}


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(kind: str, tmp_path: Path) -> None:
    prepare([jsonl(tmp_path / "a.jsonl", some_documents(300))], tmp_path / "out", SMALL).verify()
    change, sentence = DAMAGE[kind]
    change(tmp_path / "out")
    with pytest.raises(UserError, match=sentence):
        open_prepared(tmp_path / "out").verify()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no folder .*data prepare SOURCE"):
        open_prepared(tmp_path / "none")
    with pytest.raises(UserError, match=r"has no manifest\.json; give a folder"):
        open_prepared(tmp_path)


# --- downloads and the command line -----------------------------------------------------------------------------------


class Answer(BaseHTTPRequestHandler):
    body, promised, requests = b"", 0, 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(self.promised))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_address_is_downloaded_once_and_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("LINEARNEXUS_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a%20b/c.jsonl?x=1"
        Answer.body = "".join(json.dumps({"text": text}) + "\n" for text in some_documents(99)).encode()
        Answer.promised = len(Answer.body) + 1
        with pytest.raises(UserError, match=r"ended after|IncompleteRead"):
            download(address)
        Answer.promised = len(Answer.body)
        with pytest.raises(UserError, match="more than the 100 that are"):
            download(address, largest=100)
        assert not list((tmp_path / "cache" / "downloads").iterdir())
        found = prepare([address], tmp_path / "out", SMALL)
        assert len(all_documents(found)) == 99 and found.manifest["sources"][0]["name"] == address
        assert download(address).name.endswith("-c.jsonl") and Answer.requests == 3
        server.shutdown()


def test_the_command_line(run_cli: Any, tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", some_documents(300))
    done = run_cli("data", "prepare", "a.jsonl", "--output", "out", "--tokenizer", "char", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train --data" not in done.stderr and "--data out" in done.stdout and "exact duplicates: 0" in done.stdout
    shown = run_cli("data", "show", "out", "--documents", "2", cwd=tmp_path)
    assert shown.returncode == 0 and shown.stdout.count("--- document") == 2 and "cat" in shown.stdout
    assert "All 6 files" in run_cli("data", "check", "out", cwd=tmp_path).stdout
    flip(tmp_path / "out/00000/train_tokens.npy")
    bad = run_cli("data", "check", "out", cwd=tmp_path)
    assert bad.returncode == 2 and "00000/train_tokens.npy is damaged" in bad.stderr and "Traceback" not in bad.stderr


def test_workers_import_neither_jax_nor_pandas() -> None:
    """What a worker imports is what this module imports."""
    code = "import sys, linearnexus.data.prepare; print(*{name.split('.')[0] for name in sys.modules})"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"jax", "jaxlib", "pandas", "pyarrow", "rich", "tyro"} & set(done.stdout.split())
