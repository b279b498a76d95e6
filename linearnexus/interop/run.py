"""Converted weights as an ordinary run folder, and a run folder's weights on their way out.

Look first at: `to_run`, `from_run`, `open_checkpoint`.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from warnings import warn

from linearnexus.core.errors import UserError
from linearnexus.core.paths import atomic_folder
from linearnexus.core.tensor_file import write
from linearnexus.interop.checkpoint import Checkpoint, empty
from linearnexus.interop.families import expressed
from linearnexus.interop.folder import open_folder, read_json, write_folder
from linearnexus.interop.gguf_llama import open_gguf
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers import save as save_tokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer
from linearnexus.training import checkpoint, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.objective import merge_frozen
from linearnexus.training.parent import weights


def open_checkpoint(path: Path | str) -> tuple[ModelConfig, LanguageModel, Tokenizer]:
    """The model in a run folder, a Hugging Face folder or a GGUF file. Raises UserError, which names what is wrong."""
    place = Path(path)
    if not is_published(place):
        folder = run_folder.find(place)
        config, _ = run_folder.read_config(folder)
        good = checkpoint.chosen(folder / "checkpoints", "best", warn)
        return config.model, merge_frozen(*weights(folder, good)), load_tokenizer(folder)
    opened = open_published(place)
    return opened.config, opened.model(), opened.tokenizer


def is_published(path: Path) -> bool:
    """Is it a model from elsewhere (else it must be a run)? Raises UserError where its config.json is broken."""
    if path.is_file():
        return path.name != "latest"
    config = path / "config.json"
    return config.is_file() and "model_type" in read_json(config)


def open_published(path: Path) -> Checkpoint:
    """A Hugging Face folder or a GGUF file, checked and not yet read. Raises UserError."""
    return open_gguf(path) if path.is_file() else open_folder(path)


def to_run(source: Path, destination: Path) -> Checkpoint:
    """Writes a model from elsewhere as a run folder, whole or not at all. Raises UserError."""
    opened = open_published(source)
    with new_folder(destination) as folder:
        write_run(folder, opened)
    return opened


def from_run(
    source: Path,
    destination: Path,
    which: str = "best",
    on_message: Callable[[str], None] = warn,
    average: bool = False,
) -> str:
    """Writes a run as a Hugging Face folder, whole or not at all, and returns the family that it is of. `which`: the
    checkpoint, as in `load`. `on_message` hears of a tokenizer that cannot be written. Raises UserError."""
    run = run_folder.find(source)
    config, _ = run_folder.read_config(run)
    good = checkpoint.chosen(run / "checkpoints", which, on_message)
    family, settings = expressed(config.model)
    with new_folder(destination) as folder:
        path = good / checkpoint.MODEL
        merged = config.freezes_base or average
        if merged:  # adapters go out merged
            path = folder / "merged.tmp"
            checkpoint.write_tensors(path, merge_frozen(*weights(run, good, average=average)))
        file = checkpoint.open_tensors(path, empty(config.model))
        write_folder(folder, family, settings, config, file, load_tokenizer(run), on_message)
        if merged:
            path.unlink()
    return family.name


def write_run(folder: Path, opened: Checkpoint) -> None:
    """A run of no step: its config, its tokenizer, and one checkpoint without an optimizer."""
    shapes = opened.shapes
    config = TrainConfig(
        model=opened.config,
        preset=opened.family,
        data="",
        tokenizer="tokenizer.json",
        sequence_length=opened.context_length,
    )
    info = {"parameters": opened.parameters, "converted": {"from": opened.path.name, "family": opened.family}}
    save_tokenizer(opened.tokenizer, folder / "tokenizer.json")
    state = {"step": 0, "best": None}
    write_model = partial(_write, shapes=shapes, opened=opened)
    checkpoint.save_files(folder / "checkpoints", 0, {checkpoint.MODEL: write_model}, state)
    run_folder.write_config(folder, config, info)


def _write(path: Path, shapes: dict[str, tuple[int, ...]], opened: Checkpoint) -> None:
    write(path, shapes, opened.tensors())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `path` when all has gone well, and is gone otherwise. Raises UserError
    where `path` exists or cannot be written."""
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; give a new folder.")
    try:
        for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):  # by a kill
            shutil.rmtree(left, ignore_errors=True)
        with atomic_folder(path) as folder:
            yield folder
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}); make room, or give another place.") from error
