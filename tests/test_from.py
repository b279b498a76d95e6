"""A run that begins with the weights of another: continued pre-training."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import linearnexus as ln
from linearnexus.core.errors import UserError
from linearnexus.training import launch
from tests.tiny import PERIOD, config, text_file

SHORT: dict[str, Any] = {"sample_tokens": 0, "eval_interval": 2, "log_interval": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run runs/old, and a text of other words in its letters, other.txt."""
    made = tmp_path_factory.mktemp("from")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        ln.train(config("jamba", text_file(made), max_steps=4, **SHORT), name="old", quiet=True)
        Path("other.txt").write_text("bcbdbcbe\na" * 150)
    return made


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def same(one: Any, two: Any) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_it_begins_with_the_best_weights_and_the_tokenizer() -> None:
    """Catches random weights, those of the last checkpoint, an optimizer or a step that goes on, a tokenizer trained
    anew, a length or a text that is inherited, and a config.json that does not tell where the weights came from."""
    old = ln.load("old")
    new = ln.train(from_run="old", data="other.txt", name="new", max_steps=1, dropout=0.1, quiet=True)
    first = ln.load("new", 0)
    assert same(old.model, first.model) and first.model.config.dropout == 0.1
    assert new.tokenizer == old.tokenizer and new.config.sequence_length == old.config.sequence_length
    assert (new.config.data, new.config.max_steps, new.metrics()[0]["step"]) == ("other.txt", 1, 0)
    info = json.loads((new.folder / "config.json").read_text())["info"]
    assert (info["from"]["run"], info["from"]["step"]) == ("runs/old", old.step)
    state = load_file(new.folder / "checkpoints/step_00000000/optimizer.safetensors")
    assert all(not np.asarray(array).any() for array in state.values())
    assert old.step != 0 and not same(ln.load("old", "last").model, ln.load("new", "last").model)


def test_it_goes_on_bit_for_bit_without_the_old_run(place: Path) -> None:
    """Stopped in the middle, and killed before its first checkpoint, with the old run gone. Catches start weights that
    are read again from another run's folder, or random ones."""
    whole = ln.train(from_run="old", data="other.txt", name="whole", max_steps=4, schedule="constant", quiet=True)
    ln.train(from_run="old", data="other.txt", name="half", max_steps=2, schedule="constant", quiet=True)
    shutil.move("runs/old", "gone")
    try:
        half = ln.train(resume="half", max_steps=4, quiet=True)
        shutil.copytree(whole.folder, "runs/killed")
        shutil.rmtree("runs/killed/checkpoints")
        for name in ("metrics.jsonl", "samples.txt"):
            Path("runs/killed", name).write_text("")
        killed = ln.train(resume="killed", quiet=True)
        shutil.copytree(killed.folder, "runs/damaged")
        Path("runs/damaged/base.safetensors").write_bytes(b"0")
        shutil.rmtree("runs/damaged/checkpoints")
        Path("runs/damaged/metrics.jsonl").write_text("")
        with pytest.raises(UserError, match=r"runs/damaged/base\.safetensors is damaged"):
            ln.train(resume="damaged", quiet=True)
    finally:
        shutil.move("gone", "runs/old")
    for other in (half, killed):
        assert same(ln.load("whole", "last").model, ln.load(other.folder, "last").model)
        assert [row.get("loss") for row in other.metrics()] == [row.get("loss") for row in whole.metrics()]


def test_what_is_refused(place: Path) -> None:
    Path("foreign.txt").write_text("abc\u00e9" * 500)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"data": "foreign.txt"}, "The character 'é'"),
        ({}, "--data is missing"),
        ({"data": "other.txt", "n_layer": 3}, "n_layer cannot be chosen"),
        ({"data": "other.txt", "tokenizer": "byte"}, "tokenizer cannot be chosen"),
        ({"data": "other.txt", "model": "gpt-nano"}, "leave model or from_run out"),
    )
    before = sorted(Path("runs").iterdir())
    for options, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            ln.train(from_run="old", quiet=True, **options)
    assert sorted(Path("runs").iterdir()) == before


@pytest.mark.slow
def test_learned_positions_do_not_grow() -> None:
    """A longer sequence makes a longer table in a new model; the weights of an old one have none."""
    short = dataclasses.replace(config("gpt").model, learned_positions=32)
    settings = dataclasses.replace(config("gpt", "text.txt", max_steps=1, **SHORT), model=short)
    folder = launch.train(settings, "table", quiet=True)
    with pytest.raises(UserError, match="sequence_length is 64, and the model of runs/table has 32"):
        ln.train(from_run=folder, data="other.txt", sequence_length=64)
    assert set(PERIOD) <= set("abcde\n")
