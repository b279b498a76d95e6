"""What a run trains on, a text, prepared folders or a task, as batches; and the next batch, made while a step runs.

    --data stories                a corpus, a file, a folder, a pattern: one text, its last part for validation
    --data tokens                 a folder that `linearnexus data prepare` made
    --data a:0.7,b:0.3            a mixture of such folders, by weights; without weights by their sizes
    --data recall:pairs=16        a task (data/tasks.py)

Look first at: `open_source`, `Source`, `Ahead`.
"""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, Batches, MixedBatches, WindowBatches, evaluation_windows, split
from linearnexus.data.corpora import CORPORA, load_corpus
from linearnexus.data.order import random
from linearnexus.data.packing import PackedBatches
from linearnexus.data.shards import Prepared, is_prepared, open_prepared
from linearnexus.data.tasks import HELD_OUT_ROWS, Task, TaskBatches, open_task
from linearnexus.data.tokens import Tokens
from linearnexus.tokenizers import SymbolTokenizer, build, load
from linearnexus.tokenizers.tokenizer import Tokenizer
from linearnexus.training.config import TrainConfig

COUNTED = 2**22  # tokens of a split that its frequencies are counted in
SEEDS = 2**64 - 2  # counter of the random stream that the seeds of a mixture's sources come from


class Evaluation(NamedTuple):
    """Part of a validation split."""

    share: float  # of this part's mean loss in the whole
    batches: Iterable[tuple[Batch, np.ndarray]]  # with the weights [B,T] of the targets


class Source(ABC):
    """What a run trains on: batches for its steps and for its evaluations, and the tokenizer that made them."""

    tokenizer: Tokenizer
    tokenizer_name: str  # for people
    tokenizer_spec: str | None  # for config.json; None: the data has its own tokenizer
    info: dict[str, Any]  # for config.json: name, sha256
    notes: tuple[str, ...] = ()  # sentences for the user, told when a run begins
    stop: tuple[str, ...] = ()  # texts that end a sample
    asks: ClassVar[bool] = False  # does it ask for answers, so that their accuracy is measured?

    @property
    @abstractmethod
    def train_tokens(self) -> int:
        """0: without end."""

    @property
    @abstractmethod
    def validation_tokens(self) -> int: ...

    @property
    @abstractmethod
    def first_token(self) -> int:
        """What a sample may begin with."""

    @abstractmethod
    def batches(self, config: TrainConfig) -> Batches:
        """The training batches of a run. Raises UserError where there is too little to train on."""

    @abstractmethod
    def evaluation(self, config: TrainConfig) -> list[Evaluation]:
        """The validation batches of a run, the same every time. Raises UserError where there is too little."""

    def prompt(self, text: str) -> str | list[int]:
        """What a sample begins with, as text or ids."""
        return text

    def frequencies_loss(self) -> float | None:
        """The validation loss of one who knows only how frequent each token is, in nats; None: data without end."""
        return None

    def verify(self) -> None:  # noqa: B027 (most sources have nothing to verify)
        """Raises UserError, naming the file, where one is not as it was written."""


@dataclass(frozen=True)
class TextSource(Source):
    """A text or prepared folders, in windows."""

    tokenizer: Tokenizer
    tokenizer_name: str
    tokenizer_spec: str | None
    info: dict[str, Any]
    train: tuple[np.ndarray | Tokens, ...]  # of each text
    validation: tuple[np.ndarray | Tokens, ...]
    weights: tuple[float, ...] = (1.0,)  # of each text, their sum is 1
    prepared: tuple[Prepared, ...] = ()  # none: a plain text

    @property
    def train_tokens(self) -> int:
        return sum(map(len, self.train))

    @property
    def validation_tokens(self) -> int:
        return sum(map(len, self.validation))

    @property
    def first_token(self) -> int:
        return int(Tokens.of(self.train[0]).read(0, 1)[0])

    def batches(self, config: TrainConfig) -> Batches:
        length, size = config.sequence_length, config.batch_size
        parts: list[Batches] = []
        for number, ids in enumerate(self.train):
            seed = config.seed if len(self.train) == 1 else int(random(config.seed, SEEDS, number + 1)[-1])
            if config.packing == "best-fit":
                parts.append(PackedBatches(Tokens.of(ids), length, size, seed))
            else:
                parts.append(WindowBatches(ids, length, size, seed, config.order))
        return parts[0] if len(parts) == 1 else MixedBatches(parts, self.weights, size, config.seed)

    def evaluation(self, config: TrainConfig) -> list[Evaluation]:
        length, size, limit = config.sequence_length, config.batch_size, config.eval_batches or None
        return [
            Evaluation(share, evaluation_windows(ids, length, size, limit))
            for ids, share in zip(self.validation, self.weights, strict=True)
        ]

    def frequencies_loss(self) -> float:
        size = self.tokenizer.vocab_size
        shares, frequent = np.zeros(size), []
        for train, validation, weight in zip(self.train, self.validation, self.weights, strict=True):
            counts, met = (np.bincount(_first(ids), minlength=size)[:size] for ids in (train, validation))
            shares += weight * (counts + 1) / (counts.sum() + size)
            frequent.append(weight * met / met.sum())
        return float(-sum(frequent) @ np.log(shares))

    def verify(self) -> None:
        for prepared in self.prepared:
            prepared.verify()


