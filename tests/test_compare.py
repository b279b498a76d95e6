"""A comparison: models of one size, the best rate of each, results that stay, and one that goes on where it was."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from linearnexus import api
from linearnexus.core.errors import UserError
from linearnexus.lab.models import models
from linearnexus.lab.report import best_of, cells, markdown
from linearnexus.lab.settings import CompareSettings
from linearnexus.models.costs import costs
from linearnexus.training import launch
from linearnexus.training import step as step_module

SIZE = {"n_layer": 1, "hidden_size": 16, "n_head": 2, "batch_size": 4}
TINY: dict[str, Any] = {"data": "parity:length=6", **SIZE, "max_steps": 4, "eval_batches": 2}
COMMAND = "compare attention retnet --data parity:length=6 --n-layer 1 --hidden-size 16 --max-steps 4 --batch-size 4"


def result(mixer: str, rate: float, seed: int, loss: float, diverged: bool = False) -> dict[str, Any]:
    row = {"mixer": mixer, "learning_rate": rate, "seed": seed, "loss": loss, "accuracy": 1 - loss}
    return {**row, "diverged": diverged, "parameters": 10, "state_bytes": 8, "tokens_per_second": 1, "accuracy_at": {}}


def test_models_of_one_size() -> None:
    """Within half a channel of the MLPs; a hybrid makes all as deep; a preset stays what it is."""
    mixers = ("attention", "mamba2(state_size=16)", "gla(expand_k=1.0)", "3*deltanet,1*attention", "gpt-nano")
    found = models(mixers, CompareSettings(), 100)
    sizes = {text: costs(model).parameters for text, model in found.items() if text != "gpt-nano"}
    assert max(sizes.values()) - min(sizes.values()) <= 2 * 4 * 64
    assert {model.n_layer for model in found.values()} == {4} and found["gpt-nano"].hidden_size == 128
    given = models(("attention",), CompareSettings(parameters=70_000), 100)["attention"]
    assert abs(costs(given).parameters - 70_000) <= 2 * 64
    with pytest.raises(UserError, match=r"beside its MLPs.*--parameters \d+ or more"):
        models(("mamba2",), CompareSettings(parameters=20_000), 100)


def test_the_best_rate_has_the_lowest_mean_loss_over_seeds() -> None:
    """Catches a best run of one seed, a divergence that counts as its last good loss, an edge that is not told."""
    rows = [
        result("a", rate, seed, loss)
        for rate, losses in {0.1: (0.1, 0.9), 0.2: (0.3, 0.4), 0.3: (0.5, 0.5)}.items()
        for seed, loss in enumerate(losses)
    ]
    rows += [
        result("b", 0.1, 0, 0.5),
        result("b", 0.1, 1, 0.5),
        result("b", 0.2, 0, 0.1, True),
        result("b", 0.2, 1, 0.1),
    ]
    a, b = best_of(rows)
    assert a.rows[0]["learning_rate"] == 0.2 and not a.at_edge and a.mean("loss") == pytest.approx(0.35)
    assert b.rows[0]["learning_rate"] == 0.1 and b.at_edge
    heads, lines = cells([a, b])
    assert dict(zip(heads, lines[0], strict=True))["right"] == "65.0% (60.0% to 70.0%)"
    assert dict(zip(heads, lines[1], strict=True))["rate"] == "0.1*"


def test_a_text_has_no_right_answers() -> None:
    """Catches an empty column."""
    asked = [{**result("a", 0.1, seed, 0.5), "steps": 4, "seconds": 1.0} for seed in (0, 1)]
    for rows, right in ((asked, True), ([{**row, "accuracy": None} for row in asked], False)):
        tables = [line for line in markdown("stories", best_of(rows), rows).splitlines() if line.startswith("| model")]
        assert [" right " in line for line in tables] == [right, right]


@pytest.mark.slow
def test_the_command_line_end_to_end(tmp_path: Path, run_cli: Any) -> None:
    """Two mixers, two rates, another length: every file, the same numbers in all of them, ordinary run folders."""
    more = ("--learning-rates", "0.001", "0.01", "--lengths", "9", "--eval-batches", "2")
    done = run_cli(*COMMAND.split(), *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "compare-parity-length-6"
    rows = json.loads((folder / "results.json").read_text())["runs"]
    assert [(row["mixer"], row["learning_rate"]) for row in rows] == [
        (mixer, rate) for mixer in ("attention", "retnet") for rate in (0.001, 0.01)
    ]
    lines = list(csv.DictReader((folder / "results.csv").open()))
    assert [float(line["accuracy_at_9"]) for line in lines] == [row["accuracy_at"]["9"] for row in rows]
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    for best in ("attention", "retnet"):
        assert best in done.stdout and f"`{best}`" in (folder / "results.md").read_text()
    for row, place in zip(rows, sorted(path.parent for path in folder.glob("*/config.json")), strict=True):
        last = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()][-1]
        assert (last["step"], last["validation_loss"], last["validation_accuracy"]) == (4, row["loss"], row["accuracy"])
    assert rows[0]["state_bytes"] == 2 * 6 * 16 * 4  # keys and values of six tokens


@pytest.mark.slow
def test_a_stopped_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the second of three runs: nothing is trained again, and all numbers are those of one left alone."""
    monkeypatch.chdir(tmp_path)
    options = {**TINY, "learning_rates": (0.003, 0.01, 0.03)}
    alone = api.compare(["retnet"], name="alone", on_message=lambda _: None, **options)
    real, trained = step_module.train_step, []

    def step(state: Any, *rest: Any) -> Any:
        trained.append(int(state.step))
        if len(trained) == 6:
            signal.raise_signal(signal.SIGINT)
        return real(state, *rest)

    monkeypatch.setattr(step_module, "train_step", step)
    with pytest.raises(launch.Interrupted):
        api.compare(["retnet"], name="stopped", on_message=lambda _: None, **options)
    found = api.compare(["retnet"], name="stopped", on_message=lambda _: None, **options)
    assert trained == [0, 1, 2, 3] * 3
    times = ("seconds", "tokens_per_second")
    same = [[{key: value for key, value in row.items() if key not in times} for row in c.rows] for c in (alone, found)]
    assert same[0] == same[1]
    assert api.compare(["retnet"], name="stopped", on_message=lambda _: None, **options).rows == found.rows
    assert len(trained) == 12
    damaged = next(found.folder.glob("*/result.json"))
    damaged.write_text('{"mixer')
    with pytest.raises(UserError, match=r"damaged.*delete it"):
        api.compare(["retnet"], name="stopped", **options)
    damaged.unlink()
    again = api.compare(["retnet"], name="stopped", on_message=lambda _: None, **options).rows
    assert [row["loss"] for row in again] == [row["loss"] for row in found.rows] and len(trained) == 12
    with pytest.raises(UserError, match=r"other settings.*choose another --name"):
        api.compare(["retnet"], name="stopped", **{**options, "batch_size": 8})


