"""How the package is built: one meaning a name, configs that are data, one place that imports by name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "linearnexus"
# Folders whose classes may still have the name of another class. To be emptied.
SHARED_NAMES = {"cli", "data", "training"}
CONFIGS = (
    *sorted((PACKAGE / "mixers" / "configs").glob("*.py")),
    *(PACKAGE / name for name in ("generation/config.py", "lab/settings.py", "models/config.py")),
    *(PACKAGE / name for name in ("posttraining/config.py", "training/config.py")),
)
DESCRIBED = ("core", "ops", "mixers", "models", "generation")
IMPORTERS = {"core/resolve.py", "cli/main.py", "cli/explain.py"}


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
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert not {name: files for name, files in twice.items() if not {f.split("/")[0] for f in files} & SHARED_NAMES}


def test_no_file_is_called_base() -> None:
    """A base of what? training/base.py is the copy of the weights that a run begins with."""
    assert {file for file, _ in parsed() if file.endswith("/base.py")} <= {"training/base.py"}


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
