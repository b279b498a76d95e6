"""Encoded documents, in order, to groups of shards: duplicates, splits, and whole groups on the disk.

Look first at: `Writer.add`, `Seen`.
"""

import hashlib
import io
import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.paths import atomic_folder
from linearnexus.data.documents import ReadPosition, TextChunk
from linearnexus.data.encode import Encoded
from linearnexus.data.shards import SPLITS
from linearnexus.tokenizers.tokenizer import Tokenizer, id_dtype

SHARD_TOKENS = 2**24
COUNTS = ("exact_duplicates", "near_duplicates", "dropped", "empty", "bad", "inexact_cuts")


@dataclass(frozen=True)
class PrepareSettings:
    """What decides the bytes of a prepared folder, beside the sources."""

    tokenizer: str = "byte"
    validation_fraction: float = 0.1
    drop_duplicates: bool = False
    text_field: str = "text"
    separator: str | None = None
    skip_bad: bool = False
    shard_tokens: int = SHARD_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise UserError(
                f"validation_fraction is {self.validation_fraction}; give a share of the documents, such as 0.1."
            )
        if self.shard_tokens < 1:
            raise UserError(f"shard_tokens is {self.shard_tokens}; give 1 or more, such as {SHARD_TOKENS}.")
        if self.separator == "":
            raise UserError(r"separator is empty; give what stands between documents, such as '\n\n'.")


