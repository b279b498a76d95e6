"""Folders as Hugging Face lays them out: config.json, model.safetensors (or parts of it and an index), tokenizer.json.

Look first at: `open_folder`, `write_folder`.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.paths import sync
from linearnexus.core.tensor_file import TensorFile, shown, write
from linearnexus.interop.checkpoint import Checkpoint, Shape, check, shapes_of, their_shapes
from linearnexus.interop.families import family_of
from linearnexus.interop.layouts import Entry
from linearnexus.interop.settings import Family, PublishedSettings
from linearnexus.interop.tokenizer_files import write_tokenizer
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer
from linearnexus.training.config import TrainConfig

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_JSON = 100_000_000  # bytes of config.json or the index
PART = 5_000_000_000  # bytes of a file of weights, about, above which a model gets several
LENGTHS = ("n_positions", "max_position_embeddings")  # the text's, by any of these names
DEFAULT_LENGTH = 2048


class FolderSource:
    """The tensors of all files of a folder. `prefix`: of the names, where the files leave it out."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._files: dict[str, tuple[TensorFile, str]] = {}
        for file in _files(folder):
            for name in file.places:
                if name in self._files:
                    both = f"{self._files[name][0].path} and in {file.path}"
                    raise UserError(f"Tensor {shown(name)} is in {both}; take the model again.")
                self._files[name] = file, name
        if prefix and not any(name.startswith(prefix) for name in self._files):
            bare = {name for name in self._files if not name.startswith("lm_head.")}
            self._files = {prefix + name if name in bare else name: place for name, place in self._files.items()}
        places = {name: file.places[inner] for name, (file, inner) in self._files.items()}
        self.kinds: Mapping[str, tuple[str, Shape]] = {
            name: (place.dtype, place.shape) for name, place in places.items()
        }

    def read(self, name: str) -> np.ndarray:
        file, inner = self._files[name]
        return file.read(inner).astype(np.float32, copy=False)

    def where(self, name: str) -> str:
        return str(self._files[name][0].path)


def open_folder(folder: Path) -> Checkpoint:
    """Raises UserError for a folder that is broken or holds what cannot be represented."""
    path = folder / "config.json"
    values = read_json(path)
    given = PublishedSettings(values, str(path))
    family = family_of(given.get("model_type", str, ""), str(path))
    config = family.read(given)
    length = next((given.whole(name) for name in LENGTHS if name in given), DEFAULT_LENGTH)
    source = FolderSource(folder, family.prefix)
    tokenizer = load_tokenizer(folder)
    entries = family.table(config)
    return check(Checkpoint(folder, family.name, config, tokenizer, length, entries, source), family.ignored)


def write_folder(
    folder: Path,
    family: Family,
    settings: dict[str, Any],
    config: TrainConfig,
    file: TensorFile,
    tokenizer: Tokenizer,
    on_message: Callable[[str], None],
    part: int = PART,
) -> None:
    """Writes the weights of a run into an empty folder, tensor by tensor. `settings`: what the family's config.json
    says of the model; `on_message` hears of a tokenizer that cannot be written."""
    texts = write_tokenizer(tokenizer)
    if not texts:
        on_message(f"The tokenizer ({tokenizer.to_json()['kind']}) cannot be a tokenizer.json, so the folder has none.")
    settings = settings | {
        "vocab_size": config.model.vocab_size,
        "tie_word_embeddings": config.model.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": tokenizer.end_token,
        "torch_dtype": "float32",
    }
    if not config.model.learned_positions:
        settings["max_position_embeddings"] = config.sequence_length
    entries = family.table(config.model)
    shapes = their_shapes(entries, shapes_of(config.model))
    parts = _parts(shapes, part)
    arrays = _arrays(entries, file)
    names = [WEIGHTS]
    if len(parts) > 1:
        names = [f"model-{n + 1:05d}-of-{len(parts):05d}.safetensors" for n in range(len(parts))]
        places = {name: where for where, one in zip(names, parts, strict=True) for name in one}
        size = 4 * sum(map(math.prod, shapes.values()))
        texts[INDEX] = json.dumps({"metadata": {"total_size": size}, "weight_map": places}, indent=2) + "\n"
    texts["config.json"] = json.dumps(settings, indent=2) + "\n"
    for name, one in zip(names, parts, strict=True):
        write(folder / name, one, (next(arrays) for _ in one), {"format": "pt"})
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        sync(folder / name)


def _arrays(entries: list[Entry], file: TensorFile) -> Iterator[np.ndarray]:
    """Their tensors, in the order of the entries."""
    for entry in entries:
        if entry.theirs:
            yield from entry.layout.to_theirs([file.read(name) for name in entry.ours.split()])


def _parts(shapes: dict[str, Shape], limit: int) -> list[dict[str, Shape]]:
    """The tensors of each file: as many as fit, at least one."""
    parts: list[dict[str, Shape]] = [{}]
    left = limit
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        if size > left and parts[-1]:
            parts.append({})
            left = limit
        parts[-1][name] = shape
        left -= size
    return parts


def _files(folder: Path) -> list[TensorFile]:
    """The folder's files of weights. Raises UserError where one is missing, or an index names what lies elsewhere."""
    if (folder / WEIGHTS).exists():
        return [TensorFile(folder / WEIGHTS)]
    index = folder / INDEX
    if not index.exists():
        other = [path.name for path in sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pth"))]
        also = f" ({other[0]} is a pickle, which could run a stranger's program and is not opened)" if other else ""
        raise UserError(f"{folder} has no {WEIGHTS} and no {INDEX}{also}; take the model as safetensors.")
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"{index} has no weight_map from tensors to files; take it again from where it came from.")
    files = {}
    for name in sorted(set(places.values())):
        if name != Path(name).name or "\\" in name or name in ("", ".", ".."):
            raise UserError(f"{index} names the file {name!r:.120}, which is not in its folder; it is not opened.")
        files[name] = TensorFile(folder / name)
    for tensor, name in places.items():
        if tensor not in files[name].places:
            raise UserError(f"{index} says that tensor {shown(tensor)} is in {name}, which has none; take both again.")
    return list(files.values())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a bounded size. Raises UserError, which names the file."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); restore it from a copy.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is no JSON that can be read ({error}); take it again from where it came from."
        ) from error
    return values
