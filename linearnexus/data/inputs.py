"""What `data prepare` may be given, as a list of files in a fixed order.

Look first at: `find_files`.
"""

from collections.abc import Sequence
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.data.corpora import CORPORA
from linearnexus.data.download import download
from linearnexus.data.files import KINDS, File, exists, find_paths, kind_of


def find_files(sources: Sequence[str]) -> list[File]:
    """The files of all sources: names of corpora, files, folders (those with a known ending, subfolders too, hidden
    ones not), patterns, http(s) addresses. Files of a folder or pattern are in sorted order.

    Raises UserError for a source that is not there or has no file.
    """
    return [file for source in sources for file in _files(source)]


def _files(source: str) -> list[File]:
    if source in CORPORA:
        data = CORPORA[source]().text.encode("utf-8")
        return [File(source, Path(source), "text", "", len(data), 0, data, b"\n\n")]
    if source.startswith(("http://", "https://")):
        return [_file(download(source), source)]
    if source.startswith("hf:") and not exists(source):
        raise UserError(
            f"'{source}': data sets of the Hugging Face hub are not read directly; download one (hf download "
            f"{source[3:]} --repo-type dataset --local-dir FOLDER) and give the folder with its Parquet or JSON lines."
        )
    paths = find_paths(
        source,
        lambda name: kind_of(name) is not None,
        CORPORA,
        f"The folder '{source}' holds no {', '.join(KINDS)} file (nor one with .gz or .zst added).",
        "a file, a folder, a pattern such as 'texts/*.jsonl', an http(s) address",
    )
    return [_file(path, str(path)) for path in paths]


def _file(path: Path, name: str) -> File:
    if path.suffix.lower() == ".json":
        raise UserError(
            f"'{name}' is one JSON value; give JSON lines, one object a line, in a file that ends in .jsonl."
        )
    return File.at(path, name)
