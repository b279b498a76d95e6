"""Where text comes from, and that a batch depends on nothing but the seed and the step."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linearnexus.core.errors import UserError
from linearnexus.core.paths import cache_dir
from linearnexus.data import batches, corpora
from linearnexus.data.batches import WindowBatches, evaluation_windows, split
from linearnexus.data.corpora import load_corpus

# --- corpora -----------------------------------------------------------------------------------------------------


def test_python_docs_need_nothing() -> None:
    corpus = load_corpus("python-docs")
    assert corpus.name == "python-docs"
    assert "Assert statements are a convenient way" in corpus.text
    assert len(corpus.text) > 300_000


def test_stories_need_nothing() -> None:
    corpus = load_corpus("stories")
    assert corpus.name == "stories"
    assert len(corpus.text) > 1_000_000


def test_a_text_file_loses_its_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo \xe2\x98\x83\r\n")
    corpus = load_corpus(str(path))
    assert corpus == corpora.Corpus("notes.txt", "one\ntwo \N{SNOWMAN}\n", "1 file")


def test_a_folder_is_its_text_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a/z.md", "a.TXT", "skip.py", ".git/x.txt", ".hidden.txt", "a/deep/y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    corpus = load_corpus(str(tmp_path))
    assert corpus == corpora.Corpus(tmp_path.name, "a/deep/y.txt\n\na/z.md\n\na.TXT\n\nb.txt", "4 files")
    monkeypatch.chdir(tmp_path)
    assert load_corpus(".") == corpus


def test_a_pattern_is_its_matches_in_order(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "c.txt", "d/e.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert load_corpus(f"{tmp_path}/*.py").text == "a.py\n\nb.py"
    assert load_corpus(f"{tmp_path}/**/*.py").text == "a.py\n\nb.py\n\nd/e.py"
    assert load_corpus(f"{tmp_path}/[ab].py").name == f"{tmp_path}/[ab].py"
    (tmp_path / "[1].txt").write_text("a file of this name wins", encoding="utf-8")
    assert load_corpus(f"{tmp_path}/[1].txt").text == "a file of this name wins"


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        load_corpus("storys")
    assert str(caught.value) == "There is no corpus or file named 'storys'; did you mean 'stories'?"
    for source in ("", "?" * 3, "texts/none.txt", "x" * 5000):
        with pytest.raises(UserError, match=r"no corpus or file|No file matches|no file or folder"):
            load_corpus(source)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no text"),
        (b"\xef\xbb\xbf \r\n", "holds no text"),
        (b"PK\x03\x04\x00", "is not text (byte 4 is 0, as in a binary file)"),
        (b"\xef\xbb\xbfcaf\xe9 noir", "is not UTF-8 text (byte 6 is 0xE9)"),
        ("text".encode("utf-16"), "is not UTF-8 text (it begins with the mark of UTF-16)"),
    ],
)
def test_what_is_not_text_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    for source in (path, tmp_path):
        with pytest.raises(UserError) as caught:
            load_corpus(str(source))
        assert sentence in str(caught.value)
        assert f"'{source if 'holds no text' in sentence else path}'" in str(caught.value)
        assert ("iconv" in str(caught.value)) == ("UTF" in sentence)


def test_a_folder_without_text_and_a_pattern_without_match(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("pass", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds no \.txt or \.md file"):
        load_corpus(str(tmp_path))
    with pytest.raises(UserError, match="No file matches the pattern"):
        load_corpus(f"{tmp_path}/*.txt")


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").symlink_to("nowhere.txt")
    with pytest.raises(UserError, match=r"Could not read .*x\.txt' \(No such file"):
        load_corpus(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_locked_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.touch(mode=0)
    with pytest.raises(UserError, match=r"Could not read .*x.txt.*Permission"):
        load_corpus(str(path))


# --- tiny Shakespeare: a server of our own in place of GitHub --------------------------------------------------------

PLAY = b"First Citizen:\nBefore we proceed any further, hear me speak.\n" * 50


class Server(ThreadingHTTPServer):
    status, body, requests = 200, PLAY, 0


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(PLAY)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("LINEARNEXUS_CACHE", str(tmp_path / "cache"))
    with Server(("127.0.0.1", 0), Answer) as server:
        monkeypatch.setattr(corpora, "SHAKESPEARE_URL", f"http://127.0.0.1:{server.server_port}/input.txt")
        monkeypatch.setattr(corpora, "SHAKESPEARE_SHA256", hashlib.sha256(PLAY).hexdigest())
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def cached() -> list[str]:
    return [path.name for path in cache_dir().iterdir()] if cache_dir().exists() else []


def test_shakespeare_is_downloaded_once(server: Server) -> None:
    first = load_corpus("shakespeare")
    assert (first.name, first.text) == ("shakespeare", PLAY.decode())
    assert load_corpus("shakespeare") == first
    assert server.requests == 1
    assert cached() == ["tinyshakespeare.txt"]


def test_a_damaged_cached_file_is_named_and_replaced(server: Server) -> None:
    load_corpus("shakespeare")
    path = cache_dir() / "tinyshakespeare.txt"
    path.write_bytes(PLAY[:-1])
    server.status = 503
    with pytest.raises(UserError) as caught:
        load_corpus("shakespeare")
    assert str(caught.value).startswith(f"The cached file '{path}' is damaged. Could not download")
    server.status = 200
    again = load_corpus("shakespeare")
    assert again.text == PLAY.decode()
    assert f"'{path}' was damaged" in again.note
    assert "damaged" not in load_corpus("shakespeare").note


@pytest.mark.parametrize("body", [PLAY[:-1] + b"!", b"<html>Log in to this network</html>".ljust(len(PLAY)), PLAY[:99]])
def test_a_wrong_download_is_not_kept(server: Server, body: bytes) -> None:
    """Tampered with, a log-in page, and a connection that ends early."""
    server.body = body
    with pytest.raises(UserError, match=r"was not kept|Could not download.*IncompleteRead"):
        load_corpus("shakespeare")
    assert cached() == []


def test_no_network_is_one_sentence(server: Server) -> None:
    server.status = 404
    with pytest.raises(UserError) as caught:
        load_corpus("shakespeare")
    assert "Not Found" in str(caught.value)
    assert "--data stories" in str(caught.value)
    assert "--data python-docs" in str(caught.value)
    assert cached() == []


def test_a_server_that_says_nothing_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.body = b""  # fewer bytes than it promised, and ...
    monkeypatch.setattr(Answer, "finish", lambda self: self.connection.recv(1))  # ... the line stays open
    monkeypatch.setattr(corpora, "DOWNLOAD_TIMEOUT", 0.05)
    with pytest.raises(UserError, match=r"Could not download .* \(timed out\)"):
        load_corpus("shakespeare")


def test_a_cache_that_cannot_be_written_is_named(server: Server) -> None:
    cache_dir().write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(UserError, match=r"Could not write .*set LINEARNEXUS_CACHE"):
        load_corpus("shakespeare")


def test_the_pinned_checksum_is_that_of_tiny_shakespeare(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that the cache is used with no network at all."""
    monkeypatch.setenv("LINEARNEXUS_CACHE", str(data_dir))
    monkeypatch.setattr(corpora, "SHAKESPEARE_URL", "http://127.0.0.1:9/")
    text = load_corpus("shakespeare").text
    assert len(text) == corpora.SHAKESPEARE_BYTES
    assert len(set(text)) == 65


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINEARNEXUS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == Path.home() / ".cache" / "linearnexus"
    monkeypatch.setenv("LOCALAPPDATA", "local")
    assert cache_dir() == Path.home() / ".cache" / "linearnexus"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_dir() == Path("local", "linearnexus")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert cache_dir() == Path("xdg", "linearnexus")
    monkeypatch.setenv("LINEARNEXUS_CACHE", "~/own")
    assert cache_dir() == Path.home() / "own"


