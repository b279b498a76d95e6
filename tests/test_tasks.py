"""Tasks: the answers are what a reader with a dictionary, a counter or a list finds in the inputs; rows are pure."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linearnexus import api, tokenizers
from linearnexus.core.errors import UserError
from linearnexus.data.batches import Batch
from linearnexus.data.registry import check_source, open_source
from linearnexus.data.settings import DataSettings
from linearnexus.data.tasks import TASKS, Copying, Induction, Parity, Recall, Task, TaskBatches, open_task
from linearnexus.tokenizers import SymbolTokenizer
from tests.tiny import config

SMALL = {
    "recall": Recall(length=27, pairs=3, vocabulary=11),
    "copying": Copying(length=19, tokens=4, vocabulary=6),
    "induction": Induction(length=9, vocabulary=5),
    "parity": Parity(length=13),
    "s5": TASKS["s5"](length=7),
}


def read_recall(words: list[str]) -> dict[int, str]:
    """Pairs are told up to the first key that was there before; a later key asks if it is the first to repeat."""
    told = dict(zip(words[0:6:2], words[1:6:2], strict=True))
    return {place: told[word] for place, word in enumerate(words) if place >= 6 and word in told}


def read_copying(words: list[str]) -> dict[int, str]:
    found = [word for word in words if word not in (".", "?")]
    return dict(zip((place for place, word in enumerate(words) if word == "?"), found, strict=True))


def read_induction(words: list[str]) -> dict[int, str]:
    return {len(words) - 1: words[words.index("!") + 1]}


def read_parity(words: list[str]) -> dict[int, str]:
    return {place: "01"[words[: place + 1].count("1") & 1] for place in range(len(words))}


def read_s5(words: list[str]) -> dict[int, str]:
    things, answers = list("12345"), {}
    for place, word in enumerate(words):
        things = [things[int(where) - 1] for where in word]
        answers[place] = "".join(things)
    return answers


READERS = {
    "recall": read_recall,
    "copying": read_copying,
    "induction": read_induction,
    "parity": read_parity,
    "s5": read_s5,
}


def rows_of(task: Task, count: int, seed: int = 0) -> Batch:
    return task.rows(np.arange(count), seed)


@pytest.mark.parametrize("name", TASKS)
def test_the_answers_are_what_a_reader_finds(name: str) -> None:
    """Catches an answer at another place, an answer among the inputs that a mark should hide, a wrong product. Recall's
    random filler may be a key too, so the reader finds a question more: it must then have weight 0."""
    task = SMALL[name]
    batch, symbols = rows_of(task, 200), np.array(task.symbols)
    assert batch.inputs.shape == (200, task.length) and batch.inputs.dtype == np.int32
    assert batch.weights is not None and set(np.unique(batch.weights)) <= {0.0, 1.0}
    for inputs, targets, weights in zip(batch.inputs, batch.targets, batch.weights, strict=True):
        expected = READERS[name](symbols[inputs].tolist())
        asked = {int(place): str(symbols[targets[place]]) for place in np.flatnonzero(weights)}
        assert asked.items() <= expected.items()
        assert len(asked) == (3 if name == "recall" else len(expected))


def test_recall_asks_each_key_once_and_mostly_soon() -> None:
    """Zoology's rows: distinct keys and values of their own halves; questions at even places, near ones more often."""
    batch = rows_of(Recall(length=64, pairs=4, vocabulary=40), 500)
    assert batch.weights is not None
    keys, values = batch.inputs[:, 0:8:2], batch.inputs[:, 1:8:2]
    assert keys.max() < 20 <= values.min()
    assert all(len(set(row.tolist())) == 4 for part in (keys, values) for row in part)
    places = [np.flatnonzero(row).tolist() for row in batch.weights]
    asked = np.array([row[place] for row, place in zip(batch.inputs, places, strict=True)])
    assert (np.sort(asked, axis=1) == np.sort(keys, axis=1)).all()
    assert all(place % 2 == 0 and place >= 8 for row in places for place in row)
    counts = np.bincount(np.concatenate(places), minlength=64)[8::2]
    assert counts[0] > 2 * counts[5] > counts[-1] > 0


def test_recall_with_fewer_pairs_in_some_rows() -> None:
    """Rows of 2, 4 and 8 pairs, a third each, and each as if it had been asked for alone."""
    batch = rows_of(Recall(length=32, pairs=8, fewest=2, vocabulary=40), 300)
    assert batch.weights is not None
    counts = batch.weights.sum(axis=1).astype(int)
    assert set(counts.tolist()) == {2, 4, 8} and np.bincount(counts).max() < 150
    for inputs, targets, weights, count in zip(batch.inputs, batch.targets, batch.weights, counts, strict=True):
        told = dict(zip(inputs[0 : 2 * count : 2].tolist(), inputs[1 : 2 * count : 2].tolist(), strict=True))
        asked = np.flatnonzero(weights)
        assert len(told) == count and asked.min() >= 2 * count
        assert {inputs[place]: targets[place] for place in asked} == told


def test_every_symbol_and_place_comes() -> None:
    """Catches a symbol that is never drawn, a mark that is always early."""
    copying, induction = rows_of(SMALL["copying"], 500), rows_of(SMALL["induction"], 500)
    assert set(np.unique(copying.inputs)) == set(range(6))
    assert set(np.unique(np.nonzero(copying.inputs[:, :15])[1])) == set(range(15))
    assert set(np.unique(np.nonzero(induction.inputs[:, :-1] == 4)[1])) == set(range(7))
    assert set(np.unique(rows_of(SMALL["s5"], 500).inputs)) == set(range(120))