def _first(ids: np.ndarray | Tokens) -> np.ndarray:
    """Enough of the tokens to count them."""
    return np.asarray(Tokens.of(ids).read(0, min(len(ids), COUNTED)))


@dataclass(frozen=True)
class TaskSource(Source):
    """A task's rows, without end."""

    task: Task
    tokenizer: Tokenizer
    info: dict[str, Any]
    tokenizer_name: str = "its own symbols"
    tokenizer_spec: str | None = None
    asks: ClassVar[bool] = True

    @property
    def train_tokens(self) -> int:
        return 0

    @property
    def validation_tokens(self) -> int:
        return HELD_OUT_ROWS * self.task.length

    @property
    def first_token(self) -> int:
        return 0

    def batches(self, config: TrainConfig) -> Batches:
        return TaskBatches(self.task, config.batch_size, config.seed)

    def evaluation(self, config: TrainConfig) -> list[Evaluation]:
        rows = min(HELD_OUT_ROWS, config.eval_batches * config.batch_size or HELD_OUT_ROWS)
        return [Evaluation(1.0, self.task.held_out(config.batch_size, rows))]


def _open_task(config: TrainConfig) -> TaskSource | None:
    """The task that --data names; None: it names none. Raises UserError for settings that a task does not have."""
    task = open_task(config.data)
    if task is None:
        return None
    if config.tokenizer is not None:
        raise UserError(f"tokenizer is {config.tokenizer}, but a task has its own symbols; leave --tokenizer out.")
    if config.packing == "best-fit":
        raise UserError(f"packing is best-fit, and {config.data} has no documents; leave --packing out.")
    if config.sequence_length != task.length:
        raise UserError(
            f"sequence_length is {config.sequence_length}, and the rows of {config.data} have {task.length} tokens; "
            f"leave --sequence-length out, or write length={config.sequence_length} in --data."
        )
    digest = hashlib.sha256(str(task).encode()).hexdigest()
    return TaskSource(task, SymbolTokenizer(task.symbols), {"name": str(task), "sha256": digest})


def check_source(config: TrainConfig) -> None:
    """Raises UserError for data that cannot be trained on, as far as that can be told soon and without JAX."""
    if _open_task(config) is None and not _prepared(config) and config.data not in CORPORA:
        load_corpus(config.data)


def open_source(config: TrainConfig, tokenizer: Path | None = None, sha256: str | None = None) -> Source:
    """The data of a run; of one that goes on, with its tokenizer's file and the digest of what it began with. Raises
    UserError."""
    if (task := _open_task(config)) is not None:
        _unchanged(config, task.info["sha256"], sha256)
        return task
    found = _prepared(config)
    if found:
        source = _open_prepared(config, found)
        _unchanged(config, source.info["sha256"], sha256)
        return source
    corpus = load_corpus(config.data)
    digest = hashlib.sha256(corpus.text.encode("utf-8", "surrogatepass")).hexdigest()
    _unchanged(config, digest, sha256)  # before the old tokenizer meets a new character
    name = config.tokenizer or ("char" if tokenizer is None else str(tokenizer))
    built = build(name, corpus.text) if tokenizer is None else load(tokenizer)
    train, validation = split(built.encode_array(corpus.text), config.validation_fraction)
    info = {"name": corpus.name, "characters": len(corpus.text), "sha256": digest}
    return TextSource(built, name, name, info, (train,), (validation,))


def _unchanged(config: TrainConfig, sha256: str, before: str | None) -> None:
    if before not in (None, sha256):
        raise UserError(
            f"The text of {config.data} has changed since the run began, so it cannot go on as it was; restore the "
            "text, or train a new run."
        )


