"""docs/recall.md works as written, a few steps long."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from linearnexus.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "recall.md").read_text(encoding="utf-8")
SMALL = ["--batch-size", "2", "--eval-batches", "1"]


@pytest.mark.slow
def test_the_commands_and_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = block.splitlines()
    assert len(lines) == 2
    for line in lines:
        words = [{"200": "2", "50": "2"}.get(word, word) for word in shlex.split(line)[1:]]
        main([*words, *SMALL, *(["--n-layer", "1", "--hidden-size", "32"] if words[0] == "train" else [])])
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "max_steps=20" in program
    (tmp_path / "program.py").write_text(program.replace("max_steps=20", "max_steps=2, batch_size=2, eval_batches=1"))
    runpy.run_path("program.py")
    printed = capsys.readouterr().out
    assert "Of the answers" in printed and printed.count("deltanet") >= 2 and printed.count("mamba2") >= 2


def test_the_long_commands_name_what_there_is() -> None:
    """Each is taken apart as the command line does, and nothing is trained."""
    from linearnexus.cli.compare import DESCRIPTION, CompareOptions
    from linearnexus.cli.parse import parse
    from linearnexus.data.tasks import open_task
    from linearnexus.lab.models import models

    found = re.findall(r"^linearnexus compare .*$", PAGE.split("## Results")[1], re.M)
    assert len(found) >= 4
    for line in found:
        options = parse(CompareOptions, shlex.split(line)[2:], "compare", DESCRIPTION)
        task = open_task(options.run.data)
        assert task is not None
        assert len(models(options.mixer, options.compare, len(task.symbols))) == len(options.mixer)