class Seen:
    """A set of 64-bit numbers in 8 bytes each: sorted runs, each less than half as long as the one before."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> np.ndarray:
        """bool: which of the keys (uint64) were there, or stand further ahead among them."""
        fresh, first = np.unique(keys, return_index=True)
        known = np.zeros(len(fresh), bool)
        for run in self.runs:
            known |= run[np.minimum(np.searchsorted(run, fresh), len(run) - 1)] == fresh
        repeated = np.ones(len(keys), bool)
        repeated[first[~known]] = False
        if not known.all():
            self.runs.append(fresh[~known])
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            self.runs.append(np.concatenate([self.runs.pop(), self.runs.pop()]))
            self.runs[-1].sort()
        return repeated


@dataclass
class _Split:
    """What a group has so far of one split."""

    parts: list[np.ndarray] = field(default_factory=list)
    starts: list[np.ndarray] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)
    tokens: int = 0
    documents: int = 0
    bytes: int = 0


class Writer:
    """Fills groups; a thread writes one while the next is filled. All that it must remember of earlier ones is in their
    group.json and hashes."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, settings: PrepareSettings) -> None:
        self.folder, self.settings, self.dtype = folder, settings, id_dtype(tokenizer.vocab_size)
        self.groups: list[dict[str, Any]] = []
        self.texts, self.words = Seen(), Seen()
        self.position, self.dropping = ReadPosition(), False  # dropping: the long document that the reader is in
        while (path := folder / f"{len(self.groups):05d}" / "group.json").exists():
            group = json.loads(path.read_text())
            for split in SPLITS:
                hashes = np.load(path.parent / f"{split}_hashes.npy", allow_pickle=False)
                self.texts.add(hashes[:, 0])
                self.words.add(hashes[hashes[:, 1] != 0, 1])
            self.position, self.dropping = ReadPosition(**group.pop("place")), group.pop("dropping")
            self.groups.append(group)
        self.tokens = sum(group[split]["tokens"] for group in self.groups for split in SPLITS)
        self.documents = sum(group[split]["documents"] for group in self.groups for split in SPLITS)
        self._started = len(self.groups)
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._new_group()

    def add(self, chunk: TextChunk, encoded: Encoded) -> None:
        """The next chunk. A group that has its tokens is written."""
        texts, words = encoded.hashes[:, 0], encoded.hashes[:, 1]
        begins = np.full(len(texts), chunk.begins)
        repeated = np.zeros(len(texts), bool)
        if chunk.begins:
            repeated = self.texts.add(texts)
            near = np.zeros(len(texts), bool)
            near[words != 0] = self.words.add(words[words != 0])
            self.counts["near_duplicates"] += int((near & ~repeated).sum())
            self.counts["exact_duplicates"] += int(repeated.sum())
        drop = repeated & self.settings.drop_duplicates
        if chunk.document is not None:
            self.dropping = bool(drop[0]) if chunk.begins else self.dropping
            drop = np.array([self.dropping])
        self.counts["dropped"] += int((drop & begins).sum())
        self.counts["empty"] += chunk.empty
        self.counts["bad"] += chunk.bad
        self.counts["inexact_cuts"] += chunk.inexact
        # the top 53 bits as a number from 0 to 1
        held_out = (texts >> np.uint64(11)).astype(float) / 2**53 < self.settings.validation_fraction
        for split, here in (("train", ~held_out & ~drop), ("validation", held_out & ~drop)):
            if here.any():
                self._take(self.splits[split], here, encoded, begins)
        self.position, self.changed = chunk.position, True
        if sum(split.tokens for split in self.splits.values()) >= self.settings.shard_tokens:
            self._write_group()

    def finish(self) -> None:
        """Writes the last group. Raises UserError where a split has no document."""
        if self.changed:
            self._write_group()
        self.wait()
        train, validation = (sum(group[split]["documents"] for group in self.groups) for split in SPLITS)
        if train and (validation or not self.settings.validation_fraction):
            return
        shutil.rmtree(self.folder)  # the same command would end here again
        if not train + validation:
            raise UserError("The sources hold no text; give some that do.")
        raise UserError(
            f"All of the {train + validation:,} documents fell to {'training' if train else 'validation'} (the hash of "
            "its text decides a document's side), where some are needed on both sides; a text file is one document "
            r"unless --separator says what stands between documents, such as '\n\n' for a blank line."
        )

    def _take(self, split: _Split, here: np.ndarray, encoded: Encoded, begins: np.ndarray) -> None:
        """The texts `here` of a chunk to a split."""
        lengths = encoded.lengths[here]
        tokens = encoded.tokens if here.all() else encoded.tokens[np.repeat(here, encoded.lengths)]
        starts = split.tokens + np.cumsum(lengths) - lengths
        split.parts.append(tokens)
        split.starts.append(starts[begins[here]])
        split.hashes.append(encoded.hashes[here & begins])
        split.tokens += len(tokens)
        split.documents += int((here & begins).sum())
        split.bytes += int(encoded.sizes[here].sum())
        self.tokens += len(tokens)
        self.documents += int((here & begins).sum())

    def _new_group(self) -> None:
        self.splits = {split: _Split() for split in SPLITS}
        self.counts, self.changed = dict.fromkeys(COUNTS, 0), False

    def _write_group(self) -> None:
        """Hands the group to the thread that writes, once the one before it is on the disk."""
        self.wait()
        counts = {
            name: {"tokens": split.tokens, "documents": split.documents, "bytes": split.bytes}
            for name, split in self.splits.items()
        }
        group = {"folder": f"{self._started:05d}", **counts, **self.counts}
        state = {"place": asdict(self.position), "dropping": self.dropping}
        self._writing = self._pool.submit(self._to_disk, group, state, self.splits)
        self._started += 1
        self._new_group()

    def wait(self) -> None:
        """Until all groups that were begun are on the disk. Raises the OSError of one that could not be written."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        self._pool.shutdown()

    def _to_disk(self, group: dict[str, Any], state: dict[str, Any], splits: dict[str, _Split]) -> None:
        with atomic_folder(self.folder / group["folder"]) as temporary:
            files = {}
            for name, split in splits.items():
                arrays = (
                    ("tokens", split.parts, np.empty(0, self.dtype)),
                    ("starts", split.starts, np.empty(0, np.int64)),
                    ("hashes", split.hashes, np.empty((0, 2), np.uint64)),
                )
                for array, parts, empty in arrays:
                    file = f"{name}_{array}.npy"
                    files[f"{group['folder']}/{file}"] = _write_array(temporary / file, parts, empty)
            group["files"] = files
            (temporary / "group.json").write_text(json.dumps(group | state, indent=1) + "\n")
        self.groups.append(group)


def _write_array(path: Path, parts: list[np.ndarray], empty: np.ndarray) -> dict[str, Any]:
    """The parts, which are never joined in memory, as one .npy file: its size and SHA-256."""
    shape = (sum(map(len, parts)), *empty.shape[1:])
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(empty.dtype)
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for data in (header.getvalue(), *(part.tobytes() for part in parts)):
            file.write(data)
            digest.update(data)
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}
