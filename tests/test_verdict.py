"""Where a run stands: each way of going wrong is named, on curves as such runs have them, and on real little runs."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import linearnexus as ln
from linearnexus.core.config import to_json
from linearnexus.data.registry import open_source
from linearnexus.training import verdict
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import base_config
from linearnexus.training.report import read_metrics, standing, write_report
from linearnexus.training.verdict import BANDS, Band, Usual, find_band, judge, make_band, recipe

BAND = Band((Usual(0, 4.2, 4.3, 4.3), Usual(100, 2.0, 2.1, 2.2), Usual(200, 1.0, 1.1, 1.5)), seeds=5, ended=(200,))
RUN = {"optimizer": "adamw", "learning_rate": 3e-3, "info": {"unigram_loss": 2.9}}


def rows(validation: dict[int, float], training: float = 1.0, rate: float = 1.0) -> list[dict[str, Any]]:
    """rate: at the end, as a share of the peak of RUN."""
    last = max(validation)
    measured = [{"step": step, "validation_loss": loss} for step, loss in validation.items()]
    return [*measured, {"step": last, "loss": training, "learning_rate": rate * RUN["learning_rate"]}]


def test_between_two_steps_a_band_is_interpolated() -> None:
    assert BAND.at(0) == BAND.edges[0] and BAND.at(100) == BAND.edges[1]
    assert BAND.at(150) == pytest.approx((150, 1.5, 1.6, 1.85))
    assert BAND.at(10**6) == BAND.edges[2]
    assert BAND.until(150) == [(0, 4.2, 4.3), (100, 2.0, 2.2), pytest.approx((150, 1.5, 1.85))]
    assert BAND.until(300)[-1] == (300, 1.0, 1.5)


def test_a_band_lies_between_runs_that_end_and_runs_that_go_on() -> None:
    full_rate = {"0": [4.2, 4.3], "50": [3.0, 3.1], "100": [2.0, 2.2], "200": [1.5, 1.4], "400": [1.2, 1.3]}
    band = make_band({"full_rate": full_rate, "ending": {"100": [1.8, 1.9], "400": [0.9, 0.8]}})
    assert band.seeds == 2 and band.ended == (100, 400)
    assert band.at(0) == (0, 4.2, 4.3, 4.3) and band.at(50) == (50, 3.0, 3.1, 3.1)  # nothing has ended so early
    assert band.at(100) == (100, 1.8, 1.9, 2.2) and band.at(400) == (400, 0.8, 0.9, 1.3)
    assert band.at(200) == pytest.approx((200, math.sqrt(1.8 * 0.8), math.sqrt(1.9 * 0.9), 1.5))  # a doubling of two
    assert band.lengths == "100 and 400" and replace(band, ended=(100, 400, 1200)).lengths == "100, 400 and 1,200"


@pytest.mark.parametrize(
    ("changes", "losses", "training", "name", "says"),
    [
        ({}, {0: 4.2, 100: 2.1, 200: 1.2}, 1.2, "on track", "were at 1.50 or less, and this one has 1.20"),
        ({}, {0: 4.2, 50: 3.5}, 3.4, "early", "too early"),
        ({}, {0: 4.2, 100: 2.0, 150: 1.9, 200: 2.2}, 0.3, "overfitting", "Overfitting since step 150"),
        ({}, {0: 4.2, 100: 2.0, 150: 1.4, 200: 1.6}, 1.5, "unstable", "third of the learning rate"),
        ({"learning_rate": 3e-2}, {0: 4.2, 100: 2.6, 200: 2.3}, 2.3, "rate too high", "10 times the usual one"),
        ({"learning_rate": 3e-2}, {0: 4.2, 100: 2.9, 200: 2.9}, 2.9, "rate too high", "10 times the usual one"),
        ({"learning_rate": 3e-4}, {0: 4.2, 100: 3.0, 200: 2.5}, 2.5, "rate too low", "1/10 of the usual one"),
        ({}, {0: 4.2, 100: 2.5, 200: 2.3}, 2.3, "behind", "Worse than usual"),
        ({}, {0: 4.2, 100: 2.92, 200: 2.9}, 2.9, "not learning", "nothing in the order of the tokens"),
        ({"learning_rate": 1e-5}, {0: 4.2, 100: 4.1, 200: 4.0}, 4.0, "rate too low", "1/300 of"),
    ],
)
def test_each_course_has_a_name(
    changes: dict[str, Any],
    losses: dict[int, float],
    training: float,
    name: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verdict, "find_band", lambda config: BAND)
    found = judge({**RUN, **changes}, rows(losses, training))
    assert found is not None and found.name == name and says in found.words


def test_a_run_whose_rate_has_come_down_is_compared_with_runs_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a finished run that hides behind those that are still going."""
    monkeypatch.setattr(verdict, "find_band", lambda config: BAND)
    good, bad = (judge(RUN, rows({0: 4.2, 200: loss}, 1.2, rate=0.01)) for loss in (1.1, 1.2))
    assert good is not None and good.name == "on track" and "ended with 1.00 to 1.10" in good.words
    assert bad is not None and bad.name == "behind"
    between = judge(RUN, rows({0: 4.2, 150: 1.5}, 1.5, rate=0.01))  # no run was ended there
    assert (
        between is not None and "1.60 or less is usual, as far as 5 runs of this recipe of 200 steps" in between.words
    )
    high = judge({**RUN, "learning_rate": 3e-2}, rows({0: 4.2, 200: 1.2}, 1.2, rate=0.01))
    assert high is not None and high.name == "rate too high"
    longer = judge(RUN, rows({0: 4.2, 5000: 0.7}, 0.7, rate=0.01))
    assert longer is not None and "after 200 steps" in longer.words and longer.name == "on track"