@pytest.mark.parametrize("task", SMALL.values(), ids=SMALL)
def test_a_row_is_a_pure_function_of_seed_and_number(task: Task) -> None:
    """Catches a row that depends on its batch mates or on the host, and seeds or steps with the same rows."""
    batches = TaskBatches(task, 6, seed=3)
    whole = batches.batch(5)
    parts = [batches.batch(5, host, 3) for host in range(3)]
    for field in ("inputs", "targets", "weights"):
        np.testing.assert_array_equal(getattr(whole, field), np.concatenate([getattr(part, field) for part in parts]))
    for other in (batches.batch(6), TaskBatches(task, 6, seed=4).batch(5), next(iter(task.held_out(6)))[0]):
        assert (whole.inputs != other.inputs).any()
    with pytest.raises(UserError, match="no epochs"):
        _ = batches.steps_per_epoch


def test_held_out_rows_are_filled_up_with_weight_0() -> None:
    parts = list(SMALL["parity"].held_out(4, 6))
    assert [float(weights.sum()) for _, weights in parts] == [4 * 13, 2 * 13]
    assert {batch.inputs.shape for batch, _ in parts} == {(4, 13)}
    again = next(SMALL["parity"].held_out(6, 6))[0].inputs
    np.testing.assert_array_equal(np.concatenate([batch.inputs for batch, _ in parts])[:6], again)


def test_a_task_by_its_name() -> None:
    task = open_task("recall:pairs=16")
    assert task == Recall(pairs=16) and str(task) == "recall:length=64,pairs=16,fewest=0,vocabulary=256"
    assert all(open_task(name) == cls() and open_task(str(cls())) == cls() for name, cls in TASKS.items())
    assert open_task("stories") is open_task("a:0.7,b:0.3") is open_task("C:/texts") is None


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("recall:pares=16", ("'pares'", "did you mean 'pairs'?")),
        ("recal:pairs=16", ("'recal'", "did you mean 'recall'?")),
        ("recall:pairs=17", ("pairs=17", "give pairs=16", "length=68")),
        ("recall:pairs=9,vocabulary=16", ("give pairs=8", "vocabulary=16")),
        ("copying:tokens=40", ("tokens=40", "give tokens=32")),
        ("parity:length=0", ("length=0", "give length=1")),
        ("parity:40", ("'40'", "NAME=NUMBER")),
        ("parity:length=forty", ("'length=forty'", "length=64")),
        ("parity:length=9999999", ("give length=1048576",)),
    ],
)
def test_mistakes_name_the_nearest_that_fits(data: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        check_source(DataSettings(data))
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"sequence_length": 32}, "length=32 in --data"),
        ({"tokenizer": "char", "sequence_length": 40}, "its own symbols"),
        ({"packing": "best-fit", "sequence_length": 40}, "no documents"),
    ],
)
def test_settings_that_a_task_does_not_have(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        open_source(config("gpt", "parity", **options))


def test_symbols_go_to_text_and_back(tmp_path: Path) -> None:
    tokenizer = SymbolTokenizer(SMALL["recall"].symbols)
    ids = list(range(11))
    text = tokenizer.decode(ids)
    assert text == " k0 k1 k2 k3 k4 v0 v1 v2 v3 v4 v5"
    assert tokenizer.encode(text) == tokenizer.encode_array(text.strip()).tolist() == ids
    assert "".join(map(tokenizer.stream().add, ids)) == text
    tokenizers.save(tokenizer, tmp_path / "tokenizer.json")
    assert tokenizers.load(tmp_path) == tokenizer
    with pytest.raises(UserError, match="'k9'; did you mean"):
        tokenizer.encode("k9")
    for symbols in (["a", "a"], ["a b"], "ab"):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"kind": "symbols", "symbols": symbols}))
        with pytest.raises(UserError, match=r"tokenizer\.json"):
            tokenizers.load(tmp_path)


def test_a_run_on_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Recall of one pair, from the presets: learned, and told everywhere. Catches a loss that counts more
    than the answers, an accuracy that is none, a run that cannot go on or write."""
    monkeypatch.chdir(tmp_path)
    data = "recall:pairs=1,length=4,vocabulary=4"
    size = {"n_layer": 1, "hidden_size": 32, "n_head": 2}
    options = {**size, "optimizer": "adamw", "learning_rate": 1e-2, "warmup_steps": 10}
    run = api.train("gpt-nano", data=data, max_steps=150, eval_interval=50, sample_tokens=4, **options)
    assert run.config.sequence_length == 4 and run.folder.name == "gpt-nano-recall-pairs-1-length-4-vocabulary-4-1"
    found = [row["validation_accuracy"] for row in run.metrics() if "validation_accuracy" in row]
    assert len(found) == 4 and found[0] < 0.8 and found[-1] > 0.99
    assert "of the answers right" in capsys.readouterr().out
    assert f"{found[-1]:.1%} of the answers" in (run.folder / "report.html").read_text()
    assert set(run.generate("k0 v1 k0", max_tokens=3)) <= set(" kv01")
    longer = api.train(resume=run.folder, max_steps=160, quiet=True)
    assert longer.step >= 150 and longer.metrics()[-1]["step"] == 160


def test_all_products_of_s5() -> None:
    """The table against permutations of things, all 14,400 of them."""
    symbols = TASKS["s5"]().symbols
    from linearnexus.data.tasks import _products

    products = _products()
    for (a, first), (b, second) in itertools.product(enumerate(symbols), repeat=2):
        assert symbols[products[a, b]] == "".join(first[int(where) - 1] for where in second)
