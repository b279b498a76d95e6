"""docs/training.md works as written."""

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import linearnexus as ln
from linearnexus.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = "--n-layer 1 --hidden-size 32 --batch-size 2 --sequence-length 32 --sample-tokens 0 --eval-batches 1"
# In place of what takes long: the data, and the length of a run.
INSTEAD = {
    "stories": "my_text.txt",
    "--max-minutes": "--max-steps",
    "500": "2",
    "1000": "4",
    "50": "0.2",
    "0.999": "0.5",
}
MINUTES = {"3": "2", "5": "4"}


def shorter(line: str) -> list[str]:
    """The command of a line, a few steps long and with a small model."""
    words = shlex.split(line)[1:]
    made = [
        MINUTES[word] if before == "--max-minutes" else INSTEAD.get(word, word)
        for before, word in zip(["", *words], words, strict=False)
    ]
    if words[0] == "train" and "--resume" not in words:
        made += SMALL.split() + (["--n-head", "2"] if "gpt-nano" in words else [])
        made += [] if "--data" in words else ["--data", "my_text.txt"]
    return made


@pytest.mark.slow
def test_the_commands_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches an option that was renamed, and one that a resumed run does not take."""
    monkeypatch.chdir(tmp_path)
    Path("my_text.txt").write_text("Once upon a time there was a little dog. It ran to the tree.\n" * 100)
    assert len(COMMANDS) == 11
    printed = {}
    for line in COMMANDS:
        main(shorter(line))
        printed[line] = capsys.readouterr().out
        if "--rate" in line:
            exec(compile(PROGRAM, "training.md", "exec"), {})
            assert {"embedding", "blocks.0.mixer.A_log"} <= set(capsys.readouterr().out.split())
    found, _, _, averaged, scored, written, _, otherwise, by_name, muon, resumed = printed.values()
    assert "Suggested: --learning-rate" in found and "runs/rates-gpt-nano-my_text-1.svg" in found
    assert "with averaged weights" in averaged and "bits per byte" in scored and written.startswith("Once upon a time")
    assert (
        "Done." in by_name and "muon" in muon and all("Resuming from step 2." in text for text in (otherwise, resumed))
    )
    runs = {path.name: ln.load(path).config for path in Path("runs").iterdir() if path.is_dir()}
    assert [runs[f"gpt-nano-my_text-{number}"].patience for number in (1, 2)] == [6, None]
    assert runs["mamba-nano-my_text-1"].rate == ("blocks.*.mixer.A_log=0.1",)
    assert runs["gpt-nano-my_text-3"].remat == "norms"
    assert runs["gpt-nano-my_text-4"].optimizer.weight_decay == 0.02


@pytest.mark.slow
def test_several_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in the text: a block stays as it is."""
    monkeypatch.chdir(tmp_path)
    Path("my_text.txt").write_text("Once upon a time there was a little dog. It ran to the tree.\n" * 100)
    (patterns,) = re.findall(r'`--rate (".*?"\s+".*?")`', PAGE, re.DOTALL)
    line = f"linearnexus train gpt-nano --rate {' '.join(patterns.split())} --max-steps 2 --name patterns"
    main([word.replace("1", "2") if word == "1" else word for word in shorter(line)])
    first, last = (ln.load("patterns", step).model for step in (1, 2))
    assert (first.blocks[0].mixer.wq == last.blocks[0].mixer.wq).all()
    assert (first.blocks[1].mixer.wq != last.blocks[1].mixer.wq).any()


def test_the_picture_is_the_measurement_of_the_text() -> None:
    """Catches a plot and numbers of different sweeps."""
    root = ET.fromstring((ROOT / "docs" / "images" / "find_rate.svg").read_text(encoding="utf-8"))
    (suggested,) = re.findall(r"Suggested: --learning-rate (\S+)", PAGE)
    text = list(root.itertext())
    assert "Learning rates of gpt-nano on stories" in text and f"suggested: {suggested}" in text


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
