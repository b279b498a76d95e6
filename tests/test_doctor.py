"""`linearnexus doctor` and `linearnexus cache`: what they tell, and what is deleted and what never."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linearnexus.cli import cache, doctor
from linearnexus.cli.main import main
from linearnexus.core import forms, hardware
from linearnexus.core.cache import KINDS
from linearnexus.core.forms import Capabilities, register, unregister
from linearnexus.core.hardware import Machine, concerns
from linearnexus.ops import selective_scan

GIB = 2**30
FINE = Machine(
    system="Linux 6",
    processor="a processor",
    cores=8,
    usable_cores=8,
    load=0.5,
    memory=16 * GIB,
    free_memory=12 * GIB,
    vectors=("AVX2", "FMA"),
    x86=True,
    translated=False,
    python="3.13.0",
    versions={"linearnexus": "0.1.0", "jax": "0.12.0", "jaxlib": "0.12.0", "numpy": "2.5.0"},
    compiler=None,
    free_disk=50 * GIB,
    nvidia=False,
    variables={},
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "SECONDS", 0.01)
    monkeypatch.setattr(hardware, "LARGE", 2**20)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with two files of each kind, and files of somebody else beside them."""
    monkeypatch.setenv("LINEARNEXUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    for name in (*OURS, *OTHERS):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    return tmp_path / "cache"


OURS = (
    "xla/jit_step-0123-cache",
    "xla/xla_gpu/autotune",
    "downloads/0123456789abcdef-text.txt",
    f"downloads/.{'0' * 32}.tmp",
    f"tiktoken/{'a' * 40}",
    f"tiktoken/{'b' * 40}.0d.tmp",
    "tinyshakespeare.txt",
)
OTHERS = ("downloads/holidays.jpg", "tiktoken/notes.txt", "thesis.tex", "Documents/letter.txt")


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_doctor_tells_everything_in_80_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    for name in ("Cores", "Vectors", "Memory", "Devices", "Speed", "Versions", "C++", "Cache", "Disk"):
        assert f"\n{name} " in told
    assert "GFLOP/s" in told and "GB/s" in told and "1 CPU" in told and "6.8 KiB in 7 files" in told
    for name in forms.OPS:
        assert f"\n  {name} " in told
    assert "no other form is registered for cpu" in told


@pytest.fixture
def numpy_form() -> Iterator[None]:
    can = Capabilities(dtypes=("float32", "bfloat16"), vmap=True, note="1 to 16 rows")
    register(selective_scan.step, platform="cpu", form=lambda *_: None, can=can, name="fast")
    register(selective_scan.chunked, platform="tpu", form=lambda *_: None, can=can, name="pallas")
    missing = Capabilities(missing=lambda: "there is no C++ compiler")
    register(selective_scan.chunked, platform="cpu", form=lambda *_: None, can=missing, name="native")
    yield
    for op, platform, name in (
        (selective_scan.step, "cpu", "fast"),
        (selective_scan.chunked, "tpu", "pallas"),
        (selective_scan.chunked, "cpu", "native"),
    ):
        unregister(op, platform, name)


def test_doctor_names_forms_and_why_they_are_not_taken(
    numpy_form: None, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON too, which has the same facts."""

    def rows() -> dict[str, dict[str, str]]:
        main(["doctor", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["usable_cores"] >= 1 and found["product_flops"] > 0 and found["reading_bytes"] > 0
        assert found["cache"]["kinds"]["programs"] == {"bytes": 2000, "files": 2}
        return {row["op"]: row for row in found["forms"]}

    told = rows()
    assert told["selective_scan.step"]["form"] == "fast"
    assert told["selective_scan.step"]["why"] == "float32, bfloat16; 1 to 16 rows; vmap"
    assert told["selective_scan.chunked"]["form"] == "XLA"
    assert told["selective_scan.chunked"]["why"] == "native is not taken: there is no C++ compiler"
    monkeypatch.setenv(forms.VARIABLE, "xla")
    assert rows()["selective_scan.step"]["why"] == "fast is not taken: LINEARNEXUS_FORMS=xla turns it off"


def test_doctor_speaks_where_jax_does_not_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def devices(self) -> Any:
            raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(doctor, "jax", Broken())
    main(["doctor"])
    assert "Note: JAX does not work here: Unable to initialize backend 'cuda'." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"usable_cores": 2}, "may use 2 of 8 cores"),
        ({"load": 6.0}, "wanted about 6.0 cores"),
        ({"free_memory": GIB}, "1.0 GiB of memory"),
        ({"free_disk": GIB}, "1.0 GiB of disk"),
        ({"vectors": ("SSE4.2", "AVX")}, "no AVX2"),
        ({"translated": True}, "made for Intel"),
        ({"nvidia": True}, "pip install 'linearnexus[cuda]'"),
        ({"versions": {"jax": "0.12.0", "jaxlib": "0.11.0"}}, "do not belong together"),
        ({"variables": {"XLA_FLAGS": "--xla_cpu_x=1"}}, "XLA_FLAGS is set (--xla_cpu_x=1)"),
        ({"variables": {"JAX_ENABLE_X64": "1"}}, "JAX_ENABLE_X64"),
    ],
)
def test_a_concern_is_a_sentence(changed: dict[str, Any], said: str) -> None:
    assert concerns(FINE, ("cpu",)) == []
    (sentence,) = concerns(dataclasses.replace(FINE, **changed), ("cpu",))
    assert said in sentence and sentence.endswith(".")


def test_what_cannot_be_known_is_no_concern() -> None:
    unknown = dataclasses.replace(
        FINE, load=None, memory=None, free_memory=None, vectors=None, free_disk=None, x86=False
    )
    assert concerns(unknown, ("cpu",)) == []


def test_cache_lists_every_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache"])
    told = capsys.readouterr().out
    for name, files in (
        ("programs", "2 files"),
        ("downloads", "2 files"),
        ("tokenizers", "2 files"),
        ("texts", "1 file"),
    ):
        (line,) = (line for line in told.splitlines() if line.startswith(f"  {name} "))
        assert files in line
    assert str(folder) in told and "6.8 KiB in all" in told
    assert left(folder) == {*OURS, *OTHERS}


def test_clear_deletes_what_is_ours_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a cache folder that is somebody's home, and everything in it gone."""
    main(["cache", "clear", "--yes", "downloads"])
    assert capsys.readouterr().out == "Deleted 2.0 KiB.\n"
    assert left(folder) == {name for name in OURS if not name.startswith("downloads")} | set(OTHERS)
    main(["cache", "clear", "--yes"])
    assert left(folder) == set(OTHERS) and not (folder / "xla").exists() and (folder / "downloads").exists()
    capsys.readouterr()
    main(["cache", "clear"])
    assert capsys.readouterr().out == f"There is nothing to delete in {folder}.\n"


@pytest.mark.parametrize(("answer", "kept"), [("y", False), ("Yes ", False), ("", True), ("n", True), (None, True)])
def test_clear_asks(
    answer: str | None, kept: bool, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(question: str) -> str:
        assert question.startswith("Delete 2.0 KiB in 2 files of ") and "(programs)" in question
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    main(["cache", "clear", "programs"])
    assert ("xla/jit_step-0123-cache" in left(folder)) == kept
    assert ("Nothing was deleted." in capsys.readouterr().out) == kept


def test_links_are_never_followed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link inside a kind's folder goes, what it leads to stays; a kind's folder that is a link itself is left
    alone."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / ("a" * 40)).write_text("precious")
    (folder / "xla" / "link").symlink_to(mine)
    (folder / "xla" / "file").symlink_to(mine / ("a" * 40))
    os.rename(folder / "tiktoken", folder / "moved")
    (folder / "tiktoken").symlink_to(mine)
    main(["cache"])
    assert "is a link to" in capsys.readouterr().out
    main(["cache", "clear", "--yes"])
    assert "is a link to" in capsys.readouterr().out
    assert (mine / ("a" * 40)).read_text() == "precious"
    assert (folder / "tiktoken").is_symlink() and not (folder / "xla").exists()


def test_programs_that_jax_keeps_elsewhere_are_left_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jit_step-0123-cache").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    main(["cache"])
    assert f"kept in {tmp_path}" in capsys.readouterr().out
    main(["cache", "clear", "--yes"])
    assert (tmp_path / "jit_step-0123-cache").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cache", "claer"], "There is no action of cache named 'claer'; did you mean 'clear'?"),
        (["cache", "clear", "downlods"], "There is no kind named 'downlods'; did you mean 'downloads'?"),
        (["cache", "clear"], "There is nobody to ask before deleting; add --yes to delete without a question."),
        (["cache", "clear", "texts", "more"], "'more' is too much"),
        (["doctor", "--jsn"], "There is no option '--jsn' of doctor; did you mean '--json'?"),
        (["doctor", "now"], "'now' is too much"),
    ],
)
def test_mistakes_are_sentences(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(SystemExit) as end:
        main(words)
    told = capsys.readouterr().err
    assert end.value.code == 2 and said in told and len(told.splitlines()) == 1
    assert left(folder) == {*OURS, *OTHERS}


def test_every_use_of_the_cache_folder_is_a_kind() -> None:
    """Catches a new thing that is cached, and that `linearnexus cache` does not know."""
    package = Path(cache.__file__).parents[1]
    uses = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "cache_dir()" in path.read_text(encoding="utf-8")
    }
    known = {"core/machine.py", "data/download.py", "data/corpora.py", "tokenizers/tiktoken_bpe.py"}
    own = {"core/cache.py", "core/hardware.py", "core/paths.py", "cli/cache.py", "cli/doctor.py"}
    assert uses - own == known and len(KINDS) == len(known)
