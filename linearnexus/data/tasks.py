"""Tasks that ask for one ability each: recall, selection, state tracking. Rows without end, made when they are needed.

    recall:pairs=16        key value key value ... and then keys in any order: what was the value? (MQAR)
    copying:tokens=8       some tokens among noise, then as many marks: what were they, in order?
    induction:length=64    a mark stands somewhere, and again at the end: what came after it?
    parity:length=40       bits: is the number of ones so far even or odd, at every bit?
    s5:length=32           orders of five things, one after another: what do they make together, at every token?

A row is a pure function of (seed, row number). Only the answers weigh in the loss. The target of an input is the answer
at that place, not the token after it: no answer is ever among the inputs.

Look first at: `Task`, `Recall`, `open_task`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np

from linearnexus.core.config import make
from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch, Batches
from linearnexus.data.order import random

HELD_OUT = 2**63  # number of the first validation row: training never comes so far
HELD_OUT_ROWS = 1024
LONGEST, LARGEST = 2**20, 2**16  # lengths and vocabularies


@dataclass(frozen=True)
class Task(ABC):
    """A task of one size. Raises UserError where the sizes do not fit together."""

    length: int = 64  # tokens of a row, T

    @property
    @abstractmethod
    def symbols(self) -> tuple[str, ...]:
        """The name of each token id, without spaces."""

    @property
    @abstractmethod
    def draws(self) -> int:
        """Random numbers that a row takes."""

    @abstractmethod
    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From uint64 [R, draws]: inputs [R,T], and of each answer its place [R,A] and its id [R,A]."""

    def rows(self, numbers: np.ndarray, seed: int) -> Batch:
        """The rows with these numbers, each the same whichever others are asked for; weights are 1 at the answers."""
        inputs, places, answers = self.make(np.stack([random(seed, int(n), self.draws) for n in numbers]))
        targets, weights = np.zeros(inputs.shape, np.int32), np.zeros(inputs.shape, np.float32)
        np.put_along_axis(targets, places, answers.astype(np.int32), axis=1)
        np.put_along_axis(weights, places, np.float32(1), axis=1)
        return Batch(inputs.astype(np.int32), targets, weights=weights)

    def held_out(self, batch_size: int, rows: int = HELD_OUT_ROWS) -> Iterator[tuple[Batch, np.ndarray]]:
        """(batch, weights) over the first validation rows, the same for every seed; the last batch is filled up with
        rows of weight 0."""
        for first in range(0, rows, batch_size):
            numbers = first + np.arange(batch_size, dtype=np.uint64)
            batch = self.rows(numbers + np.uint64(HELD_OUT), 0)
            assert batch.weights is not None
            yield batch, batch.weights * (numbers < rows)[:, None].astype(np.float32)

    def __str__(self) -> str:
        """What --data calls it, every option written out."""
        options = ",".join(f"{field.name}={getattr(self, field.name)}" for field in dataclasses.fields(self))
        return f"{_name(type(self))}:{options}"

    def _check(self, name: str, least: int, most: int, why: str = "") -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            given = f"{_name(type(self))} has {name}={value}"
            raise UserError(f"{given}; give {name}={min(max(value, least), most)}, of {least} to {most}{why}.")


