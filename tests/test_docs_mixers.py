"""The pages about mixers: docs/mixers.md is what its script prints, and docs/add_a_mixer.md works as written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from linearnexus.core.config import config_types
from linearnexus.mixers.configs import MixerConfig
from scripts import mixers_table

ROOT = Path(__file__).resolve().parents[1]
MIXERS = ROOT / "docs" / "mixers.md"
ADD = (ROOT / "docs" / "add_a_mixer.md").read_text(encoding="utf-8")
EXAMPLE, COMMANDS = (re.search(rf"```{language}\n(.*?)```", ADD, re.DOTALL)[1] for language in ("python", "sh"))
SMALL = "--data text.txt --n-layer 4 --hidden-size 32 --n-head 2 --batch-size 2 --sequence-length 32 --sample-tokens 5"
# What `python -m tests.laws --only TEXT` measures, in one precision and for three properties.
LAW = """
import sys
from tests.laws import subjects, test_laws
found = [name for name in subjects.mixer_examples() if sys.argv[1] in name]
for name in found:
    laws = subjects.mixer_law(subjects.mixer_examples()[name], "float64", batch=3, long=None, exact=False)
    test_laws.obey(laws, ["steps", "pad holes", "packed"])
print(*found)
"""


def without_errors(page: str) -> list[str]:
    """The lines, those of the large table without the columns of errors."""
    wide = len(mixers_table.PRECISIONS)
    lines = page.splitlines()
    return [" | ".join(line.split(" | ")[:-wide]) if line.count(" | ") > 8 else line for line in lines]


def test_mixers_page_is_up_to_date() -> None:
    """Catches a new mixer, preset, default or cost that the page does not know yet. The errors are measured anew at
    other times: docs/laws.md."""
    hint = "run: python -m scripts.mixers_table --write docs/mixers.md"
    assert without_errors(MIXERS.read_text(encoding="utf-8")) == without_errors(mixers_table.page("")), hint


def test_every_mixer_has_a_family() -> None:
    """Catches a mixer of the package that the text above the table leaves out."""
    named = [name for _, _, names in mixers_table.FAMILIES for name in names]
    classes = config_types(MixerConfig)
    assert sorted(named) == sorted(name for name in classes if classes[name].__module__.startswith("linearnexus."))


def test_law_errors_are_the_largest_of_a_mixer() -> None:
    """Catches a preset's row taken for a mixer's, and an error in bold that is left out."""
    laws = """
## float32, tolerance 1e-04

| | steps | split | ring | alone |
|---|---|---|---|---|
| mamba | 1e-7 / 3e-7 | **2e-3 / 5e-7** |  | exact |
| mamba state_size=5 | 2e-7 / 0 | 3e-7 / 4e-7 |  | exact |
| mamba-nano | inf / inf | 9e-1 / 9e-1 |  | exact |

## float64, tolerance 1e-09

| mamba | 5e-16 / 1e-15 | 0 / 0 |  | exact |
| attention n_head=3 window=5 | 2e-15 / 0 | 0 / 0 |  | exact |
| attention n_head=3 | 9e-16 / 3e-16 | 0 / 0 | 1e-16 / 0 | exact |
"""
    errors = mixers_table.law_errors(laws)
    assert errors["mamba", False, "float32"] == "2e-3"
    assert errors["mamba", False, "float64"] == "1e-15"
    assert errors["attention", True, "float64"] == "2e-15"
    assert errors["attention", False, "float64"] == "9e-16"


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.splitlines()) < 60


@pytest.mark.parametrize("page", ["mixers.md", "add_a_mixer.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Catches a page that was moved."""
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs" / page).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / "docs" / target).exists(), target


@pytest.mark.slow
def test_add_a_mixer_works_as_written(tmp_path: Path) -> None:
    """Runs the page's commands in order in an empty folder that has the page's mixer: small runs of a few steps, a part
    of the law; pytest only collects."""
    (tmp_path / "my_mixer.py").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "text.txt").write_text("Once upon a time there was a little dog. It ran to the tree.\n" * 200)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    printed = []
    for line in COMMANDS.splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            environment |= dict([words[1].split("=", 1)])
            continue
        if words[0] == "linearnexus":
            words[:1] = ["python", "-m", "linearnexus.cli.main"]
        if "train" in words:
            words = [{"20": "3"}.get(word, word) for word in words] + SMALL.split()
        if words[1:3] == ["-m", "tests.laws"]:
            assert words[3] == "--only"
            words = ["python", "-c", LAW, words[4]]
        if words[0] == "pytest":
            # the path of the checkout, where the page tells people to be
            words = ["python", "-m", *words[:1], str(ROOT / words[1]), *words[2:], "--collect-only", "-q"]
            words += [f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}", "-p", "no:cacheprovider"]
        command = [sys.executable, *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed.append(done.stdout)
    info, alone, mixed, written, law, collected = printed
    assert "my_mixer (n_head 4)" in info
    assert "Done." in alone and "Done." in mixed
    assert written.startswith("Once") and len(written) > 50
    assert law.split() == ["my_mixer"]
    assert "test_a_mixer_obeys_the_law[my_mixer]" in collected


def test_presets_of_an_own_mixer_have_the_size_of_the_gpt(tmp_path: Path) -> None:
    """Catches an MLP that is not fitted. In a process of its own: mixers stay registered."""
    (tmp_path / "my_mixer.py").write_text(EXAMPLE, encoding="utf-8")
    code = """
from linearnexus.models.costs import costs
from linearnexus.models.own_mixers import add_mixers
from linearnexus.models.presets import preset
add_mixers("my_mixer.py")
for size in ("nano", "micro"):
    own, gpt = (costs(preset(f"{name}-{size}")).parameters for name in ("my-mixer", "gpt"))
    assert abs(own / gpt - 1) < 0.01, (own, gpt)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