# --- split -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10**7))
def test_the_split_is_that_of_nanogpt(n: int) -> None:
    ids = np.broadcast_to(np.uint16(0), n)
    train, validation = split(ids)
    assert len(train) == int(n * 0.9)
    assert len(train) + len(validation) == n


def test_the_split_is_exact_and_in_order() -> None:
    ids = np.arange(100)
    for percent in range(100):
        train, validation = split(ids, percent / 100)
        assert len(validation) == percent
        np.testing.assert_array_equal(np.concatenate([train, validation]), ids)
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="validation fraction"):
            split(ids, fraction)


# --- training batches: ids 0..n-1 in order, so that a token tells its place ------------------------------------------


def epoch_windows(data: WindowBatches, epochs: int) -> list[np.ndarray]:
    """The starts of the windows of each epoch, from batches in order."""
    count = round(data.steps_per_epoch * data.batch_size)
    steps = -(-count * epochs // data.batch_size)
    starts = np.concatenate([data.batch(step).inputs[:, 0] for step in range(steps)])
    return [starts[epoch * count : (epoch + 1) * count] for epoch in range(epochs)]


@pytest.mark.parametrize("order", ["epoch", "random"])
def test_targets_are_the_next_tokens(order: batches.Order) -> None:
    data = WindowBatches(np.arange(1000, dtype=np.uint16), sequence_length=37, batch_size=5, seed=3, order=order)
    for step in range(50):
        batch = data.batch(step)
        assert batch.inputs.shape == batch.targets.shape == (5, 37)
        assert batch.inputs.dtype == batch.targets.dtype == np.int32
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)
        np.testing.assert_array_equal(batch.inputs - batch.inputs[:, :1], np.broadcast_to(np.arange(37), (5, 37)))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 300])
