"""docs/add_a_data_source.md works as written, and what is said where a source of one's own does not."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linearnexus.core.errors import UserError
from linearnexus.data import registry
from linearnexus.data.registry import check_source, open_source, register_source
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import SourceKind
from linearnexus.training.run_folder import find, read_config

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add_a_data_source.md").read_text(encoding="utf-8")
FILES = dict(zip(("csv_source.py", "sums.py"), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), strict=True))
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SMALL = "--n-layer 1 --hidden-size 32 --n-head 2 --batch-size 2 --sequence-length 32 --sample-tokens 5 --eval-batches 2"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a registry without sources of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_own", [])
    monkeypatch.setattr(registry, "_loaded", set())
    for name in [name for name in sys.modules if name.startswith("linearnexus_sources_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def write_example(folder: Path) -> str:
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    rows = "".join(f'{n},"Review {n}: the cat, the mat and the ""hat""."\n' for n in range(200))
    (folder / "reviews.csv").write_text("stars,text\n" + rows)
    return os.pathsep.join(FILES)


@pytest.mark.slow
def test_the_page_works_as_written(run_cli: Any, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the commands, a few steps long and with a small model."""
    write_example(own)
    printed = []
    for line in COMMANDS.splitlines():
        words = [{"20": "3", "40": "5"}.get(word, word) for word in shlex.split(line)]
        if words[0] == "export":
            monkeypatch.setenv(*words[1].replace(":", os.pathsep).split("=", 1))
            continue
        if words[1] == "train" and "--resume" not in words:
            words += SMALL.split()
        done = run_cli(*words[1:], cwd=own)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed.append(done.stdout)
    assert ["Done." in text for text in printed] == [True] * 4 + [False]
    assert "reviews.csv" in printed[0] and "tokens without end" in printed[2] and "of the answers right" in printed[2]
    assert printed[4].startswith("12+34=")
    config, info = read_config(find("runs/latest"))
    assert config.data == "arithmetic:digits=2" and info["corpus"]["name"] == config.data


def test_the_sums_are_right_and_rows_are_functions_of_their_number(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a weight beside an answer, and rows that depend on their company."""
    monkeypatch.setenv(registry.VARIABLE, write_example(own))
    settings = DataSettings("arithmetic:digits=3", sequence_length=100, batch_size=4)
    source = open_source(settings)
    batches = source.batches(settings)
    batch = batches.batch(5)
    text = source.tokenizer.decode(np.append(batch.inputs[0], batch.targets[0, -1]))
    for line in text.split("\n")[:-1]:
        a, b, c = map(int, re.split(r"[+=]", line))
        assert a + b == c
    assert batch.weights is not None
    asked = source.tokenizer.decode(batch.targets[0][batch.weights[0] == 1])
    assert "".join(re.findall(r"=(\d*)", text)) == asked
    np.testing.assert_array_equal(batches.rows(np.array([21, 3])).inputs[0], batch.inputs[1])


def test_the_files_run_only_for_data_of_their_own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "loud.py").write_text("raise RuntimeError('it ran')\n")
    (own / "text.txt").write_text("some text\n" * 100)
    monkeypatch.setenv(registry.VARIABLE, "loud.py")
    for data in ("stories", "text.txt", "parity"):
        check_source(DataSettings(data, sequence_length=40))
    with pytest.raises(UserError, match=r"loud\.py, which LINEARNEXUS_SOURCES names, failed in line 1 .*it ran"):
        check_source(DataSettings("loud:a"))


def test_mistakes_with_a_source_of_ones_own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_example(own)
    with pytest.raises(UserError, match="For a source of your own, set LINEARNEXUS_SOURCES to its file"):
        check_source(DataSettings("arithmetic:digits=2"))
    (own / "empty.py").write_text("x = 1\n")
    for value, sentence in (
        ("nowhere.py", "LINEARNEXUS_SOURCES names nowhere.py, which is not a file"),
        ("empty.py", r"empty\.py registers no source"),
    ):
        monkeypatch.setenv(registry.VARIABLE, value)
        with pytest.raises(UserError, match=sentence):
            check_source(DataSettings("arithmetic:digits=2"))
    monkeypatch.setenv(registry.VARIABLE, files)
    for data, sentence in (
        ("arithmetic:digits=0", "is not a kind of sum"),
        ("arithmetik:digits=2", "did you mean 'arithmetic'"),
        ("csv:nowhere.csv", "There is no file 'nowhere.csv'"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_source(DataSettings(data))
    begun = open_source(DataSettings("arithmetic:digits=2")).info["sha256"]
    with pytest.raises(UserError, match="The text of arithmetic:digits=3 has changed"):
        open_source(DataSettings("arithmetic:digits=3"), None, begun)


def test_a_name_of_the_package_stays_its_own(own: Path) -> None:
    class Kind(SourceKind):
        names = ("recall",)

        def open(self, settings: Any, tokenizer_file: Any, sha256: Any) -> Any:
            raise AssertionError

    with pytest.raises(UserError, match="'recall' is already a name"):
        register_source(Kind())


def test_the_text_is_read_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads the beginning of a large text; a pipe, which can be read only once, is left to `open_source`."""
    (own / "large.txt").write_text("The cat sat on the mat. " * 10_000)
    (own / "late.txt").write_bytes(b"good text " * 20_000 + b"\xe9")
    read: list[int] = []
    whole = Path.open

    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        file = whole(path, *arguments, **options)
        if path.name == "large.txt":
            before, file_read = file, file.read
            file = type("File", (), {"__enter__": lambda self: self, "__exit__": lambda self, *_: before.close()})()
            file.read = lambda *size: read.append(len(data := file_read(*size))) or data
        return file

    monkeypatch.setattr(Path, "open", opened)
    check_source(DataSettings("large.txt"))
    assert read == [2**16]
    open_source(DataSettings("large.txt"))
    assert read == [2**16, 240_000]
    check_source(DataSettings("late.txt"))
    with pytest.raises(UserError, match="byte 200,000 is 0xE9"):
        open_source(DataSettings("late.txt"))
    code = (
        "from linearnexus.data.registry import *; from linearnexus.data.settings import DataSettings as S;"
        "check_source(S('/dev/stdin')); print(open_source(S('/dev/stdin')).train_tokens)"
    )
    if Path("/dev/stdin").exists():
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], input="abc" * 100, capture_output=True, text=True, env=environment
        )
        assert done.stdout.strip() == "270", done.stderr
