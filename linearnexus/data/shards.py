"""A prepared folder: tokens in memory-mapped shards, with a manifest that says what they are.

    manifest.json     version, tokenizer, sources, counts; every file's size and SHA-256
    tokenizer.json
    00000/            a group of neighbouring documents: {train,validation}_{tokens,starts,hashes}.npy, group.json
        tokens        uint16, or uint32 for a vocabulary over 65,536
        starts        int64: where documents begin in the tokens; a very long one may go on in the next group
        hashes        uint64 [documents, 2]: of the text, and of its words alone

Look first at: `open_prepared`, `Prepared.verify`.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.data.token_array import TokenArray
from linearnexus.tokenizers import load
from linearnexus.tokenizers.tokenizer import Tokenizer

VERSION = 1
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
RECIPE = "prepare.json"  # what is being prepared; there from the first moment on
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Prepared:
    """A folder that `linearnexus data prepare` has finished."""

    folder: Path
    manifest: dict[str, Any]
    sha256: str  # of the manifest, and so of all
    tokenizer: Tokenizer

    def tokens(self, split: str) -> TokenArray:
        """The tokens of "train" or "validation"."""
        groups = self.manifest["groups"]

        def array(number: int, name: str) -> np.ndarray:
            path = self.folder / groups[number]["folder"] / f"{split}_{name}.npy"
            try:
                loaded: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
                return np.asarray(loaded)  # a plain array on the map: indexing a memmap is slow
            except (OSError, ValueError) as error:
                raise UserError(f"{_wrong(path, 'cannot be read')}") from error

        counts = [group[split] for group in groups]
        return TokenArray(
            [count["tokens"] for count in counts],
            lambda number: array(number, "tokens"),
            [count["documents"] for count in counts],
            lambda number: array(number, "starts"),
        )

    def problems(self) -> list[str]:
        """What is wrong with the files, naming each that is missing, cut short or changed. Reads all of them."""

        def problem(item: tuple[str, dict[str, Any]]) -> str | None:
            path, expected = self.folder / item[0], item[1]
            try:
                size = path.stat().st_size
                if size != expected["bytes"]:
                    return f"{path} has {size:,} bytes instead of {expected['bytes']:,}"
                return None if sha256(path) == expected["sha256"] else f"{path} is damaged (its SHA-256 has changed)"
            except FileNotFoundError:
                return f"{path} is missing"
            except OSError as error:
                return f"{path} cannot be read ({error.strerror})"

        files = {name: value for group in self.manifest["groups"] for name, value in group["files"].items()}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing runs beside the interpreter's lock
            return [found for found in pool.map(problem, files.items()) if found]

    def verify(self) -> None:
        """Raises UserError, naming the files that are not as they were written (the first three)."""
        if found := self.problems():
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            raise UserError(
                f"{'; '.join(found[:3])}{more}; restore from a copy, or prepare {self.folder} again in a new folder."
            )


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Is this a folder of `data prepare`, finished or not?"""
    return os.path.isfile(os.path.join(path, RECIPE))


def open_prepared(folder: str | os.PathLike[str]) -> Prepared:
    """Opens a prepared folder; the shards are not read yet.

    Raises UserError where it is unfinished, damaged, or its tokenizer is not the one that the tokens were made with.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"There is no folder {path}; make one with `linearnexus data prepare SOURCE --output {path}`.")
    if not (path / MANIFEST).exists():
        if is_prepared(path):
            raise UserError(f"{path} is not finished; run the same `linearnexus data prepare` again: it goes on.")
        raise UserError(f"{path} has no {MANIFEST}; give a folder that `linearnexus data prepare` made.")
    try:
        data = (path / MANIFEST).read_bytes()
        manifest = json.loads(data)
        if manifest["version"] != VERSION:
            raise UserError(
                f"{path / MANIFEST} has version {manifest['version']}, and this program reads version {VERSION}; "
                "prepare the folder again."
            )
        for group in manifest["groups"]:
            for split in SPLITS:
                if not all(isinstance(group[split][name], int) for name in ("tokens", "documents", "bytes")):
                    raise ValueError("a count is no number")
            if any(
                not Path(name).is_relative_to(group["folder"]) or ".." in Path(name).parts for name in group["files"]
            ):
                raise ValueError("a file lies elsewhere")
        expected = manifest["tokenizer"]["sha256"]
        found = sha256(path / TOKENIZER)
    except FileNotFoundError as error:
        raise UserError(_wrong(path / TOKENIZER, "is missing")) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(_wrong(path / MANIFEST, f"cannot be read ({str(error) or type(error).__name__})")) from error
    if found != expected:
        raise UserError(
            f"{path / TOKENIZER} is not the tokenizer that the tokens of {path} were made with (its SHA-256 is "
            f"{found[:12]}..., the manifest's {expected[:12]}...); restore it from a copy, or prepare the folder again."
        )
    return Prepared(path, manifest, hashlib.sha256(data).hexdigest(), load(path / TOKENIZER))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(path: Path, what: str) -> str:
    return f"{path} {what}; restore it from a copy, or prepare the folder again."
