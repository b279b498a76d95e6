"""Token ids to batches. A training batch is a pure function of (seed, step): a resumed run needs no loader state.

Look first at: `WindowBatches.batch` (step -> windows), `_epoch_starts` (one epoch in order), `evaluation_windows`.

A window of sequence length T is T+1 neighbouring tokens: T inputs and, shifted by one, T targets. All randomness is the
raw output of the counter-based Philox generator, which NumPy promises never to change (it does not promise that of
`Generator.permutation` or `Generator.integers`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from linearnexus.core.errors import UserError, unknown

Order = Literal["epoch", "random"]


class Batch(NamedTuple):
    """inputs int32 [B,T] and targets int32 [B,T]: targets[b,t] is the token after inputs[b,t]."""

    inputs: np.ndarray
    targets: np.ndarray


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


@dataclass(frozen=True, eq=False)  # eq: `==` on arrays has no truth value
class WindowBatches:
    """Training batches of windows from ids [n] (any integer array, a memory map too).

    order "epoch": every epoch is a fresh permutation of windows that do not overlap, each seen once. The grid of
    windows starts at a fresh random place, so up to 2T-2 targets at the two ends are left out, different ones in every
    epoch. A batch that reaches the end of an epoch goes on with the next: no batch is short.
    order "random": every window starts anywhere, with replacement, as in nanoGPT.

    Raises `UserError` if the text is shorter than one window, or for a setting out of range.
    """

    ids: np.ndarray
    sequence_length: int
    batch_size: int
    seed: int
    order: Order = "epoch"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise unknown("order", self.order, get_args(Order))
        if not 0 <= self.seed < 2**64:
            raise UserError(f"--seed must be at least 0 and less than 2**64, not {self.seed}.")
        _check_sizes(self.sequence_length, self.batch_size)
        n, T = len(self.ids), self.sequence_length
        if n < T + 1:
            shorter = f"use --sequence-length {n - 1} or less, or more text" if n > 1 else "use more text"
            raise UserError(
                f"The training text is too short: --sequence-length {T} needs at least {T + 1:,} tokens (the inputs "
                f"and the target of the last one), and it has {n:,}; {shorter}."
            )

    @property
    def steps_per_epoch(self) -> float:
        """Windows in an epoch / batch_size, in both orders; seldom whole, as a batch may belong to two epochs."""
        return _windows_per_epoch(len(self.ids), self.sequence_length) / self.batch_size

    def batch(self, step: int) -> Batch:
        """Batch number `step`, from 0: the same for the same (ids, settings, step), whatever was asked before."""
        if self.order == "random":
            starts = _random(self.seed, step, self.batch_size) % np.uint64(len(self.ids) - self.sequence_length)
        else:
            starts = self._epoch_order(step * self.batch_size)
        windows = self.ids[starts.astype(np.int64)[:, None] + np.arange(self.sequence_length + 1)]  # [B,T+1]
        return Batch(windows[:, :-1].astype(np.int32), windows[:, 1:].astype(np.int32))

    def _epoch_order(self, first: int) -> np.ndarray:
        """Starts [B] of windows number first, first + 1, ..., counted through all epochs."""
        count = _windows_per_epoch(len(self.ids), self.sequence_length)
        end = first + self.batch_size
        pieces = []
        for epoch in range(first // count, (end - 1) // count + 1):
            starts = _epoch_starts(self.seed, epoch, len(self.ids), self.sequence_length)
            pieces.append(starts[max(0, first - epoch * count) : end - epoch * count])
        return np.concatenate(pieces)


def evaluation_windows(
    ids: np.ndarray, sequence_length: int, batch_size: int, limit: int | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """(batch, weights float32 [B,T]) over a whole split: every token but the first is a target of weight 1 once.

    The windows lie end to end and do not overlap. The measure is the mean loss over the targets of weight 1; nanoGPT's
    `estimate_loss` is the same mean over random windows of the same length. The last window, which may be shorter, and
    the last batch are filled up to [B,T] with weight 0 (their ids are the last token again), so that one compiled step
    serves all. `limit` batches, if less than all, take windows spread evenly over the split.

    Raises `UserError` if there is no token to predict, or for a setting out of range.
    """
    _check_sizes(sequence_length, batch_size)
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
    return (_evaluation_batch(ids, row, sequence_length) for row in rows)


def _evaluation_batch(ids: np.ndarray, starts: np.ndarray, sequence_length: int) -> tuple[Batch, np.ndarray]:
    places = starts[:, None] + np.arange(sequence_length + 1)  # [B,T+1]
    windows = ids[np.minimum(places, len(ids) - 1)].astype(np.int32)
    return Batch(windows[:, :-1], windows[:, 1:]), (places[:, 1:] < len(ids)).astype(np.float32)


def _check_sizes(sequence_length: int, batch_size: int) -> None:
    for name, value in (("--sequence-length", sequence_length), ("--batch-size", batch_size)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")


def _random(seed: int, counter: int, count: int) -> np.ndarray:
    """uint64 [count], the stream of the key (seed, counter)."""
    return np.random.Philox(key=np.array([seed, counter], np.uint64)).random_raw(count)


def _windows_per_epoch(n: int, T: int) -> int:
    # One less than fit side by side (but at least one): the same number then fits wherever the grid starts.
    return max(1, (n - T) // T)


@lru_cache(maxsize=4)  # 8 bytes a window; a batch needs the current epoch, at times the next
def _epoch_starts(seed: int, epoch: int, n: int, T: int) -> np.ndarray:
    """The first token of each window of one epoch, in the order they are visited: int64 [windows]."""
    count = _windows_per_epoch(n, T)
    raw = _random(seed, epoch, count + 1)
    shift = int(raw[0]) % (n - count * T)  # the last target is at shift + count * T <= n - 1
    starts = shift + np.argsort(raw[1:], kind="stable") * T
    starts.flags.writeable = False
    return starts
