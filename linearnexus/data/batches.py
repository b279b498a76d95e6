"""Token ids to batches. A training batch is a pure function of (seed, step, host): a resumed run needs no loader state.

Look first at: `Batches.batch` (step -> rows), `WindowBatches.rows` (row numbers -> windows), `MixedBatches`,
`evaluation_windows`.

A window of sequence length T is T+1 neighbouring tokens: T inputs and, shifted by one, T targets. Where the text has
documents, a batch says where they begin, so that no state or attention crosses over, and the target after a document's
last token has weight 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, get_args

import numpy as np

from linearnexus.core.errors import UserError, unknown
from linearnexus.data.order import ROUNDS, Shares, permuted, random
from linearnexus.data.token_array import TokenArray

Order = Literal["epoch", "random"]
MIXTURE = 2**64 - 1  # counter of the random stream that a mixture's seeds come from


class Batch(NamedTuple):
    """inputs int32 [B,T] and targets int32 [B,T]: targets[b,t] is the token after inputs[b,t]. None: all are alike."""

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray | None = None  # bool [B,T]: does the input begin a document?
    weights: np.ndarray | None = None  # float32 [B,T]: of the target in the loss; 0 after a document's last token
    valid: np.ndarray | None = None  # bool [B,T]: is the input real, not padding?


def split(ids: np.ndarray, validation_fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """(train, validation): the first int(n * (1 - f)) of the n tokens and the rest, as views; nanoGPT's cut at 0.1.

    Raises `UserError` unless 0 <= f < 1.
    """
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"The validation fraction must be at least 0 and less than 1, not {validation_fraction}; 0.1 is usual."
        )
    # Decimal: in binary, 1 - 0.71 is 0.29000000000000004 and 100 * 0.29 is 28.999999999999996.
    cut = int(len(ids) * (1 - Decimal(str(validation_fraction))))
    return ids[:cut], ids[cut:]


class Batches(ABC):
    """Rows numbered from 0 through all epochs, `batch_size` of them a step."""

    batch_size: int

    @property
    @abstractmethod
    def rows_per_epoch(self) -> int: ...

    @abstractmethod
    def rows(self, numbers: np.ndarray) -> Batch:
        """The rows with these numbers (int64), each the same whichever others are asked for."""

    @property
    def steps_per_epoch(self) -> float:
        """Rows in an epoch / batch_size; seldom whole, as a batch may belong to two epochs."""
        return self.rows_per_epoch / self.batch_size

    def batch(self, step: int, host: int = 0, hosts: int = 1) -> Batch:
        """Batch number `step`, from 0: the same for the same (data, settings, step), whatever was asked before. Of
        several hosts each takes its own part of the rows, in order.

        Raises `UserError` if the hosts do not divide the rows.
        """
        if self.batch_size % hosts:
            raise UserError(f"--batch-size {self.batch_size} is no multiple of the {hosts} hosts; give one that is.")
        rows = self.batch_size // hosts
        return self.rows(step * self.batch_size + host * rows + np.arange(rows))


@dataclass(frozen=True, eq=False)  # eq: `==` on arrays has no truth value
class WindowBatches(Batches):
    """Training batches of windows from ids [n] (any integer array, a memory map too) or `TokenArray`.

    order "epoch": every epoch is a fresh permutation of windows that do not overlap, each seen once. The grid of
    windows starts at a fresh random place, so up to 2T-2 targets at the two ends are left out, different ones in every
    epoch. A batch that reaches the end of an epoch goes on with the next: no batch is short.
    order "random": every window starts anywhere, with replacement, as in nanoGPT.

    Raises `UserError` if the text is shorter than one window, or for a setting out of range.
    """

    ids: np.ndarray | TokenArray
    sequence_length: int
    batch_size: int
    seed: int
    order: Order = "epoch"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise unknown("order", self.order, get_args(Order))
        if not 0 <= self.seed < 2**64:
            raise UserError(f"--seed must be at least 0 and less than 2**64, not {self.seed}.")
        check_sizes(self.sequence_length, self.batch_size)
        n, T = len(self.ids), self.sequence_length
        if n < T + 1:
            shorter = f"use --sequence-length {n - 1} or less, or more text" if n > 1 else "use more text"
            raise UserError(
                f"The training text is too short: --sequence-length {T} needs at least {T + 1:,} tokens (the inputs "
                f"and the target of the last one), and it has {n:,}; {shorter}."
            )

    @property
    def rows_per_epoch(self) -> int:
        # One less than fit side by side (but at least one): the same number then fits wherever the grid starts.
        return max(1, (len(self.ids) - self.sequence_length) // self.sequence_length)

    def rows(self, numbers: np.ndarray) -> Batch:
        starts = np.empty(len(numbers), np.int64)
        unit = self.batch_size if self.order == "random" else self.rows_per_epoch
        for turn in np.unique(numbers // unit).tolist():  # a step, or an epoch
            here = numbers // unit == turn
            starts[here] = (self._anywhere if self.order == "random" else self._on_grid)(turn, numbers[here] % unit)
        return _windows(TokenArray.of(self.ids), starts, self.sequence_length)

    def _anywhere(self, step: int, inside: np.ndarray) -> np.ndarray:
        drawn = random(self.seed, step, self.batch_size)[inside]
        return (drawn % np.uint64(len(self.ids) - self.sequence_length)).astype(np.int64)

    def _on_grid(self, epoch: int, inside: np.ndarray) -> np.ndarray:
        count, T = self.rows_per_epoch, self.sequence_length
        raw = random(self.seed, epoch, 1 + ROUNDS)
        shift = int(raw[0]) % (len(self.ids) - count * T)  # the last target is at shift + count * T <= n - 1
        return shift + permuted(inside, count, raw[1:]) * T


class MixedBatches(Batches):
    """Rows from several sources, each by its weight: exact in every 1,024 rows. Each source goes through its own epochs
    in its own order."""

    def __init__(self, sources: Sequence[Batches], weights: Sequence[float], batch_size: int, seed: int) -> None:
        self.sources, self.batch_size = tuple(sources), batch_size
        self._shares = Shares(weights, int(random(seed, MIXTURE, 1)[0]))

    @property
    def rows_per_epoch(self) -> int:
        """As many as all sources have together: a source with a larger weight than its size comes more than once."""
        return sum(source.rows_per_epoch for source in self.sources)

    def rows(self, numbers: np.ndarray) -> Batch:
        source, place = self._shares.of(numbers)
        found = np.unique(source)
        parts = [self.sources[number].rows(place[source == number]) for number in found.tolist()]
        back = np.argsort(np.argsort(source, kind="stable"))
        fields = zip(*parts, strict=True)
        return Batch._make(None if field[0] is None else np.concatenate(field)[back] for field in fields)


def _windows(tokens: TokenArray, starts: np.ndarray, sequence_length: int) -> Batch:
    windows = tokens.rows(starts, sequence_length + 1)
    batch = Batch(windows[:, :-1], windows[:, 1:])
    if not tokens.has_documents:
        return batch
    begins = tokens.begins(starts, sequence_length + 1)
    return batch._replace(starts=begins[:, :-1], weights=(~begins[:, 1:]).astype(np.float32))


def evaluation_windows(
    ids: np.ndarray | TokenArray, sequence_length: int, batch_size: int, limit: int | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """(batch, weights float32 [B,T]) over a whole split: every token but the first (of the text, of each document) is a
    target of weight 1 once.

    The windows lie end to end and do not overlap. The measure is the mean loss over the targets of weight 1; nanoGPT's
    `estimate_loss` is the same mean over random windows of the same length. The last window, which may be shorter, and
    the last batch are filled up to [B,T] with weight 0 (their ids are the last token again), so that one compiled step
    serves all. `limit` batches, if less than all, take windows spread evenly over the split.

    Raises `UserError` if there is no token to predict, or for a setting out of range.
    """
    check_sizes(sequence_length, batch_size)
    if limit is not None and limit < 1:
        raise UserError(f"The number of evaluation batches must be at least 1, not {limit}.")
    n = len(ids)
    if n < 2:
        raise UserError(
            f"The evaluation text has too few tokens: {n}, where 2 are the least that give one to predict; "
            "use more text, or a larger validation fraction."
        )
    total = -(-(n - 1) // sequence_length)
    count = total if limit is None else min(total, limit * batch_size)
    starts = np.arange(count) * total // count * sequence_length
    padding = np.full(-count % batch_size, n)  # a window that starts at n holds no target
    rows = np.concatenate([starts, padding]).reshape(-1, batch_size)
    tokens = TokenArray.of(ids)
    return (_evaluation_batch(tokens, row, sequence_length) for row in rows)


def _evaluation_batch(tokens: TokenArray, starts: np.ndarray, sequence_length: int) -> tuple[Batch, np.ndarray]:
    n, length = len(tokens), sequence_length + 1
    windows = np.full((len(starts), length), tokens.read(n - 1, n)[0], np.int32)
    for window, start in zip(windows, starts.tolist(), strict=True):
        real = tokens.read(start, min(start + length, n))
        window[: len(real)] = real
    weights = (starts[:, None] + np.arange(1, length) < n).astype(np.float32)
    batch = Batch(windows[:, :-1], windows[:, 1:])
    if tokens.has_documents:
        begins = tokens.begins(starts, length)
        batch, weights = batch._replace(starts=begins[:, :-1]), weights * ~begins[:, 1:]
    return batch, weights


def check_sizes(sequence_length: int, batch_size: int) -> None:
    for name, value in (("--sequence-length", sequence_length), ("--batch-size", batch_size)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
