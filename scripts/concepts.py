r"""Fills a page, docs/concepts.md or docs/getting_started.md: types each command in an empty folder, and writes what it
prints below it.

    python -m scripts.concepts docs/concepts.md      some minutes: it measures, and the other page trains

A command stands alone in a block `sh`, perhaps with `printf '%s\n' "..." |` before it; the block `text` that follows is
what it prints. `text measured` says that this depends on the machine, so tests/test_teaching.py does not compare it.
A picture that a command saves goes to the page's folder images/, and stands below with its own title.

Look first at: `commands`, `fill`.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 80
LINE = r"(?:printf '%s\\n' [^\n]*\| )?linearnexus [^\n]*"
BLOCK = re.compile(rf"```sh\n({LINE})\n```\n(?:\n```(text[^\n]*)\n(.*?)```\n)?(?:\n!\[[^\n]*\n)?", re.DOTALL)


@dataclass(frozen=True)
class Command:
    words: list[str]  # after `linearnexus`
    typed: str  # what it reads from the standard input
    kind: str | None  # of the block with its output; None: there is none
    output: str


def commands(page: str) -> Iterator[Command]:
    """Those of a page, in order."""
    for line, kind, output in BLOCK.findall(page):
        yield Command(*parsed(line), kind or None, output)


def parsed(line: str) -> tuple[list[str], str]:
    """A command's words after `linearnexus`, and what it reads."""
    words = shlex.split(line, comments=True)
    place = words.index("linearnexus")
    return words[place + 1 :], "".join(f"{text}\n" for text in words[2 : max(2, place - 1)])


def fill(page: str, folder: Path) -> str:
    """The page with what its commands print, typed in that folder."""
    environment = os.environ | {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}

    def typed(found: re.Match[str]) -> str:
        line, kind, _ = found.groups()
        words, read = parsed(line)
        command = [sys.executable, "-m", "linearnexus.cli.main", *words]
        done = subprocess.run(command, cwd=folder, env=environment, input=read, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{line}\n{done.stderr}")
        print(line, flush=True)
        output = f"\n```{kind}\n{tidy(done.stdout)}```\n" if kind else ""
        picture = picture_of(folder / words[words.index("--save") + 1]) if "--save" in words else ""
        return f"```sh\n{line}\n```\n{output}{picture}"

    return BLOCK.sub(typed, page)


def picture_of(path: Path) -> str:
    """The line that shows a picture."""
    title = ET.fromstring(path.read_text(encoding="utf-8")).attrib["aria-label"]
    return f"\n![{title}](images/{path.name})\n"


def tidy(printed: str) -> str:
    """Without spaces at the ends of lines, and without the last lines of `explain`: the page has its own."""
    text = re.split(r"^(?:Saved the picture|Look for:)", printed, flags=re.MULTILINE)[0]
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.concepts", description="Fill a page with real output.")
    parser.add_argument("page", type=Path)
    path = parser.parse_args().page
    with tempfile.TemporaryDirectory() as folder:
        page = fill(path.read_text(encoding="utf-8"), Path(folder))
        for picture in Path(folder).glob("*.svg"):
            shutil.copy(picture, path.parent / "images" / picture.name)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
