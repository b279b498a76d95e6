"""Proves that the package has no import circle, and that no import inside a function hides one.

    python -m scripts.circles

Every import counts, also one inside a function; what stands under `if TYPE_CHECKING:` never runs and does not. Imports
inside functions, and `import_module`, may stand where ALLOWED says why, and for optional extras. Exits with 1 for a
circle, or for another such import.

Look first at: `imports_of`, `circles`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "linearnexus"
# Where imports inside functions may stand, and why.
ALLOWED = {
    "linearnexus": "`ln.train` imports JAX when it is first used",
    "linearnexus.cli": "a verb answers --help, and refuses mistakes, before it imports JAX",
    "linearnexus.core.resolve": "the resolver, from the text MODULE:NAME in a config to what it names",
    "linearnexus.core.lazy": "packages of others, when they are first used",
}
# Packages that an extra brings, imported when they are needed.
EXTRAS = {"compression", "lm_eval", "matplotlib", "pyarrow", "zstandard"}


@dataclass(frozen=True)
class Import:
    module: str  # that imports
    target: str
    line: int
    inside: bool  # a function


def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """What a module imports; of our own modules the one that a name comes from."""

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for other in child.orelse:
                    yield from visit(ast.Module([other], []), inside)
            elif isinstance(child, ast.Import):
                yield from (Import(module, alias.name, child.lineno, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    inner = f"{child.module}.{alias.name}"
                    yield Import(module, inner if inner in known else str(child.module), child.lineno, inside)
            elif isinstance(child, ast.Call) and "import_module" in ast.dump(child.func):
                yield Import(module, "import_module", child.lineno, True)
                yield from visit(child, inside)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, inside or function)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach one another (Tarjan 1972): strongly connected components of more than one."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def walk(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for target in sorted(edges[module]):
            if target not in number:
                walk(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], number[target])
        if low[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in edges:
        if module not in number:
            walk(module)
    return found


def main() -> None:
    known = modules()
    found = [one for module, path in known.items() for one in imports_of(module, path, known)]
    edges: dict[str, set[str]] = {module: set() for module in known}
    for one in found:
        if one.target in known and one.target != one.module:
            edges[one.module].add(one.target)
    wrong = [f"A circle: {' -> '.join(group)}" for group in circles(edges)]
    inside = [one for one in found if one.inside]
    listed: dict[str, list[str]] = {}
    for one in inside:
        package = one.target.split(".")[0]
        place = next((name for name in ALLOWED if name == one.module), None)
        if place is None and one.module.startswith("linearnexus.cli."):
            place = "linearnexus.cli"
        if package in EXTRAS:
            listed.setdefault("optional extras", []).append(f"{one.module}: {package}")
        elif place is not None:
            listed.setdefault(f"{place}: {ALLOWED[place]}", []).append(f"{one.module}: {one.target}")
        else:
            wrong.append(f"{one.module}, line {one.line}, imports {one.target} inside a function")
    for module, path in known.items():
        if re.search(r"LazyPackage\(.linearnexus", path.read_text(encoding="utf-8")):
            wrong.append(f"{module} hides an import of our own behind a LazyPackage")
    count = sum(map(len, edges.values()))
    print(f"{len(known)} modules, {count} imports of one another, {len(inside)} of all imports inside functions:")
    for place, lines in listed.items():
        print(f"  {place}\n" + "\n".join(f"    {line}" for line in sorted(set(lines))))
    print("\n".join(wrong) or "No circle.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
