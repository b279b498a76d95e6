"""Shuffles without a list, packing, mixtures, hosts: each row once an epoch, and a batch that depends on its number."""

import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linearnexus.core.errors import UserError
from linearnexus.data import packing
from linearnexus.data.batches import Batch, Batches, MixedBatches, WindowBatches, evaluation_windows
from linearnexus.data.order import ROUNDS, Shares, permuted, random
from linearnexus.data.packing import PackedBatches, best_fit
from linearnexus.data.token_array import TokenArray

ROOT = Path(__file__).parents[1]


def many(lengths: list[int], parts: int, first: int = 0) -> TokenArray:
    """Documents of these lengths, cut into shards without regard to them; each token is its place."""
    n = sum(lengths)
    ids, starts = first + np.arange(n), np.cumsum([0, *lengths])[:-1]
    cuts = [0, *sorted(np.random.default_rng(n).integers(0, n + 1, parts - 1).tolist()), n]
    pieces = [ids[low:high] for low, high in itertools.pairwise(cuts)]
    inside = [starts[(starts >= low) & (starts < high)] - low for low, high in itertools.pairwise(cuts)]
    return TokenArray([len(part) for part in pieces], pieces.__getitem__, [len(s) for s in inside], inside.__getitem__)


def document_lengths(count: int, longest: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(1, longest + 1, count).tolist()


# --- the permutation --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_number_once(count: int, seed: int) -> None:
    keys = random(seed, 0, ROUNDS)
    order = permuted(np.arange(count), count, keys)
    assert sorted(order.tolist()) == list(range(count))
    some = np.arange(0, count, 7)
    np.testing.assert_array_equal(permuted(some, count, keys), order[::7])


def test_a_permutation_of_billions_needs_no_list() -> None:
    count = 10**10 + 7
    places = permuted(np.arange(count - 100_000, count), count, random(1, 2, ROUNDS))
    assert len(set(places.tolist())) == 100_000 and places.min() >= 0 and places.max() < count
    # a uniform draw: the mean of 100,000 has a standard deviation of count / sqrt(12 * 100,000)
    assert abs(places.mean() / count - 0.5) < 6 / np.sqrt(12 * 100_000)


def test_places_and_neighbours_are_spread_evenly() -> None:
    """Over 4,000 keys each of 10 numbers goes to each place 400 times, with a standard deviation of 19; 6 of these are
    no accident in 100 cells. Also for pairs: catches halves that are mixed too little."""
    orders = np.array([permuted(np.arange(10), 10, random(seed, 0, ROUNDS)) for seed in range(4000)])
    for number in range(10):
        counts = np.bincount(orders[:, number], minlength=10)
        assert np.abs(counts - 400).max() < 6 * 19, counts
    pairs = Counter(map(tuple, orders[:, 3:5].tolist()))
    assert len(pairs) == 90 and max(pairs.values()) < 44 + 6 * 7 and min(pairs.values()) > 44 - 6 * 7


# --- tokens in parts --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 9), st.data())
def test_parts_read_as_one(lengths: list[int], parts: int, data: st.DataObject) -> None:
    tokens = many(lengths, parts)
    n = len(tokens)
    assert n == sum(lengths) and tokens.documents == len(lengths)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    np.testing.assert_array_equal(tokens.read(start, stop), np.arange(start, stop))
    expected = np.cumsum([0, *lengths])
    np.testing.assert_array_equal(tokens.document_starts(np.arange(len(lengths) + 1)), expected)
    begins = tokens.begins(np.array([start]), stop - start)[0]
    np.testing.assert_array_equal(np.flatnonzero(begins) + start, [s for s in expected[:-1] if start <= s < stop])


# --- packing ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=0, max_size=200), st.integers(20, 40))
def test_best_fit_is_best_fit_decreasing(lengths: list[int], room: int) -> None:
    """As few rows as the plain algorithm, and no row too full. Catches pieces that overlap or are lost."""
    row, place, rows = best_fit(np.array(lengths, np.int64), room)
    used = np.zeros((rows, room), int)
    for length, r, p in zip(lengths, row.tolist(), place.tolist(), strict=True):
        used[r, p : p + length] += 1
        assert p + length <= room
    assert used.max(initial=0) <= 1 and used.sum() == sum(lengths)
    left: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [n for n in left if n >= length]
        if fitting:
            left[left.index(min(fitting))] -= length
        else:
            left.append(room - length)
    assert rows == len(left)


def check_packed(batch: Batch) -> None:
    """Within a document each target is the next token, and it is predicted; nothing else is."""
    starts, weights, valid = batch.starts, batch.weights, batch.valid
    assert starts is not None and weights is not None and valid is not None
    assert set(np.unique(weights)) <= {0.0, 1.0} and not starts[~valid].any() and valid[:, 0].all()
    real = weights == 1
    np.testing.assert_array_equal(batch.targets[real], batch.inputs[real] + 1)
    inside = valid[:, 1:] & ~starts[:, 1:]
    assert real[:, :-1][inside].all()  # a token that goes on was predicted by the one before it
    assert not real[:, :-1][starts[:, 1:]].any() and not real[~valid].any()


def test_packing_keeps_documents_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every target of every document once an epoch, in blocks of 50 documents. Catches a document cut that fits in a
    row, a last window lost, and rows of another epoch."""
    monkeypatch.setattr(packing, "BLOCK", 50)
    lengths = document_lengths(333, 60)
    tokens, T = many(lengths, 5), 37
    data = PackedBatches(tokens, T, 4, seed=3)
    for epoch in (0, 1, 5):
        batch = data.rows(epoch * data.rows_per_epoch + np.arange(data.rows_per_epoch))
        check_packed(batch)
        assert batch.weights is not None and batch.starts is not None and batch.valid is not None
        targets = batch.targets[batch.weights == 1]
        first = np.cumsum([0, *lengths])[:-1]
        assert sorted(targets.tolist()) == sorted(set(range(sum(lengths))) - set(first.tolist()))
        # documents of up to T + 1 tokens begin in a row and end in it
        cut = set(batch.inputs[batch.starts].tolist()) - set(first.tolist())
        assert all(lengths[int(np.searchsorted(first, place, side="right")) - 1] > T + 1 for place in cut)
        assert batch.valid.mean() > 0.9
    order = [data.rows(np.arange(data.rows_per_epoch) + e * data.rows_per_epoch).inputs.tolist() for e in (0, 1)]
    assert order[0] != order[1] and sorted(order[0]) == sorted(order[1])


# --- windows of documents ---------------------------------------------------------------------------------------------


def test_windows_know_where_documents_begin() -> None:
    lengths = document_lengths(200, 30)
    tokens, first = many(lengths, 4), np.cumsum([0, *lengths])[:-1]
    batch = WindowBatches(tokens, 23, 50, seed=0).batch(0)
    assert batch.starts is not None and batch.weights is not None and batch.valid is None
    np.testing.assert_array_equal(batch.starts, np.isin(batch.inputs, first))
    np.testing.assert_array_equal(batch.weights, ~np.isin(batch.targets, first))
    plain = WindowBatches(np.arange(sum(lengths)), 23, 50, seed=0).batch(0)
    assert plain[2:] == (None, None, None)
    np.testing.assert_array_equal(plain.inputs, batch.inputs)


def test_evaluation_leaves_out_what_no_document_can_tell() -> None:
    """Every token but the first of each document once."""
    lengths = document_lengths(50, 30)
    tokens, first = many(lengths, 3), np.cumsum([0, *lengths])[:-1]
    predicted = []
    for batch, weights in evaluation_windows(tokens, 23, 4):
        assert batch.starts is not None
        np.testing.assert_array_equal(batch.starts[weights == 1], np.isin(batch.inputs[weights == 1], first))
        predicted += batch.targets[weights == 1].tolist()
    assert predicted == sorted(set(range(sum(lengths))) - set(first.tolist()))


# --- mixtures ---------------------------------------------------------------------------------------------------------


def test_shares_are_exact_in_every_1024_rows() -> None:
    shares = Shares([5, 3, 2.3], seed=1)
    source, place = shares.of(np.arange(4096))
    for block in range(4):
        assert np.bincount(source[block * 1024 : (block + 1) * 1024]).tolist() == [497, 298, 229]
    for number in range(3):  # numbered without a gap, in order
        np.testing.assert_array_equal(place[source == number], np.arange((source == number).sum()))
    assert not np.array_equal(source[:1024], source[1024:2048])
    draw = np.random.default_rng(0).integers(0, 4096, 500)
    for got, all_of_them in zip(shares.of(draw), (source, place), strict=True):
        np.testing.assert_array_equal(got, all_of_them[draw])


def mixture(kind: str) -> Batches:
    """Batches of 8 rows, a token telling its source; of every kind that training has."""
    tokens = [many(document_lengths(300, 40, seed), 4, first=100_000 * seed) for seed in range(2)]
    if kind == "windows":
        return WindowBatches(tokens[0], 16, 8, seed=5)
    if kind == "random":
        return WindowBatches(tokens[0], 16, 8, seed=5, order="random")
    if kind == "packed":
        return PackedBatches(tokens[0], 16, 8, seed=5)
    return MixedBatches([PackedBatches(ids, 16, 8, seed=5 + n) for n, ids in enumerate(tokens)], [3, 1], 8, seed=5)


def test_a_mixture_has_its_weights_and_each_source_its_epochs() -> None:
    mixed = mixture("mixed")
    batch = mixed.rows(np.arange(1024 * 3))
    second = batch.inputs[:, 0] >= 100_000
    assert second.sum() == 3 * 256
    check_packed(batch)
    alone = PackedBatches(many(document_lengths(300, 40, 1), 4, first=100_000), 16, 8, seed=6)
    np.testing.assert_array_equal(batch.inputs[second], alone.rows(np.arange(3 * 256)).inputs)


def checksum(batches: Batches, steps: np.ndarray, hosts: int = 1) -> str:
    """Of the batches of these steps, in the order of the steps; hosts' parts joined."""
    found = {}
    for step in steps.tolist():
        parts = [batches.batch(step, host, hosts) for host in range(hosts)]
        fields = [np.concatenate(field) for field in zip(*parts, strict=True) if field[0] is not None]
        found[step] = hashlib.sha256(b"".join(np.ascontiguousarray(field).tobytes() for field in fields)).hexdigest()
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()


@pytest.mark.parametrize("kind", ["windows", "random", "packed", "mixed"])
def test_steps_in_any_order_process_and_number_of_hosts(kind: str) -> None:
    """Random steps are the same as in order, as the union of 4 hosts, and in a new process. Catches anything that is
    remembered from one step to the next. 10,000 of them: python -m benchmarks.loader."""
    steps = np.random.default_rng(0).choice(5000, 200, replace=False)
    expected = checksum(mixture(kind), np.sort(steps))
    assert checksum(mixture(kind), steps) == checksum(mixture(kind), steps[::-1], hosts=4) == expected
    code = "import sys, numpy as np; from tests.test_order import checksum, mixture;"
    code += f"print(checksum(mixture({kind!r}), np.array({steps.tolist()})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_hosts_divide_the_rows() -> None:
    with pytest.raises(UserError, match="--batch-size 8 is no multiple of the 3 hosts"):
        mixture("windows").batch(0, 0, 3)
