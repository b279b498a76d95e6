"""What the README tells people to type works as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from linearnexus.cli.main import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SMALL = ["--n-layer", "1", "--hidden-size", "32", "--n-head", "2", "--sample-tokens", "0", "--eval-batches", "1"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(first: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(first)]


def test_make_targets_exist() -> None:
    """Would catch a renamed target."""
    makefile = (ROOT / "Makefile").read_text()
    assert {words[1] for words in commands("make ")} >= {"quickstart", "test"}
    for words in commands("make "):
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words


def test_links_lead_somewhere() -> None:
    """Would catch a page or a picture that was moved."""
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs every `linearnexus` line in order, in one folder and in this process, with a small model and few steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_text.txt").write_text("Once upon a time there was a little dog. It ran to the tree.\n" * 200)
    found = commands("linearnexus ")
    verbs = {"train", "compare", "generate", "inspect", "explain", "info", "tokenizer", "data", "convert"}
    verbs |= {"doctor", "cache"}
    assert {words[1] for words in found} == verbs
    for words in found:
        arguments = words[1:]
        if words[1] == "compare":
            arguments += ["--hidden-size", "32", "--n-layer", "1", "--max-steps", "2", "--learning-rates", "0.001"]
            arguments += ["--parameters", "60000", "--batch-size", "2", "--eval-batches", "1"]
        if words[1] == "train":
            arguments = [word.replace("3*", "1*") for word in shorter(arguments)]  # half as deep
            if "--resume" not in arguments:
                small = [word for word in SMALL if "mamba-nano" not in arguments or word not in ("--n-head", "2")]
                if "--pattern" in arguments:  # it says the depth
                    small = small[2:]
                arguments += [*small, "--batch-size", "2", "--sequence-length", "32"]
        main(arguments)


def shorter(arguments: list[str]) -> list[str]:
    """The same run, a few steps long."""
    kept, skip = [], False
    for word in arguments:
        if not skip and word not in ("--max-minutes", "--max-steps"):
            kept.append(word)
        skip = word in ("--max-minutes", "--max-steps")
    return [*kept, "--max-steps", "6" if "--resume" in kept else "4"]


@pytest.mark.parametrize("block", blocks("python"))
@pytest.mark.slow
def test_python(block: str, tmp_path: Path) -> None:
    """Runs the Python of the README as a script, a few steps long."""
    script = block.replace("max_minutes=2", "max_steps=3, n_layer=1, hidden_size=32, n_head=2, batch_size=2")
    assert script != block
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "Done." in result.stdout
