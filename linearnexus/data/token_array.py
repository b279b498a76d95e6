"""A row of token ids that need not be in memory, and where its documents begin.

Look first at: `TokenArray.read`, `TokenArray.begins`, `TokenArray.document_starts`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

OPEN_FILES = 256  # memory maps at a time, of tokens and of starts each; a map holds its file open


class TokenArray:
    """Neighbouring parts, such as memory-mapped shards, read as one array. A document may go on in the next part."""

    def __init__(
        self,
        lengths: Sequence[int],
        part: Callable[[int], np.ndarray],
        documents: Sequence[int] = (),
        starts: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        """lengths: tokens of each part; part: the ids of part number i. documents: how many begin in each part; starts:
        where in it (ascending). starts None: a text without documents."""
        self.offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.first_documents = np.concatenate([[0], np.cumsum(documents, dtype=np.int64)])
        self.has_documents = starts is not None
        self._part = lru_cache(OPEN_FILES)(part)
        self._starts = lru_cache(OPEN_FILES)(starts or (lambda number: np.empty(0, np.int64)))

    @classmethod
    def of(cls, ids: "np.ndarray | TokenArray") -> "TokenArray":
        """A single array; a `TokenArray` as it is."""
        return ids if isinstance(ids, TokenArray) else cls([len(ids)], lambda number: ids)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def documents(self) -> int:
        return int(self.first_documents[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """TokenArray start to stop: a view where they lie in one part."""
        pieces = [self._part(number)[low:high] for number, low, high in self._overlaps(start, stop)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.uint16), *pieces])

    def rows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """int32 [rows, length]: the tokens from each start on."""
        out = np.empty((len(starts), length), np.int32)
        for row, start in zip(out, starts.tolist(), strict=True):
            row[:] = self.read(start, start + length)
        return out

    def begins(self, starts: np.ndarray, length: int) -> np.ndarray:
        """bool [rows, length]: does a document begin at that token?"""
        out = np.zeros((len(starts), length), bool)
        for row, start in zip(out, starts.tolist(), strict=True):
            for number, low, high in self._overlaps(start, start + length):
                inside = self._starts(number)
                first, last = np.searchsorted(inside, (low, high))
                row[inside[first:last] + (int(self.offsets[number]) - start)] = True
        return out

    def document_starts(self, numbers: np.ndarray) -> np.ndarray:
        """Where documents begin, int64; the number after the last document stands for the end of all."""
        out = np.full(len(numbers), len(self), np.int64)
        parts = np.searchsorted(self.first_documents, numbers, side="right") - 1
        for part in np.unique(parts[numbers < self.documents]):
            here = parts == part
            out[here] = self._starts(int(part))[numbers[here] - self.first_documents[part]] + self.offsets[part]
        return out

    def _overlaps(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """(part, from, to) of each part that has tokens of the stretch."""
        found = []
        number = int(np.searchsorted(self.offsets, start, side="right")) - 1
        while start < stop and number < len(self.offsets) - 1:
            begin, end = int(self.offsets[number]), int(self.offsets[number + 1])
            if end > start:
                found.append((number, start - begin, min(stop, end) - begin))
            start = max(start, end)
            number += 1
        return found
