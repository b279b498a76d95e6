"""Hooks of mkdocs (`mkdocs.yml`): what the site shows beside docs/.

README.md becomes the first page, benchmarks/README.md a page of its own; each source file that a page links to becomes
a page with its text, so that every link of the site leads somewhere in it.

Look first at: `on_files`, `on_page_markdown`.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # of the site: where in the repository
    "index.md": "README.md",
    "benchmarks.md": "benchmarks/README.md",
    "family.md": "benchmarks/family.md",
}
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)([^)]*\))")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LANGUAGES = {".py": "python", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not in docs/, and the pictures of the benchmarks."""
    for page, place in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / place).read_text(encoding="utf-8")))
    pages = [*ROOT.glob("docs/**/*.md"), *(ROOT / path for path in PAGES.values())]
    linked = {path for page in pages for path in _targets(page) if ROOT / "docs" not in path.parents}
    for path in sorted(linked - {ROOT / place for place in PAGES.values()}):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in LANGUAGES:
            text = f'# {name}\n\n````{LANGUAGES[path.suffix]} linenums="1"\n{path.read_text(encoding="utf-8")}````\n'
            files.append(File.generated(config, _page(name), content=text))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns the links of the repository into those of the site; takes our own words from the fences of blocks."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    folder = (ROOT / PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent

    def place(match: re.Match[str]) -> str:
        if match[0].startswith("`"):
            return match[0]
        path = Path(os.path.normpath(folder / match[2]))
        found = path.relative_to(ROOT).as_posix()
        known = {place: page for page, place in PAGES.items()}
        target = known.get(found) or (_page(found) if path.suffix in LANGUAGES else found.removeprefix("docs/"))
        return f"{match[1]}{os.path.relpath(target, os.path.dirname(page.file.src_uri) or '.')}{match[3]}"

    markdown = re.sub(r"^```(\w+) .*$", r"```\1", markdown, flags=re.MULTILINE)
    return re.sub(f"{CODE.pattern}|{LINK.pattern}", place, markdown, flags=re.DOTALL)


def _page(name: str) -> str:
    return f"source/{name}.md"


def _targets(page: Path) -> list[Path]:
    """The files that a page links to. Raises PluginError, which ends the build, for one that is not there."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    found = [Path(os.path.normpath(page.parent / match[2])) for match in LINK.finditer(text)]
    for path in found:
        if not path.is_file():
            raise PluginError(f"{page.relative_to(ROOT)} links to {path}, which is not there.")
    return found
