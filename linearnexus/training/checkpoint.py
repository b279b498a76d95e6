"""Checkpoints: safetensors and JSON in a folder that is either whole or absent, verified when read.

    checkpoints/step_00000500/{model.safetensors, optimizer.safetensors, state.json, manifest.json}

A checkpoint is written to a temporary folder, flushed to the disk and renamed; manifest.json has each file's SHA-256.
Reading verifies it and falls back to the newest good one, naming the bad file. Weights are named by their place,
blocks.7.mixer.wq.

Look first at: `save`, `newest_good`, `load_tree`.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from linearnexus.core.errors import UserError
from linearnexus.core.paths import sync

T = TypeVar("T")
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_FOLDER = re.compile(r"step_(\d{8,})")


def save(checkpoints: Path, step: int, model: Any, optimizer: Any, state: dict[str, Any]) -> Path:
    """Writes the checkpoint of `step` and returns its folder; an existing one of that step is replaced.

    Raises OSError (a full disk, say) with nothing half-written left behind.
    """
    folder, temporary = checkpoints / f"step_{step:08d}", checkpoints / f".step_{step:08d}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        _write_tensors(temporary / MODEL, model)
        _write_tensors(temporary / OPTIMIZER, optimizer)
        _write_text(temporary / STATE, json.dumps(state, indent=1))
        sums = {name: _sha256(temporary / name) for name in (MODEL, OPTIMIZER, STATE)}
        _write_text(temporary / MANIFEST, json.dumps({"step": step, "sha256": sums}, indent=1))
        sync(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync(checkpoints)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def steps(checkpoints: Path) -> list[int]:
    """The steps that have a checkpoint, in order, good or not."""
    if not checkpoints.is_dir():
        return []
    return sorted(int(match[1]) for path in checkpoints.iterdir() if (match := _FOLDER.fullmatch(path.name)))


def keep_only(checkpoints: Path, keep: set[int]) -> None:
    """Deletes the checkpoints of other steps, and temporary folders that a kill left."""
    for step in set(steps(checkpoints)) - keep:
        shutil.rmtree(checkpoints / f"step_{step:08d}", ignore_errors=True)
    for path in checkpoints.glob(".step_*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file; None if every file is as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())["sha256"]
        if set(sums) != {MODEL, OPTIMIZER, STATE}:
            return f"{folder / MANIFEST} is damaged"
        for name, expected in sums.items():
            if _sha256(folder / name) != expected:
                return f"{folder / name} is damaged (its SHA-256 is not the one in {MANIFEST})"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{folder / MANIFEST} is damaged"
    return None


def newest_good(checkpoints: Path, tell: Callable[[str], None], prefer: int | None = None) -> Path:
    """The checkpoint of step `prefer` if it is good, else the newest good one; `tell` hears of every bad one.

    Raises UserError if none is good.
    """
    found = steps(checkpoints)[::-1]
    if prefer is not None and prefer in found:
        found = [prefer, *(step for step in found if step != prefer)]
    bad: list[str] = []
    for step in found:
        folder = checkpoints / f"step_{step:08d}"
        wrong = problem(folder)
        if wrong is None:
            for sentence in bad:
                tell(f"{sentence}; using another checkpoint.")
            return folder
        bad.append(wrong)
    raise UserError(
        f"{checkpoints} has no good checkpoint ({'; '.join(bad)}); restore the files from a copy, or train a new run."
        if found
        else f"{checkpoints} has no checkpoint; to make one: linearnexus train --resume {checkpoints.parent}"
    )


def load_state(folder: Path) -> dict[str, Any]:
    """state.json of a verified checkpoint."""
    return json.loads((folder / STATE).read_text())


def load_tree(path: Path, like: T) -> T:
    """The arrays of a safetensors file in the structure of `like` (arrays or shapes).

    Raises UserError, naming the first tensor that is missing, superfluous or of another shape or type.
    """
    tensors = load_file(path)
    wanted, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(keys) for keys, _ in wanted]
    for name in [*names, *tensors]:
        if name not in tensors or name not in names:
            where = "the config asks for it" if name in names else "the config has no such tensor"
            raise UserError(f"{path} and its config.json do not fit: tensor {name}: {where}; restore either file.")
    arrays = []
    for name, (_, leaf) in zip(names, wanted, strict=True):
        array = tensors[name]
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise UserError(
                f"{path} and its config.json do not fit: tensor {name} is {array.dtype}{list(array.shape)}, and the "
                f"config asks for {leaf.dtype}{list(leaf.shape)}; restore either file."
            )
        arrays.append(jax.numpy.array(array))
    return jax.tree_util.tree_unflatten(structure, arrays)


def finite(tree: Any) -> bool:
    """Are all numbers of the tree finite?"""
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree) if leaf.dtype.kind in "fV")


def _write_tensors(path: Path, tree: Any) -> None:
    named = {_name(keys): np.asarray(leaf) for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    try:
        save_file(named, path)
    except SafetensorError as error:  # it wraps the system's error in text
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error
    sync(path)


def _name(keys: Any) -> str:
    """blocks.7.mixer.wq for the path of an array in a tree."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)
    sync(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
