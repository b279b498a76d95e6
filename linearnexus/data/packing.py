"""Best-fit packing: whole documents in rows of T+1 tokens, none cut that fits in a row, little padding.

A document longer than a row is cut into windows of T inputs; its last window is packed like a short document. The
documents, in the order of a keyed permutation, are taken in blocks of 16,384. Within a block the longest come first,
each into the fullest row that has room for it (best-fit decreasing; Ding et al. 2024, arXiv:2404.10830). Only the
number of rows of each block is kept in memory, so a row is a pure function of its number.

Look first at: `best_fit`, `PackedBatches`.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, Batches, check_sizes
from linearnexus.data.order import ROUNDS, permuted, random
from linearnexus.data.token_array import TokenArray

BLOCK = 16_384  # documents
DOCUMENTS = 2**63  # counter of the random stream that orders them; an epoch's is its number


def best_fit(lengths: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Pieces of 1 to `room` tokens into rows: (row of each piece, its place in the row, number of rows).

    Pieces of a length are alike, so rows with the same filling are handled as one, with a count: the work grows with
    the number of different lengths, not of pieces.
    """
    order = np.argsort(-lengths, kind="stable")
    values, counts = np.unique(-lengths, return_counts=True)
    rows = done = 0
    row, place = np.empty((2, len(lengths)), np.int64)
    free: dict[int, list[tuple[int, int]]] = {}  # tokens of room: ranges of rows (first, count) that have it
    rooms: list[int] = []  # its keys, in order

    def offer(size: int, first: int, count: int) -> None:
        if size and count:
            if size not in free:
                insort(rooms, size)
            free.setdefault(size, []).append((first, count))

    def put(first: int, count: int, begin: int) -> None:
        """The next `count` pieces into as many rows."""
        nonlocal done
        pieces = order[done : done + count]
        row[pieces], place[pieces] = np.arange(first, first + count), begin
        done += count

    for length, left in zip((-values).tolist(), counts.tolist(), strict=True):
        while left:
            fitting = bisect_left(rooms, length)
            if fitting < len(rooms):
                size = rooms[fitting]
                first, count = free[size].pop()
                if not free[size]:
                    del free[size], rooms[fitting]
            else:  # new rows
                size, first, count = room, rows, -(-left // (room // length))
                rows += count
            taken = min(left, count)
            put(first, taken, room - size)
            left -= taken
            offer(size - length, first, taken)
            offer(size, first + taken, count - taken)
    return row, place, rows


@dataclass(frozen=True)
class PackedBlock:
    """The pieces of one block, sorted by row."""

    row: np.ndarray
    place: np.ndarray
    start: np.ndarray  # where in the tokens
    length: np.ndarray
    rows: int


@dataclass(frozen=True, eq=False)
class PackedBatches(Batches):
    """Batches of packed documents. Each epoch has every row once: blocks in a fresh order, rows in a fresh order within
    their block. Which documents share a row stays the same.

    Raises `UserError` where the tokens have no documents.
    """

    ids: TokenArray
    sequence_length: int
    batch_size: int
    seed: int
    token_weights: np.ndarray | None = None  # float32, of each token of ids as a target; None: 1

    def __post_init__(self) -> None:
        check_sizes(self.sequence_length, self.batch_size)
        if not self.ids.documents:
            raise UserError("--packing best-fit packs whole documents, and this text has none; use --packing windows.")

    @property
    def rows_per_epoch(self) -> int:
        return int(self._counts.sum())

    def rows(self, numbers: np.ndarray) -> Batch:
        """Rows by their numbers, counted through all epochs."""
        T = self.sequence_length
        tokens = np.zeros((len(numbers), T + 1), np.int32)
        starts, real = np.zeros((2, len(numbers), T + 1), bool)
        weights = np.zeros(tokens.shape, np.float32)
        for out, number in enumerate(numbers.tolist()):
            epoch, inside = divmod(number, self.rows_per_epoch)
            blocks, ends = self._epoch(epoch)
            turn = int(np.searchsorted(ends, inside, side="right"))
            name = int(blocks[turn])
            block = self._block(name)
            inside -= int(ends[turn - 1]) if turn else 0
            row = int(self._order(epoch, name)[inside])
            for piece in range(*np.searchsorted(block.row, (row, row + 1))):
                low, length, start = int(block.place[piece]), int(block.length[piece]), int(block.start[piece])
                tokens[out, low : low + length] = self.ids.read(start, start + length)
                starts[out, low] = real[out, low : low + length] = True
                later = slice(start + 1, start + length)
                weights[out, low + 1 : low + length] = 1 if self.token_weights is None else self.token_weights[later]
        # padding: invalid, and of weight 0
        return Batch(tokens[:, :-1], tokens[:, 1:], starts[:, :-1], weights[:, 1:], real[:, :-1])

    @cached_property
    def _counts(self) -> np.ndarray:
        """Rows of each block, int64: the one thing that needs a look at every document's length."""
        return np.array([self._pack(number).rows for number in range(-(-self.ids.documents // BLOCK))], np.int64)

    @cached_property
    def _block(self) -> Callable[[int], PackedBlock]:
        return lru_cache(maxsize=8)(self._pack)

    @cached_property
    def _order(self) -> Callable[[int, int], np.ndarray]:
        return lru_cache(maxsize=8)(self._make_order)

    @cached_property
    def _epoch(self) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
        return lru_cache(maxsize=2)(self._make_epoch)

    def _make_order(self, epoch: int, name: int) -> np.ndarray:
        """The rows of a block in the order of an epoch."""
        keys = random(self.seed, epoch, ROUNDS) + np.uint64(name)
        return permuted(np.arange(self._block(name).rows), self._block(name).rows, keys)

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks in the order of an epoch, and the number of rows up to the end of each."""
        keys = random(self.seed, epoch, 2 * ROUNDS)[ROUNDS:]
        blocks = permuted(np.arange(len(self._counts)), len(self._counts), keys)
        return blocks, np.cumsum(self._counts[blocks])

    def _pack(self, number: int) -> PackedBlock:
        T, count = self.sequence_length, self.ids.documents
        places = np.arange(number * BLOCK, min(count, (number + 1) * BLOCK))
        documents = permuted(places, count, random(self.seed, DOCUMENTS, ROUNDS))
        begin, end = self.ids.document_starts(documents), self.ids.document_starts(documents + 1)
        # windows of T inputs and the target of the last: neighbours share a token
        windows = np.maximum(0, -(-(end - begin - 1) // T))  # a document of one token predicts nothing
        inside = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
        start = np.repeat(begin, windows) + inside * T
        length = np.minimum(np.repeat(end, windows) - start, T + 1)
        row, place, rows = best_fit(length, T + 1)
        order = np.lexsort((place, row))
        return PackedBlock(row[order], place[order], start[order], length[order], rows)
