"""One registry of data sources: from the text of `--data` to what a run trains on.

    --data stories                a corpus, a file, a folder, a pattern: one text (text_source.py)
    --data tokens                 a folder that `linearnexus data prepare` made (prepared_source.py)
    --data a:0.7,b:0.3            a mixture of such folders
    --data recall:pairs=16        a task (task_source.py)
    --data NAME:...               a source of your own, from a file in LINEARNEXUS_SOURCES (docs/add_a_data_source.md)

Look first at: `open_source`, `register_source`.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.plugins import run_files
from linearnexus.data.prepared_source import PreparedKind
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import DataSource, SourceKind, check_unchanged
from linearnexus.data.task_source import TaskKind
from linearnexus.data.text_source import TextKind

VARIABLE = "LINEARNEXUS_SOURCES"
TEXT = TextKind()
BUILT_IN: tuple[SourceKind, ...] = (TaskKind(), PreparedKind(), TEXT)
_own: list[SourceKind] = []
_loaded: set[str] = set()  # values of the variable whose files have been run


def register_source(kind: SourceKind) -> None:
    """Adds a kind of source of your own; one with the same names replaces an earlier one. Raises UserError where the
    package has something of that name."""
    for name in kind.names:
        if any(built_in.claims(name) for built_in in BUILT_IN):
            raise UserError(f"'{name}' is already a name of data or of a file; give your source another name.")
    _own[:] = [other for other in _own if not set(other.names) & set(kind.names)] + [kind]


def open_source(settings: DataSettings, tokenizer_file: Path | None = None, sha256: str | None = None) -> DataSource:
    """The data of a run. Of a run that resumes: with the file of its tokenizer and the digest of the data that it began
    with. Raises UserError."""
    source = _kind_of(settings.data).open(settings, tokenizer_file, sha256)
    check_unchanged(settings, source.info["sha256"], sha256)
    return source


def check_source(settings: DataSettings) -> None:
    """Raises UserError for data that cannot be trained on, as far as that can be told quickly and without JAX;
    `open_source` finds the rest."""
    _kind_of(settings.data).check(settings)


def fixed_settings(data: str) -> dict[str, Any]:
    """Settings that the data decides unless the user gives them. Raises UserError for a misspelt task."""
    return _kind_of(data).fixed_settings(data)


def _kind_of(data: str) -> SourceKind:
    """The first kind that claims the text. The user's files run only when no kind of the package does."""
    for kind in BUILT_IN:
        if kind.claims(data):
            return kind
    _load_own()
    for kind in _own:
        if kind.claims(data):
            return kind
    name, _, options = data.partition(":")
    if re.match(r"\w+=", options):
        names = [name for kind in (*BUILT_IN, *_own) for name in kind.names]
        if not _own and not get_close_matches(name, names, cutoff=0.75):
            raise UserError(
                f"There is no task named '{name}'; known: {', '.join(sorted(names))}. For a source of your own, set "
                f"{VARIABLE} to its file."
            )
        raise unknown("task", name, names)
    return TEXT  # whose check says what is wrong


def _load_own() -> None:
    paths = os.environ.get(VARIABLE, "")
    if paths in _loaded:
        return
    for module in run_files(VARIABLE, paths):
        if not any(type(kind).__module__ == module.__name__ for kind in _own):
            raise UserError(f"{module.__file__} registers no source; call register_source(YourKind()) in it.")
    _loaded.add(paths)
