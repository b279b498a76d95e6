"""docs/add_a_backend_form.md works as written."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linearnexus.core.forms import Capabilities
from linearnexus.core.hardware import compiler

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add_a_backend_form.md").read_text(encoding="utf-8")
FORM, CHECK, CPP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
(SHOWN,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
SMALL = "--n-layer 1 --hidden-size 32 --batch-size 2 --sequence-length 32 --sample-tokens 5 --eval-batches 1"
COUNTED = re.compile(r"assert len\(my_form.calls\) == 1.*|print\(.*\)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's forms and its script."""
    for name, text in (("my_form.py", FORM), ("check.py", CHECK), ("my_cpp_form.py", CPP)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def python(folder: Path, *arguments: str, **variables: str) -> str:
    """What Python prints in the folder."""
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"} | variables
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_form_is_the_op(folder: Path) -> None:
    """Values, gradients and a whole model, and how often the form was called."""
    assert python(folder, "check.py").startswith("The same; called 8 times")


@pytest.mark.slow
@pytest.mark.skipif(not compiler(), reason="there is no C++ compiler")
def test_the_form_in_cpp_is_the_op(folder: Path) -> None:
    code = COUNTED.sub("", CHECK.replace("import my_form\n", "import my_cpp_form\n"))
    assert "my_form" not in code
    taken = 'assert "scan_step" in jax.jit(step).lower(*inputs, tokens).as_text()\nprint("taken")\n'
    (folder / "check_cpp.py").write_text(code + taken, encoding="utf-8")
    assert python(folder, "check_cpp.py").endswith("taken\n")


@pytest.mark.slow
def test_the_law_holds_with_the_form(folder: Path) -> None:
    """As the page says, and the form is called in it; a form whose state grows breaks it."""
    test = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests/laws/test_quick.py")]
    test += ["-k", "mamba and not mamba2 and not mamba3", f"--rootdir={ROOT}", "-s"]
    told = 'print("called")\n    calls.append'
    for form, code in ((FORM, 0), (FORM.replace("state = np.exp(", "state = 1.1 * np.exp("), 1)):
        (folder / "my_form.py").write_text(form.replace("calls.append", told), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "LINEARNEXUS_FORMS": str(folder / "my_form.py")}
        done = subprocess.run(
            [sys.executable, *test], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code and "called" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_commands(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` shows the line of the page; training and generating work with the form."""
    printed = []
    for line in COMMANDS.splitlines():
        words = line.replace("--max-steps 20", f"--max-steps 3 {SMALL}").split()
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        done = run_cli(*(word.strip('"') for word in words[1:]), cwd=folder)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed.append(done.stdout)
    assert SHOWN in printed[0] and printed[2].startswith("Once")
    (folder / "my_form.py").write_text("import nothing_of_that_name", encoding="utf-8")
    done = run_cli("generate", "runs/latest", "Once", cwd=folder)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "failed in line 1" in done.stderr


def test_the_page_names_every_capability() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(Capabilities.__dataclass_fields__)
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
