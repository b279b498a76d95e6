"""Runs the lessons, and writes what their blocks print below them.

    python -m scripts.lessons docs/lessons/*.md

A page is one program: its blocks of Python in order. A block of text after one shows what it prints; a block that
prints nothing has none.
"""

import contextlib
import io
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def printed(page: str) -> list[tuple[str, str]]:
    """What each block of Python of a page prints, and what the page shows of it."""
    names: dict[str, object] = {"__name__": "lesson"}
    found = []
    for block, shown in BLOCK.findall(page):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(block, "lesson", "exec"), names)  # our own pages
        found.append((output.getvalue(), shown))
    return found


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        page = path.read_text(encoding="utf-8")
        outputs = iter(printed(page))

        def filled(match: re.Match[str], outputs=outputs) -> str:
            output, _ = next(outputs)
            return f"```python\n{match[1]}```" + (f"\n\n```text\n{output}```" if output else "")

        path.write_text(BLOCK.sub(filled, page), encoding="utf-8")


if __name__ == "__main__":
    main()
