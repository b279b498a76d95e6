"""docs/data.md works as written."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SMALL = "--n-layer 1 --hidden-size 32 --n-head 2 --batch-size 2 --sequence-length 32 --sample-tokens 5 --eval-batches 1"


@pytest.mark.slow
def test_the_commands_in_order(run_cli: Any, tmp_path: Path) -> None:
    """Runs them in an empty folder, the training a few steps long and with a small model."""
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    printed = {}
    for line in block.splitlines():
        words = [{"100": "3", "120": "5"}.get(word, word) for word in shlex.split(line)[1:]]
        if words[0] == "train" and "--resume" not in words:
            words += SMALL.split()
        done = run_cli(*words, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed[line] = done.stdout
    assert sum("Done." in text for text in printed.values()) == 4
    assert sum("--- document" in text for text in printed.values()) == 1
    assert {path.name for path in (tmp_path / "tokens").iterdir()} == {
        *("manifest.json", "tokenizer.json", "prepare.json", "00000")
    }


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
    for target in re.findall(r"`(tests/\w+\.py)`", PAGE):
        assert (ROOT / target).exists()
