"""How the tensors of a published model lie beside ours: a table of entries, each read in both directions.

    Entry("blocks.3.mixer.wq blocks.3.mixer.wk blocks.3.mixer.wv", "h.3.attn.c_attn.weight", parts(3, axis=1))

says that the three on the left are the parts of the one on the right. A layout is a pair of functions, theirs to ours
and back, written for any arrays of Python's array API: NumPy's when files are read, JAX's when shapes are asked for.

Look first at: `Entry`, `linear`, `parts`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Arrays = list[Any]


@dataclass(frozen=True)
class Layout:
    to_ours: Callable[[Arrays], Arrays]
    to_theirs: Callable[[Arrays], Arrays]


def each(to_ours: Callable[[Any], Any], to_theirs: Callable[[Any], Any]) -> Layout:
    """A layout of single tensors."""
    return Layout(lambda arrays: [to_ours(*arrays)], lambda arrays: [to_theirs(*arrays)])


def _swapped(array: Any) -> Any:
    return array.swapaxes(-1, -2)


SAME = each(lambda array: array, lambda array: array)
SWAPPED = each(_swapped, _swapped)  # a matrix [out, in] (torch) and [in, out]
# Taps of a convolution: [channel, 1, tap], the oldest first (torch), and [tap, channel], the newest first.
TAPS = each(lambda array: array[:, 0, ::-1].T, lambda array: array[::-1].T[:, None])
ONE_MORE = each(lambda array: array + 1, lambda array: array - 1)  # a scale that is stored as its distance from 1


def parts(count: int, axis: int) -> Layout:
    """One tensor of theirs is `count` equal ones of ours side by side."""

    def split(arrays: Arrays) -> Arrays:
        size = arrays[0].shape[axis] // count
        return [_slice(arrays[0], axis, n * size, (n + 1) * size) for n in range(count)]

    return Layout(split, lambda arrays: [_joined(arrays, axis)])


def in_turn(first: Layout, then: Layout) -> Layout:
    """Two layouts, theirs to ours from the first to the second."""
    return Layout(
        lambda arrays: then.to_ours(first.to_ours(arrays)), lambda arrays: first.to_theirs(then.to_theirs(arrays))
    )


def side_by_side(*sizes: int) -> Layout:
    """The columns of one tensor of theirs are those of several of ours, of these sizes."""
    ends = list(accumulate(sizes))

    def split(arrays: Arrays) -> Arrays:
        (array,) = arrays
        return [_slice(array, array.ndim - 1, end - size, end) for size, end in zip(sizes, ends, strict=True)]

    return Layout(split, lambda arrays: [_joined(arrays, arrays[0].ndim - 1)])


def columns_in(count: int) -> Layout:
    """A matrix [in, count*out] of theirs is [in, count, out] of ours."""
    return each(lambda array: array.reshape(array.shape[0], count, -1), lambda array: array.reshape(array.shape[0], -1))


def by_group(groups: int, sizes: Sequence[int]) -> Layout:
    """One matrix [out, in] of theirs whose rows are, for each of `groups` heads, `sizes` rows of each matrix of ours
    [in, out]."""
    ends = list(accumulate(sizes))

    def split(arrays: Arrays) -> Arrays:
        columns = arrays[0].shape[-1]
        grouped = arrays[0].reshape(groups, ends[-1], columns)
        cut = (grouped[:, end - size : end] for size, end in zip(sizes, ends, strict=True))
        return [part.reshape(-1, columns).T for part in cut]

    def join(arrays: Arrays) -> Arrays:
        columns = arrays[0].shape[0]
        grouped = _joined([array.T.reshape(groups, -1, columns) for array in arrays], 1)
        return [grouped.reshape(-1, columns)]

    return Layout(split, join)


def stacked(count: int) -> Layout:
    """Matrices [out, in] of theirs, one an expert, are one [expert, in, out] of ours."""

    def stack(arrays: Arrays) -> Arrays:
        return [_swapped(arrays[0].__array_namespace__().stack(arrays))]

    return Layout(stack, lambda arrays: [arrays[0][n].T for n in range(count)])


def rows(count: int) -> Layout:
    """`count` rows [1, 1, D] of theirs are the rows of one tensor [count, D] of ours."""

    def stack(arrays: Arrays) -> Arrays:
        return [arrays[0].__array_namespace__().stack([array.reshape(-1) for array in arrays])]

    return Layout(stack, lambda arrays: [arrays[0][n][None, None] for n in range(count)])


def headed(n_head: int) -> Layout:
    """A row [H, K] of theirs is [H*K] of ours."""
    return each(lambda array: array.reshape(-1), lambda array: array.reshape(n_head, -1))


def paired(n_head: int) -> Layout:
    """A matrix [out, in] whose heads have rotary pairs as neighbours (GGUF's llama), and [in, out] with the pairs' two
    halves behind one another."""

    def to_ours(array: Any) -> Any:
        columns = array.shape[-1]
        return array.reshape(n_head, -1, 2, columns).swapaxes(1, 2).reshape(-1, columns).T

    def to_theirs(array: Any) -> Any:
        columns = array.shape[0]
        return array.T.reshape(n_head, 2, -1, columns).swapaxes(1, 2).reshape(-1, columns)

    return each(to_ours, to_theirs)


@dataclass(frozen=True)
class Entry:
    """Names of ours and of theirs with a space between, and how their tensors lie. `theirs` empty: they have none (a
    parameter that no output depends on), and ours is zero."""

    ours: str
    theirs: str
    layout: Layout = SAME


def under(ours: str, theirs: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with both sides' names below a place: "blocks.3" and "model.layers.3"."""

    def names(place: str, text: str) -> str:
        return " ".join(f"{place}.{name}" if place else name for name in text.split())

    return [Entry(names(ours, entry.ours), names(theirs, entry.theirs), entry.layout) for entry in entries]


def linear(**names: str) -> list[Entry]:
    """Torch's linear layers without a bias: wq="q_proj"."""
    return [Entry(ours, f"{theirs}.weight", SWAPPED) for ours, theirs in names.items()]


def _slice(array: Any, axis: int, start: int, end: int) -> Any:
    return array[(slice(None),) * axis + (slice(start, end),)]


def _joined(arrays: Arrays, axis: int) -> Any:
    return arrays[0].__array_namespace__().concat(arrays, axis=axis)
