"""How the package is built: one meaning a name, configs that are data, one place that imports by name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import circles

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "linearnexus"
CONFIGS = (
    *sorted((PACKAGE / "mixers" / "configs").glob("*.py")),
    *(PACKAGE / name for name in ("generation/config.py", "lab/settings.py", "models/config.py")),
    *(PACKAGE / name for name in ("posttraining/config.py", "training/config.py")),
)
DESCRIBED = ("core", "ops", "mixers", "models", "generation")
IMPORTERS = {"core/resolve.py", "core/lazy.py", "cli/main.py", "cli/explain.py"}


def parsed(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The files of the package, or of some folders, with their paths in it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not folders or name.split("/")[0] in folders:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_no_class_name_is_defined_twice() -> None:
    """A name means one thing in the whole package."""
    places = defaultdict(list)
    for file, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file)
    assert not {name: files for name, files in places.items() if len(files) > 1}


def test_no_file_is_called_base() -> None:
    """A base of what?"""
    assert not {file for file, _ in parsed() if file.endswith("/base.py")}


def test_configs_are_data() -> None:
    """Their modules import neither JAX nor NumPy, open no file and build no model when they are imported."""
    assert len(CONFIGS) > 10
    for path in CONFIGS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names]
                assert not {name.split(".")[0] for name in names} & {"jax", "numpy", "optax"}, path
            elif isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert called not in ("open", "read_text", "read_bytes"), (path, called)


def test_configs_reach_nothing_that_opens_files_or_builds_models() -> None:
    """What their modules import, and what these import in turn. Catches a config that drags in the code that it is
    only to describe, and the circles that come of it."""
    known = circles.modules()
    edges = {
        module: {one.target for one in circles.imports_of(module, path, known) if one.target in known}
        for module, path in known.items()
    }
    reached, todo = (
        set(),
        {f"linearnexus.{path.relative_to(PACKAGE).with_suffix('')}".replace("/", ".") for path in CONFIGS},
    )
    while todo:
        module = todo.pop().removesuffix(".__init__")
        reached.add(module)
        todo |= edges[module] - reached
    pure = r"linearnexus\.(core\.(axes|config|errors|lazy|module|renames|resolve|spec)|data\.settings|models\.config)"
    pure += r"|linearnexus\.(mixers\.configs|training\.optimizers)(\.\w+)?"
    pure += r"|linearnexus\.((generation|posttraining|training)\.config|lab\.settings)"
    assert not {module for module in reached if not re.fullmatch(pure, module)}
    opened = r"\bopen\(|read_text|read_bytes|write_text|Path\("
    assert not {module for module in reached if re.search(opened, known[module].read_text(encoding="utf-8"))}


def test_no_circle() -> None:
    """`python -m scripts.circles` says which modules are in one, or which function hides an import."""
    with pytest.raises(SystemExit) as end:
        circles.main()
    assert end.value.code == 0


def test_imports_stand_at_the_top() -> None:
    """In the folders that everything else stands on: what a file needs is seen where one looks for it."""
    for file, tree in parsed(*DESCRIBED):
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom):
                        assert not (node.module or "").startswith("linearnexus"), (file, node.lineno)


def test_one_place_imports_by_name() -> None:
    """`resolve`, and the command line, whose verbs are files."""
    for file, tree in parsed():
        names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
        assert "import_module" not in names or file in IMPORTERS, file
