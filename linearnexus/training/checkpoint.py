"""Checkpoints: safetensors and JSON in a folder that is either whole or absent, verified when read.

    checkpoints/step_00000500/{model.safetensors, optimizer.safetensors, state.json, manifest.json}

A checkpoint is written to a temporary folder, flushed to the disk and renamed; manifest.json has each file's SHA-256.
Reading verifies it and falls back to the newest good one, naming the bad file. Weights are named by their place,
blocks.7.mixer.wq, each layer's by itself, also where memory holds the layers stacked.

Look first at: `save`, `newest_good`, `load_tree`.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.module import matrix_dims, named_leaves, roles
from linearnexus.core.paths import atomic_folder, sync
from linearnexus.core.renames import RESHAPED_TENSORS, SPLIT_TENSORS, current_name
from linearnexus.core.tensor_file import DTYPES, TensorFile, TensorPlace, write_arrays
from linearnexus.models.quantize import Quantizer
from linearnexus.models.stacked import layer_names, unstacked, unstacked_shapes

T = TypeVar("T")
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
STREAM = "stream.safetensors"  # what a stream recorded
AVERAGE = "ema.safetensors"  # the moving average of the weights
FILE_NAME = re.compile(r"\w+\.(safetensors|json)")
_FOLDER = re.compile(r"step_(\d{8,})")


def save(checkpoints: Path, step: int, trees: Mapping[str, Any], state: dict[str, Any]) -> Path:
    """Writes the checkpoint of `step` and returns its folder; an existing one of that step is replaced.

    trees: {file name: tree of arrays}. Raises OSError (a full disk, say) with nothing half-written left behind.
    """
    return save_files(
        checkpoints, step, {name: partial(write_tensors, tree=tree) for name, tree in trees.items()}, state
    )


def save_files(
    checkpoints: Path, step: int, write: Mapping[str, Callable[[Path], None]], state: dict[str, Any]
) -> Path:
    """`save` with functions that write and flush the model and, where there is one, the optimizer."""
    folder = checkpoints / f"step_{step:08d}"
    with atomic_folder(folder) as temporary:
        for name, write_file in write.items():
            write_file(temporary / name)
        _write_text(temporary / STATE, json.dumps(state, indent=1))
        sums = {name: sha256(temporary / name) for name in (*write, STATE)}
        _write_text(temporary / MANIFEST, json.dumps({"step": step, "sha256": sums}, indent=1))
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
        if not {MODEL, STATE} <= set(sums) or not all(FILE_NAME.fullmatch(name) for name in sums):
            return f"{folder / MANIFEST} is damaged"
        for name, expected in sums.items():
            if sha256(folder / name) != expected:
                return f"{folder / name} is damaged (its SHA-256 is not the one in {MANIFEST})"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{folder / MANIFEST} is damaged"
    return None


def newest_good(checkpoints: Path, on_message: Callable[[str], None], prefer: int | None = None) -> Path:
    """The checkpoint of step `prefer` if it is good, else the newest good one; `on_message` hears of every bad one.

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
                on_message(f"{sentence}; using another checkpoint.")
            return folder
        bad.append(wrong)
    raise UserError(
        f"{checkpoints} has no good checkpoint ({'; '.join(bad)}); restore the files from a copy, or train a new run."
        if found
        else f"{checkpoints} has no checkpoint; to make one: linearnexus train --resume {checkpoints.parent}"
    )


def chosen(checkpoints: Path, which: str | int, on_message: Callable[[str], None]) -> Path:
    """The checkpoint with the lowest validation loss ("best"), the "last" one, or that of a step; the newest good one
    where it is damaged, which `on_message` hears. Raises UserError for a step that has none."""
    found, prefer = steps(checkpoints), None
    if which == "best":
        newest = load_state(newest_good(checkpoints, on_message))
        prefer = newest["best"][1] if newest["best"] else newest["step"]
    elif which != "last":
        if not str(which).isdigit() or int(which) not in found:
            raise unknown("checkpoint", str(which), ["best", "last", *map(str, found)])
        prefer = int(which)
    return newest_good(checkpoints, on_message, prefer)