def test_a_run_of_ones_own_text_has_no_band_and_is_judged_by_itself() -> None:
    assert judge(RUN, []) is None and judge(RUN, rows({0: 4.2})) is None
    falling, done = judge(RUN, rows({0: 4.2, 100: 2.0, 200: 1.5})), judge(RUN, rows({0: 4.2, 100: 1.5, 200: 1.499}))
    assert falling is not None and "still falling" in falling.words
    assert done is not None and "hardly fell" in done.words
    shuffled = judge(RUN, rows({0: 4.2, 100: 2.91, 200: 2.9}))
    assert shuffled is not None and "right order" in shuffled.words


def test_muon_has_two_rates_and_the_stranger_one_counts() -> None:
    muon = {**RUN, "optimizer": "muon", "learning_rate": 5e-3, "matrix_learning_rate": 0.2}
    found = judge(muon, rows({0: 4.2, 100: 2.9, 200: 2.9}))
    assert found is not None and found.name == "rate too high" and "10 times" in found.words


def test_the_bands_are_of_the_presets_as_they_are_now() -> None:
    """Catches a preset or a default that changed while its band was not measured again."""
    bands = json.loads(BANDS.read_text())
    assert set(bands) == {"gpt-nano", "mamba-nano", "jamba-nano"}
    for name, entry in bands.items():
        config = to_json(base_config(name).resolved())
        assert entry["recipe"] == recipe(config), f"measure again: python -m scripts.bands FOLDER {name}"
        band = find_band({**config, "model": {**config["model"], "vocab_size": 68}})
        assert band is not None and band.seeds == 5
        assert find_band({**config, "batch_size": 8}) is None and find_band({**config, "data": "my.txt"}) is None
        assert find_band({**config, "learning_rate": 0.1, "seed": 7, "max_steps": 5}) is band
        assert all(edge.least <= edge.most <= edge.full_rate for edge in band.edges)
        assert band.edges[-1].most < 0.8 < 4 < band.edges[0].least  # from guessing to sentences


def test_what_frequencies_know(tmp_path: Path) -> None:
    """The entropy of the validation part under the training part's frequencies, one added to each count."""
    text = "abracadabra " * 50
    (tmp_path / "text.txt").write_text(text)
    source = open_source(TrainConfig(model=base_config("gpt-nano").model, data=str(tmp_path / "text.txt")))
    train, held_out = text[:540], text[540:]
    letters = sorted(set(text))
    shares = {letter: (train.count(letter) + 1) / (540 + len(letters)) for letter in letters}
    expected = -np.mean([np.log(shares[letter]) for letter in held_out])
    assert source.unigram_loss() == pytest.approx(expected, rel=1e-12)


SMALL = {"n_layer": 1, "hidden_size": 32, "sequence_length": 32, "batch_size": 8, "sample_tokens": 0, "quiet": True}


@pytest.mark.slow
def test_little_text_is_learned_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = random.Random(0).choices(["the", "dog", "sat", "on", "a", "mat", "saw", "one", "big", "fox"], k=150)
    Path("little.txt").write_text(" ".join(words))
    run = ln.train("gpt-nano", data="little.txt", max_steps=200, eval_interval=20, validation_fraction=0.3, **SMALL)
    found = standing(run.folder)
    assert found is not None and found.name == "overfitting"
    assert found.words.split(":")[0] in write_report(run.folder).read_text()


@pytest.mark.slow
def test_letters_in_random_order_cannot_be_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shuffled.txt").write_text("".join(random.Random(0).choices("etaoin shrdlu", range(13, 0, -1), k=40_000)))
    run = ln.train("gpt-nano", data="shuffled.txt", max_steps=120, **SMALL)
    found = standing(run.folder)
    assert found is not None and found.name == "not learning"
    assert read_metrics(run.folder / "metrics.jsonl")
