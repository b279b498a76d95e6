"""docs/getting_started.md works as written; `make quickstart` is what tests/test_packaging.py and CI try."""

import io
import re
import shlex
from pathlib import Path

import pytest

from linearnexus.cli.main import main
from linearnexus.training.verdict import Name
from scripts.concepts import commands

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "getting_started.md").read_text(encoding="utf-8")
SHORTER = {"200": "2", "gpt-nano": "attention", "mamba-nano": "mamba"}  # of a comparison
SMALL = ["--n-layer", "1", "--hidden-size", "32", "--n-head", "2"]
SHORT = ["--batch-size", "2", "--eval-batches", "1"]


@pytest.mark.slow
def test_the_commands_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, in this process; what trains does so for a few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "my_text.txt").write_text("".join(map(chr, range(32, 127))) * 60)
    own = [shlex.split(line)[1:] for line in re.findall(r"^linearnexus .*$", PAGE.split("## 6.")[1], re.M)]
    assert [words[0] for words in own] == ["train", "generate"]
    pages = [(command.words, command.typed) for command in commands(PAGE)]
    done = []
    for words, typed in [*pages, *((words, "") for words in own)]:
        if words[0] == "compare":
            words = [*(SHORTER.get(word, word) for word in words), *SMALL, *SHORT]
        elif words[0] == "sft":
            words = [
                *words[: words.index("--epochs")],
                "--max-steps",
                "1",
                *words[words.index("--epochs") + 2 :],
                *SHORT,
            ]
        elif words[0] == "chat":
            words = [*words, "--max-tokens", "5"]
        elif words[0] == "train":
            words = [*words[: words.index("--max-minutes")], "--max-steps", "2", *SMALL, *SHORT, "--sample-tokens", "5"]
        elif words[0] == "generate":
            words = [*words, "--max-tokens", "20"]
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        main(words)
        assert capsys.readouterr().out.strip(), words
        done.append(words[0])
    assert done == ["generate", "inspect", "explain", "compare", "sft", "chat", "train", "generate"]


def test_every_verdict_has_its_row() -> None:
    """Catches a verdict that was added or renamed: the page says what to do about each."""
    table = PAGE.split("## 3.")[1].split("## 4.")[0].lower()
    for name in Name.__args__:
        words = {"early": "too early", "unstable": "jumps", "behind": "worse than usual"}.get(name, name)
        assert all(word in table for word in words.split()), name


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