def _open_prepared(config: TrainConfig, found: list[tuple[Prepared, float | None]]) -> TextSource:
    folders = tuple(prepared for prepared, _ in found)
    for prepared in folders:
        if not prepared.manifest["validation"]["tokens"]:
            raise UserError(
                f"{prepared.folder} has no validation documents; prepare it again with a --validation-fraction above 0."
            )
    given = [weight for _, weight in found if weight is not None]
    weights = given or [float(prepared.manifest["train"]["tokens"]) for prepared in folders]
    name = ", ".join(str(prepared.folder) for prepared in folders)
    digest = folders[0].sha256
    if len(folders) > 1:
        digest = hashlib.sha256(" ".join(prepared.sha256 for prepared in folders).encode()).hexdigest()
    return TextSource(
        folders[0].tokenizer,
        folders[0].manifest["tokenizer"]["name"],
        None,
        {"name": name, "bytes": sum(prepared.manifest["train"]["bytes"] for prepared in folders), "sha256": digest},
        tuple(prepared.tokens("train") for prepared in folders),
        tuple(prepared.tokens("validation") for prepared in folders),
        tuple(weight / sum(weights) for weight in weights),
        folders,
    )


def _prepared(config: TrainConfig) -> list[tuple[Prepared, float | None]]:
    """The prepared folders that --data names, opened, and their weights; none: it is a text."""
    parts = _parts(config.data)
    if not any(is_prepared(path) for path, _ in parts):
        if config.packing == "best-fit":
            raise UserError(
                f"packing is best-fit, which packs whole documents, and {config.data} is one text; make documents of "
                f"it with `linearnexus data prepare {config.data} --output FOLDER`, or leave --packing out."
            )
        return []
    weights = [weight for _, weight in parts]
    if None in weights and any(weights):
        raise UserError(f"Some sources of --data {config.data} have a weight and some have none; give all or none one.")
    if any(weight is not None and not 0 < weight < math.inf for weight in weights):
        raise UserError(f"A weight of --data {config.data} is not above 0; give shares such as a:0.7,b:0.3.")
    found = []
    for path, weight in parts:
        if not is_prepared(path):
            raise UserError(
                f"'{path}' in --data {config.data} is no prepared folder, and a mixture is of such folders; make one "
                f"with `linearnexus data prepare {path} --output FOLDER`."
            )
        found.append((open_prepared(path), weight))
    first = found[0][0]
    for prepared, _ in found:
        if prepared.manifest["tokenizer"]["sha256"] != first.manifest["tokenizer"]["sha256"]:
            raise UserError(
                f"{prepared.folder} was prepared with another tokenizer ({prepared.manifest['tokenizer']['name']}) "
                f"than {first.folder} ({first.manifest['tokenizer']['name']}); prepare both with the same "
                "tokenizer.json."
            )
        name = prepared.manifest["tokenizer"]["name"]
        if config.tokenizer not in (None, name):
            raise UserError(
                f"tokenizer is {config.tokenizer}, but {prepared.folder} was prepared with the tokenizer {name}; leave "
                f"--tokenizer out, or prepare the data again with --tokenizer {config.tokenizer}."
            )
    return found


def _parts(data: str) -> list[tuple[str, float | None]]:
    """(folder, weight) of "a:0.7,b:0.3"."""
    if is_prepared(os.path.expanduser(data)):
        return [(os.path.expanduser(data), None)]
    parts: list[tuple[str, float | None]] = []
    for part in data.split(","):
        path, _, weight = part.strip().rpartition(":")
        try:
            parts.append((os.path.expanduser(path), float(weight)) if path else (os.path.expanduser(weight), None))
        except ValueError:
            parts.append((os.path.expanduser(part.strip()), None))
    return parts


class Ahead:
    """Makes each step's batches [A, B, T], those of the next step in a thread while this one is used."""

    def __init__(self, batches: Batches, accumulate: int) -> None:
        self._batches, self._accumulate = batches, accumulate
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Batch] | None] = (0, None)

    def get(self, step: int) -> Batch:
        number, future = self._next
        batch = self._make(step) if future is None or number != step else future.result()
        self._next = (step + 1, self._pool.submit(self._make, step + 1))
        return batch

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _make(self, step: int) -> Batch:
        parts = [self._batches.batch(step * self._accumulate + n) for n in range(self._accumulate)]
        return Batch._make(None if field[0] is None else np.stack(field) for field in zip(*parts, strict=True))
