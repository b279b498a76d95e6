"""A run on disk: where it lives, its config and tokenizer, its metrics and samples.

    runs/NAME/  config.json  tokenizer.json  metrics.jsonl  samples.txt  report.html  checkpoints/
    runs/latest  the name of the newest run

Look first at: `create`, `find`, `Log`.
"""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linearnexus.core.config import from_json, to_json
from linearnexus.core.errors import UnknownNameError, UserError, unknown
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.paths import write_atomic
from linearnexus.core.renames import current_config
from linearnexus.models.own_mixers import load_own_mixers
from linearnexus.training.config import TrainConfig

jax = LazyPackage("jax")
RUNS = Path("runs")
STORYTELLER = "storyteller"  # the run that comes with the package, made by scripts/storyteller.py
PRETRAINED = {STORYTELLER: Path(__file__).parents[1] / "pretrained" / STORYTELLER}


def create(config: TrainConfig, name: str | None) -> Path:
    """Makes the folder of a new run: runs/NAME, or the first free runs/PRESET-DATA-N. A name with a separator is a
    path.

    Raises UserError where a run of that name exists, or the folder cannot be made.
    """
    if name is not None and Path(name).name in ("", ".."):
        raise UserError(f"--name is '{name}', which is no name of a folder; give one, such as --name first.")
    if name is not None and Path(name).name == "latest":
        raise UserError("'latest' stands for the newest run, so no run can have that name; choose another --name.")
    try:
        if name is not None:
            folder = Path(name) if Path(name).name != name else RUNS / name
            folder.mkdir(parents=True)
            return folder
        parts = [Path(re.sub(r":[0-9.]+$", "", part)).stem for part in config.data.split(",")]  # of a mixture
        stem = re.sub("[:=]", "-", f"{config.preset}-{'-'.join(filter(None, parts)) or 'text'}")  # of a task
        RUNS.mkdir(exist_ok=True)
        taken = {path.name for path in RUNS.iterdir()}
        number = next(n for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken)
        folder = RUNS / f"{stem}-{number}"
        folder.mkdir()
        return folder
    except FileExistsError as error:
        if name is None or not folder.is_dir():
            raise UserError(
                f"{error.filename} is in the way of the run's folder; move it or choose another --name."
            ) from error
        resumable = f", or go on with it: --resume {folder}" if (folder / "config.json").is_file() else ""
        raise UserError(f"{folder} exists and is not overwritten; choose another --name{resumable}.") from error
    except OSError as error:
        raise UserError(
            f"The run's folder {error.filename or name} cannot be made ({error.strerror}); choose another --name."
        ) from error


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a run given as a path, as a name below runs/, as runs/latest (or latest), or the one that comes
    with the package (storyteller).

    Raises UserError where there is none, naming the nearest one.
    """
    path = Path(name)
    for candidate in (path, RUNS / path):
        if candidate.name == "latest" and candidate.is_file():
            newest = candidate.parent / candidate.read_text().strip()
            if (newest / "config.json").is_file():
                return newest
            raise UserError(f"{candidate} names {newest}, which is not there any more; give another run's folder.")
        if (candidate / "config.json").is_file():
            return candidate
    if str(name) in PRETRAINED:
        return PRETRAINED[str(name)]
    if path.exists():
        raise UserError(f"{path} is not a run: it has no config.json; give a folder that `linearnexus train` made.")
    if not known():
        raise UserError(
            f"There is no run {path}, and none in {RUNS}/ yet; make one with `linearnexus train`, or "
            f"take {STORYTELLER}, which comes with LinearNexus."
        )
    raise unknown("run", path.name, [*known(), "latest", *PRETRAINED])


def known() -> list[str]:
    """The names of the runs in runs/."""
    folders = sorted(RUNS.iterdir()) if RUNS.is_dir() else []
    return [folder.name for folder in folders if (folder / "config.json").is_file()]


def remember_latest(folder: Path) -> None:
    """Points `latest`, beside the run, at it."""
    write_atomic(folder.parent / "latest", folder.name + "\n")


def write_config(folder: Path, config: TrainConfig, info: dict[str, Any]) -> None:
    """config.json: the config, and under "info" what was found out (parameters, corpus)."""
    write_atomic(folder / "config.json", json.dumps({**to_json(config), "info": info}, indent=1) + "\n")


def read_config(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """The config of a run and its info. Raises UserError, naming the file, where it cannot be read."""
    path = folder / "config.json"
    load_own_mixers()
    try:
        values = current_config(json.loads(path.read_text()))
        info = values.pop("info")
        if "converted" not in info and not isinstance(info["corpus"]["sha256"], str):
            raise ValueError("the corpus's sha256 is no text")
        config = from_json(values)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        said = str(error).rstrip(".")
        if isinstance(error, UnknownNameError) and error.kind == "config type":
            raise UserError(
                f"{path} cannot be read as a run's config ({said.partition(';')[0]}); where the run uses code of "
                "your own, set LINEARNEXUS_PLUGINS (an optimizer, an objective) or LINEARNEXUS_MIXERS (a mixer) to its "
                "file."
            ) from error
        raise UserError(f"{path} cannot be read as a run's config ({said}); restore it, or train again.") from error
    if not isinstance(config, TrainConfig):
        raise UserError(f"{path} is no training config; give a folder that `linearnexus train` made.")
    return config, info


def check_trained(folder: Path, info: dict[str, Any]) -> None:
    """Raises UserError for a run that `linearnexus convert` made, or that comes with the package: there is no training
    that could go on."""
    if folder in PRETRAINED.values():
        raise UserError(
            f"{folder.name} comes with LinearNexus and stays as it is; begin a training of your own with its weights: "
            f"linearnexus train --from {folder.name} --data ..."
        )
    if "converted" in info:
        raise UserError(
            f"{folder} holds converted weights, of whose training nothing else is known, so it cannot go on; begin a "
            f"training of your own with them: linearnexus train --from {folder} --data ..."
        )


def environment() -> dict[str, Any]:
    """What the bits of a run depend on, beside its config."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "linearnexus": version("linearnexus"),
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "jaxlib", "numpy", "optax")},
        "machine": f"{platform.system()} {platform.machine()}",
        "devices": [device.device_kind for device in jax.devices()],
        "cores": cores,
        "threads": os.environ.get("NPROC") or os.environ.get("OMP_NUM_THREADS") or "all",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


class Log:
    """metrics.jsonl and samples.txt: appended to, and cut back to a checkpoint's length when a run goes on from it."""

    def __init__(self, folder: Path, lengths: tuple[int, int] | None = None) -> None:
        self._files = [(folder / name).open("ab", buffering=0) for name in ("metrics.jsonl", "samples.txt")]
        for file, length in zip(self._files, lengths or (), strict=False):
            file.truncate(min(length, file.tell()))  # never longer: that would fill the file with zeros
            file.seek(0, os.SEEK_END)  # truncating leaves the position behind the new end, and `lengths` asks for it

    def row(self, values: dict[str, Any]) -> None:
        self._write(0, json.dumps(values) + "\n")

    def sample(self, step: int, text: str) -> None:
        self._write(1, f"=== step {step} ===\n{text}\n\n")

    def lengths(self) -> tuple[int, int]:
        """Bytes of both files, all of them on the disk."""
        for file in self._files:
            os.fsync(file.fileno())
        return self._files[0].tell(), self._files[1].tell()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _write(self, number: int, text: str) -> None:
        file, data = self._files[number], text.encode()
        before = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:  # a full disk: no half row stays
            file.truncate(before)
            file.seek(before)
            raise