def test_an_epoch_is_every_window_once(batch_size: int) -> None:
    """Also for batches that straddle epochs, and for one larger than several epochs."""
    n, T = 1000, 13
    data = WindowBatches(np.arange(n), T, batch_size, seed=0)
    epochs = epoch_windows(data, 4)
    shifts = {int(starts.min()) for starts in epochs}
    for starts in epochs:
        assert len(starts) == (n - T) // T
        np.testing.assert_array_equal(np.sort(starts), starts.min() + T * np.arange(len(starts)))
        assert not np.array_equal(np.sort(starts), starts)
    assert len(shifts) > 1  # the grid moves


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**64 - 1))
def test_epochs_of_any_size_stay_inside_the_text(T: int, extra: int, batch_size: int, seed: int) -> None:
    n = T + extra
    data = WindowBatches(np.arange(n), T, batch_size, seed)
    for starts in epoch_windows(data, 3):
        assert len(starts) >= max(1, (n - 1) // T - 1)
        assert starts.min() >= 0
        assert starts.max() + T <= n - 1
        assert (np.diff(np.sort(starts)) == T).all()


def test_random_offsets_reach_every_window_equally() -> None:
    """20,000 draws from 20 places: each expects 1,000 with a standard deviation of 31; 6 of them is no accident."""
    data = WindowBatches(np.arange(25), sequence_length=5, batch_size=200, seed=0, order="random")
    counts = Counter(int(start) for step in range(100) for start in data.batch(step).inputs[:, 0])
    assert sorted(counts) == list(range(20))
    assert all(abs(count - 1000) < 6 * 31 for count in counts.values())


@pytest.mark.parametrize("order", ["epoch", "random"])
def test_a_batch_depends_on_seed_and_step_only(order: batches.Order) -> None:
    ids = np.arange(500)
    used = WindowBatches(ids, 7, 12, seed=5, order=order)
    sequence = [used.batch(step) for step in range(40)]
    fresh = WindowBatches(ids, 7, 12, seed=5, order=order)
    for step in (37, 2, 39, 0):
        np.testing.assert_array_equal(fresh.batch(step).inputs, sequence[step].inputs)
    assert not np.array_equal(sequence[0].inputs, sequence[1].inputs)
    assert not np.array_equal(WindowBatches(ids, 7, 12, seed=6, order=order).batch(0).inputs, sequence[0].inputs)


@pytest.mark.parametrize(
    ("order", "starts"), [("epoch", [95593, 21417, 9129, 75369]), ("random", [90890, 26859, 35978, 30945])]
)
def test_a_batch_is_the_same_in_another_process_and_version(order: batches.Order, starts: list[int]) -> None:
    """The numbers are written down: a change would break the resuming of every run that is on disk."""
    code = (
        "import numpy, linearnexus.data.batches as b;"
        f"print(b.WindowBatches(numpy.arange(100_000), 64, 4, 1337, {order!r}).batch(37).inputs[:, 0].tolist())"
    )
    root = Path(batches.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(starts)
    here = WindowBatches(np.arange(100_000), 64, 4, 1337, order)
    assert here.batch(37).inputs[:, 0].tolist() == starts


def test_a_memory_map_serves(tmp_path: Path) -> None:
    np.arange(300, dtype=np.uint16).tofile(tmp_path / "ids.bin")
    mapped = np.memmap(tmp_path / "ids.bin", np.uint16, "r")
    batch = WindowBatches(split(mapped)[0], 8, 3, seed=0).batch(0)
    np.testing.assert_array_equal(batch.inputs, WindowBatches(np.arange(270), 8, 3, seed=0).batch(0).inputs)
    assert type(batch.inputs) is np.ndarray


def test_the_shortest_text() -> None:
    batch = WindowBatches(np.arange(9), sequence_length=8, batch_size=2, seed=0).batch(5)
    np.testing.assert_array_equal(batch.targets, np.tile(np.arange(1, 9), (2, 1)))
    with pytest.raises(
        UserError, match=r"--sequence-length 9 needs at least 10 tokens .* it has 9; use --seq.* 8 or less"
    ):
        WindowBatches(np.arange(9), sequence_length=9, batch_size=2, seed=0)
    with pytest.raises(UserError, match="it has 1; use more text"):
        WindowBatches(np.arange(1), sequence_length=9, batch_size=2, seed=0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda ids: WindowBatches(ids, 0, 2, 0), "--sequence-length must be at least 1, not 0"),
        (lambda ids: WindowBatches(ids, 8, 0, 0), "--batch-size must be at least 1, not 0"),
        (lambda ids: WindowBatches(ids, 8, 2, -1), r"--seed must be at least 0 .* not -1"),
        (lambda ids: WindowBatches(ids, 8, 2, 0, "epochs"), "no order named 'epochs'; did you mean 'epoch'"),
        (lambda ids: evaluation_windows(ids, 0, 2), "--sequence-length must be at least 1, not 0"),
        (lambda ids: evaluation_windows(ids, 8, 2, 0), "evaluation batches must be at least 1, not 0"),
        (lambda ids: evaluation_windows(ids[:1], 8, 2), "too few tokens: 1"),
    ],
)
def test_settings_out_of_range(make: Callable[[np.ndarray], object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(np.arange(100))


# --- evaluation --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(1, 40), st.integers(1, 9))
def test_evaluation_predicts_every_token_but_the_first_once(n: int, T: int, batch_size: int) -> None:
    ids = np.arange(n, dtype=np.uint16)
    predicted = []
    for batch, weights in evaluation_windows(ids, T, batch_size):
        assert batch.inputs.shape == batch.targets.shape == weights.shape == (batch_size, T)
        assert batch.inputs.dtype == batch.targets.dtype == np.int32
        assert weights.dtype == np.float32
        assert set(np.unique(weights)) <= {0.0, 1.0}
        assert batch.inputs.max() < n  # the filling, too, is real ids
        real = weights == 1
        np.testing.assert_array_equal(batch.targets[real], batch.inputs[real] + 1)
        predicted += batch.targets[real].tolist()
    assert predicted == list(range(1, n))


@settings(deadline=None)
@given(st.integers(2, 300), st.integers(1, 9), st.integers(1, 5), st.integers(1, 9))
def test_a_limited_evaluation_is_spread_evenly(n: int, T: int, batch_size: int, limit: int) -> None:
    windows = -(-(n - 1) // T)
    used = list(evaluation_windows(np.arange(n), T, batch_size, limit))
    assert len(used) == min(limit, -(-windows // batch_size))
    starts = [int(s) for batch, weights in used for s in batch.inputs[:, 0][weights[:, 0] == 1]]
    assert len(starts) == min(windows, limit * batch_size)
    gaps = np.diff(starts) // T
    assert (np.array(starts) % T == 0).all()
    assert starts[0] == 0
    assert len(gaps) == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)