def load_state(folder: Path) -> dict[str, Any]:
    """state.json of a verified checkpoint."""
    return json.loads((folder / STATE).read_text())


def load_tree(path: Path, like: T, keep: Quantizer | None = None) -> T:
    """The arrays of a safetensors file in the structure of `like` (arrays or shapes), whose layers may be stacked.
    `keep`: what is made of each by its role, one after another, so that memory never holds all that is in the file.

    Raises UserError, naming the first tensor that is missing, superfluous or of another shape or type.
    """
    file = open_tensors(path, like)

    def read(names: tuple[str, ...], leaf: Any) -> Any:
        layers = [file.read(name) for name in names]
        array = layers[0] if len(layers) == 1 else np.stack(layers)
        return jax.numpy.array(array.reshape(leaf.shape))

    arrays: Iterable[Any] = map(read, layer_names(like), jax.tree.leaves(like))
    if keep is not None:
        arrays = map(keep, arrays, jax.tree.leaves(roles(like)), jax.tree.leaves(matrix_dims(like)))
    return jax.tree_util.tree_unflatten(jax.tree.structure(like), arrays)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file, by their names."""
    file = TensorFile(path)
    return {name: np.array(file.read(name)) for name in file.places}


def open_tensors(path: Path, like: Any) -> TensorFile:
    """The file of `load_tree`, with its errors, before any number is read."""
    file, wanted = TensorFile(path), named_leaves(unstacked_shapes(like))
    file.places = _current_places(file.places, {name: leaf.shape for name, leaf in wanted.items()})
    for name in [*wanted, *file.places]:
        if name not in file.places or name not in wanted:
            where = "the config asks for it" if name in wanted else "the config has no such tensor"
            raise UserError(f"{path} and its config.json do not fit: tensor {name}: {where}; restore either file.")
    for name, leaf in wanted.items():
        dtype, shape = DTYPES[file.places[name].dtype][1], file.places[name].shape
        if shape != leaf.shape or dtype != leaf.dtype:
            raise UserError(
                f"{path} and its config.json do not fit: tensor {name} is {dtype}{list(shape)}, and the "
                f"config asks for {leaf.dtype}{list(leaf.shape)}; restore either file."
            )
    return file


def _current_places(places: Mapping[str, TensorPlace], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, TensorPlace]:
    """The tensors of a file under their current names, in their current shapes, each cut into its current parts. The
    same for weights, and for what an optimizer or an average keeps of each."""
    made = {}
    for name, place in places.items():
        name = current_name(name)
        above, dot, last = name.rpartition(".")
        shape, parts = wanted.get(name), [f"{above}{dot}{part}" for part in SPLIT_TENSORS.get(last, ())]
        if parts and shape is None and all(part in wanted for part in parts):
            ends = list(accumulate(wanted[part][-1] for part in parts))
            if ends[-1] == place.shape[-1]:
                for part, end in zip(parts, ends, strict=True):
                    size = wanted[part][-1]
                    made[part] = replace(
                        place, shape=(*place.shape[:-1], size), stored=place.shape, columns=(end - size, end)
                    )
                continue
        if last in RESHAPED_TENSORS and shape is not None and math.prod(shape) == math.prod(place.shape):
            place = replace(place, shape=shape, stored=place.shape)
        made[name] = place
    return made


def all_finite(tree: Any) -> bool:
    """Are all numbers of the tree finite?"""
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree) if leaf.dtype.kind in "fV")


def write_tensors(path: Path, tree: Any) -> None:
    """The arrays of a tree by their places, flushed to the disk. Raises OSError."""
    write_arrays(path, named_leaves(unstacked(jax.tree.map(np.asarray, tree))))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)
    sync(path)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