@pytest.mark.slow
def test_a_rate_that_diverges_is_told_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {**TINY, "max_steps": 60, "warmup_steps": 0, "log_interval": 5}
    rates = (0.003, 1e4)
    told: list[str] = []
    found = api.compare(["attention"], learning_rates=rates, on_message=told.append, **options)
    assert [row["diverged"] for row in found.rows] == [False, True] and "diverged" in told[2]
    assert found.best[0].rows[0]["learning_rate"] == 0.003
    monkeypatch.setattr(step_module, "train_step", None)
    assert api.compare(["attention"], learning_rates=rates, on_message=told.append, **options).rows == found.rows


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("atention", ("'atention'", "did you mean 'attention'?")),
        ("attention attention", ("each once",)),
        ("", ("one or more models",)),
        ("attention --learning-rate 0.1", ("learning_rates in place of learning_rate",)),
        ("attention --learning-rates 0", ("above 0",)),
        ("attention --learning-rates 0.1 0.1", ("learning_rates has a value twice",)),
        ("attention --data recall:pares=3", ("'pares'", "did you mean 'pairs'?")),
        ("attention --data stories --lengths 64", ("lengths is for tasks",)),
        ("attention --data recall --lengths 16", ("pairs=8", "give pairs=4")),
        ("attention --name a/b", ("no name of a folder",)),
        ("attention --sequence-length 32", ("length=32 in --data",)),
    ],
)
def test_mistakes(
    words: str, parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """In this process. Catches a mistake that is told after something was written."""
    from linearnexus.cli.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["compare", *words.split()])
    told = capsys.readouterr().err
    assert end.value.code == 2 and all(part in told for part in parts), told
    assert not list(tmp_path.iterdir())
