"""A shuffle that needs no list: a keyed permutation gives the place of any one number by itself.

    permuted(i, n, keys)    a Feistel network over the smallest power of two that holds n; a number that lands at n or
                            above is permuted again until it lands below (cycle walking), so the numbers below n are
                            permuted among themselves

A few operations a number, on whole arrays, and no memory beside them: the order of 10 numbers costs what the order of
10 billion costs. All randomness is the raw output of the counter-based Philox generator, which NumPy promises never to
change (it does not promise that of `Generator.permutation` or `Generator.integers`).

Look first at: `permuted`, `Shares` (which of several sources a row is taken from).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

ROUNDS = 8
SMALLEST = 16  # halves of a bit or two would mix too little
BLOCK = 1024  # rows in which a mixture has its exact shares


def random(seed: int, counter: int, count: int) -> np.ndarray:
    """uint64 [count], the stream of the key (seed, counter)."""
    return np.random.Philox(key=np.array([seed, counter], np.uint64)).random_raw(count)


def permuted(numbers: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """Where the permutation of 0..count-1 with these keys (uint64 [ROUNDS]) sends each number: int64, same shape."""
    bits = (max(count, SMALLEST) - 1).bit_length()
    out = _network(np.asarray(numbers).astype(np.uint64), bits, keys)
    while (outside := out >= np.uint64(count)).any():
        out[outside] = _network(out[outside], bits, keys)
    return out.astype(np.int64)


def _network(numbers: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0..2**bits-1: the two halves in turn are changed by a hash of the other and the round's key."""
    low, high = bits // 2, bits - bits // 2
    left, right = numbers >> np.uint64(low), numbers & np.uint64((1 << low) - 1)
    for number in range(0, ROUNDS, 2):
        left = left ^ (_hash(right + keys[number]) & np.uint64((1 << high) - 1))
        right = right ^ (_hash(left + keys[number + 1]) & np.uint64((1 << low) - 1))
    return (left << np.uint64(low)) | right


def _hash(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of the value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Shares:
    """Which source each row of a mixture comes from: a pure function of the row's number.

    Every block of 1,024 rows has each source's share exactly (rounded to a whole row: to 0.05% of the rows), in an
    order of its own, so how many rows of a source came before a row needs no counting from the beginning.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        exact = np.array(weights, float) / sum(weights) * BLOCK
        self.rows = np.floor(exact).astype(np.int64)
        left = BLOCK - int(self.rows.sum())
        self.rows[np.argsort(self.rows - exact, kind="stable")[:left]] += 1  # largest remainders first
        self.seed = seed
        self._block = lru_cache(maxsize=4)(self._make_block)

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(source, number of the row among that source's), int64 each, for row numbers."""
        source, place = np.empty((2, len(numbers)), np.int64)
        for block in np.unique(numbers // BLOCK):
            here = numbers // BLOCK == block
            sources, before = self._block(int(block))
            inside = numbers[here] % BLOCK
            source[here] = sources[inside]
            place[here] = block * self.rows[source[here]] + before[inside]
        return source, place

    def _make_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For the rows of one block: the source, and how many rows of it the block has before."""
        order = permuted(np.arange(BLOCK), BLOCK, random(self.seed, block, ROUNDS))
        sources = np.searchsorted(np.cumsum(self.rows), order, side="right")
        before = np.empty(BLOCK, np.int64)
        for number, count in enumerate(self.rows):
            before[sources == number] = np.arange(count)
        return sources, before