@dataclass(frozen=True)
class Recall(Task):
    """Multi-query associative recall (Arora et al. 2023, "Zoology"): distinct keys with distinct values, then every key
    once more, mostly soon: gap n has the probability n^-0.99. Half of the symbols are keys. What is left between is
    random, as in their code. They mix rows of few and many pairs; so does `fewest`."""

    pairs: int = 8
    fewest: int = 0  # rows have `pairs` pairs, half, a quarter, ... of them, at least this; 0: all have `pairs`
    vocabulary: int = 256

    def __post_init__(self) -> None:
        self._check("length", 4, LONGEST)
        self._check("vocabulary", 2, LARGEST)
        self._check("pairs", 1, self.vocabulary // 2, f" with vocabulary={self.vocabulary}, half of which are keys")
        why = f" with length={self.length}, as a pair takes 4 tokens (length={4 * self.pairs} has room for yours)"
        self._check("pairs", 1, self.length // 4, why)
        self._check("fewest", 0, self.pairs, f" with pairs={self.pairs}")

    @property
    def symbols(self) -> tuple[str, ...]:
        keys = self.vocabulary // 2
        return (*(f"k{n}" for n in range(keys)), *(f"v{n}" for n in range(self.vocabulary - keys)))

    @property
    def draws(self) -> int:
        return 1 + self.vocabulary + self.length // 2 + self.length

    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_key, half = self.vocabulary // 2, self.length // 2
        for_pairs, for_keys, for_values, for_gaps, rest = np.split(
            drawn, np.cumsum([1, n_key, self.vocabulary - n_key, half]), axis=1
        )
        sizes = [self.pairs]
        while self.fewest and sizes[-1] >= 2 * self.fewest:
            sizes.append(sizes[-1] // 2)
        pairs = np.array(sizes)[_below(for_pairs, len(sizes))]  # [R,1]
        # A row with fewer pairs than others tells and asks its first one again and again, at the same places.
        pair = np.arange(self.pairs)
        pair = np.where(pair < pairs, pair, 0)
        keys = np.take_along_axis(_some(for_keys, self.pairs), pair, axis=1)
        values = n_key + np.take_along_axis(_some(for_values, self.pairs), pair, axis=1)
        # The smallest of exponential times with these rates come in the order of draws without replacement.
        gap = np.arange(half)
        times = -np.log((for_gaps.astype(np.float64) + 0.5) / 2.0**64) * (gap + 1) ** 0.99
        gaps = np.argsort(np.where(gap < half - pairs, times, np.inf), axis=1, kind="stable")
        places = 2 * (pairs + np.take_along_axis(gaps, pair, axis=1))
        inputs = _below(rest, self.vocabulary)
        for where, what in ((2 * pair, keys), (2 * pair + 1, values), (places, keys)):
            np.put_along_axis(inputs, where, what, axis=1)
        return inputs, places, values


@dataclass(frozen=True)
class Copying(Task):
    """Selective copying (Gu and Dao 2023, section 4.1, appendix E.1): `tokens` symbols at random places among noise,
    then as many marks, where they are asked for in their order. Noise and mark count as symbols."""

    tokens: int = 8
    vocabulary: int = 16

    def __post_init__(self) -> None:
        self._check("length", 2, LONGEST)
        self._check("vocabulary", 3, LARGEST)
        self._check("tokens", 1, self.length // 2, f" with length={self.length}, as each takes a place and a mark")

    @property
    def symbols(self) -> tuple[str, ...]:
        return (".", *(str(n) for n in range(1, self.vocabulary - 1)), "?")

    @property
    def draws(self) -> int:
        return self.length

    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        noise = self.length - self.tokens
        found = np.sort(_some(drawn[:, :noise], self.tokens), axis=1)
        answers = 1 + _below(drawn[:, noise:], self.vocabulary - 2)
        inputs = np.zeros(drawn.shape, np.int64)
        np.put_along_axis(inputs, found, answers, axis=1)
        inputs[:, noise:] = self.vocabulary - 1
        return inputs, np.broadcast_to(np.arange(noise, self.length), answers.shape), answers


@dataclass(frozen=True)
class Induction(Task):
    """Induction heads (Gu and Dao 2023, section 4.1, appendix E.1): random symbols with a mark once among them and at
    the end, where what came after the first is asked for. The mark counts as a symbol."""

    vocabulary: int = 16

    def __post_init__(self) -> None:
        self._check("length", 3, LONGEST)
        self._check("vocabulary", 3, LARGEST)

    @property
    def symbols(self) -> tuple[str, ...]:
        return (*(str(n) for n in range(self.vocabulary - 1)), "!")

    @property
    def draws(self) -> int:
        return self.length + 1

    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = _below(drawn[:, :-1], self.vocabulary - 1)
        mark = _below(drawn[:, -1:], self.length - 2)
        np.put_along_axis(inputs, mark, self.vocabulary - 1, axis=1)
        inputs[:, -1] = self.vocabulary - 1
        return inputs, np.full(mark.shape, self.length - 1), np.take_along_axis(inputs, mark + 1, axis=1)


@dataclass(frozen=True)
class Parity(Task):
    """Bit parity, asked for at every bit (Grazzi et al. 2024)."""

    length: int = 40

    def __post_init__(self) -> None:
        self._check("length", 1, LONGEST)

    @property
    def symbols(self) -> tuple[str, ...]:
        return ("0", "1")

    @property
    def draws(self) -> int:
        return self.length

    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = _below(drawn, 2)
        return inputs, _everywhere(inputs), np.cumsum(inputs, axis=1) % 2


@dataclass(frozen=True)
class S5(Task):
    """The word problem of the group S5 (Liu et al. 2022; Merrill et al. 2024): the product of the
    permutations so far. "21345" then "13245": what was third is second, and so on; each says where places come from."""

    length: int = 32

    def __post_init__(self) -> None:
        self._check("length", 1, LONGEST)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple("".join(str(place + 1) for place in order) for order in permutations(range(5)))

    @property
    def draws(self) -> int:
        return self.length

    def make(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        products = _products()
        inputs = _below(drawn, len(products))
        answers = inputs.copy()
        for t in range(1, self.length):
            answers[:, t] = products[answers[:, t - 1], inputs[:, t]]
        return inputs, _everywhere(inputs), answers


TASKS: dict[str, type[Task]] = {
    "recall": Recall,
    "copying": Copying,
    "induction": Induction,
    "parity": Parity,
    "s5": S5,
}


def open_task(text: str) -> Task | None:
    """The task that `NAME:OPTION=VALUE,...` stands for; None where no task has that name. Raises UserError for a
    misspelt option, or sizes that do not fit."""
    name, _, options = text.partition(":")
    if name not in TASKS:
        return None
    values = {}
    for option in filter(None, options.split(",")):
        field, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not (value.isascii() and value.isdigit()):
            raise UserError(f"'{option}' in {text} is no option of {name}; write NAME=NUMBER, such as length=64.")
        values[field] = int(value)
    return make(TASKS[name], values)


@dataclass(frozen=True)
class TaskBatches(Batches):
    """Training batches of a task, without end."""

    task: Task
    batch_size: int
    seed: int

    @property
    def rows_per_epoch(self) -> int:
        raise UserError("A task has no end, and so no epochs; give --max-steps or --max-minutes.")

    def rows(self, numbers: np.ndarray) -> Batch:
        return self.task.rows(numbers, self.seed)


def _name(task: type[Task]) -> str:
    return next(name for name, cls in TASKS.items() if cls is task)


def _below(drawn: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers from 0 to count - 1 (their bias, count / 2**64, is nothing)."""
    return (drawn % np.uint64(count)).astype(np.int64)


def _some(drawn: np.ndarray, count: int) -> np.ndarray:
    """[R, n] -> [R, count]: in every row, `count` different ones of the numbers below n, in random order."""
    return np.argsort(drawn, axis=1, kind="stable")[:, :count]


def _everywhere(inputs: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape)


@cache
def _products() -> np.ndarray:
    """[120, 120]: the permutation that two make, the first one first."""
    orders = np.array(list(permutations(range(5))))
    numbers = {tuple(order): number for number, order in enumerate(orders.tolist())}
    return np.array([[numbers[tuple(first[second].tolist())] for second in orders] for first in orders])
