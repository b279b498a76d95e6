"""docs/finetuning.md works as written."""

import io
import json
import re
import shlex
from pathlib import Path

import pytest

from linearnexus.cli.main import main
from linearnexus.posttraining.conversations import messages_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
SMALL = ["--n-layer", "1", "--hidden-size", "32", "--n-head", "2"]
SHORT = ["--batch-size", "2", "--sample-tokens", "5", "--eval-batches", "1"]
INSTEAD = {"stories": "stories.txt", "--max-minutes": "--max-steps", "3": "2", "200": "2"}


@pytest.mark.slow
def test_the_commands_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs them in an empty folder, in this process, a few steps long and with a small model."""
    monkeypatch.chdir(tmp_path)
    letters = "".join(map(chr, range(32, 127))) + "\n"
    for name in ("stories.txt", "my_text.txt"):
        Path(name).write_text(letters * 60)
    (examples,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len({messages_of(json.loads(line))[-1] for line in examples.splitlines()}) == 1
    Path("questions.jsonl").write_text(examples)
    monkeypatch.setattr("sys.stdin", io.StringIO("Who is it?\n"))
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        _, *words = shlex.split(line, comments=True)
        places = [n for n, word in enumerate(words) if word == "--data" or (words[0], n) == ("eval", 1)]
        words = [
            INSTEAD.get(word, word) if n - 1 in places or word != "stories" else word for n, word in enumerate(words)
        ]
        if words[0] == "train":
            words += [*SHORT, *(() if "--from" in words else SMALL)]
        elif words[0] == "sft":
            words += [*SHORT, "--max-steps", "1"]
        elif words[0] == "chat":
            words += ["--max-tokens", "5"]
        main(words)
    printed = capsys.readouterr().out
    assert printed.count("Done.") == 5 and printed.count("parameters train") == 2
    assert "bits per byte" in printed and (tmp_path / "runs" / "stories" / "config.json").is_file()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
