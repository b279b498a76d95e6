"""Is this normal? Where a run stands, in plain words: on its way, overfitting, a wrong learning rate, nothing to learn.

The recipes that come with the package have a band: the validation losses of five seeds (bands.json, measured by
scripts/bands.py), between runs that end at a step, their rate lowered to zero, and runs that continue at the full rate.
A longer run lies between the two, so a run of any length can be compared. Runs were ended after three lengths: what one
of another length ends with is estimated from these, and the words say so.

Look first at: `judge`, `Band`.
"""

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from linearnexus.core.config import from_json
from linearnexus.core.errors import UserError
from linearnexus.training.chart import Points, Row, finite, points
from linearnexus.training.optimizers import OptimizerConfig, optimizer_config
from linearnexus.training.optimizers.optimizer_config import from_flat_fields

BANDS = Path(__file__).with_name("bands.json")
MARGIN = 0.02  # of a loss: as far as a sixth seed may lie outside of five
RISE = 0.05  # nats above the best validation loss are no noise
EARLY = 100  # steps in which nothing is settled: the warm-up

Name = Literal[
    "on track", "early", "overfitting", "unstable", "rate too high", "rate too low", "behind", "not learning"
]


@dataclass(frozen=True)
class Verdict:
    name: Name
    words: str  # for a person, with what to try


class Usual(NamedTuple):
    """Usual validation losses after some steps."""

    step: int
    least: float  # of runs that end there
    most: float  # of these
    full_rate: float  # the most of runs that continue at the full rate


@dataclass(frozen=True)
class Band:
    """The usual losses of a recipe, the steps rising from 0."""

    edges: tuple[Usual, ...]
    seeds: int
    ended: tuple[int, ...]  # the steps after which runs really ended

    def at(self, step: int) -> Usual:
        """The usual losses after so many steps; beyond the last one, that one's."""
        steps = [edge.step for edge in self.edges]
        right = bisect_left(steps, step)
        if right >= len(steps) or steps[right] == step:
            return self.edges[min(right, len(steps) - 1)]
        before, after = self.edges[right - 1], self.edges[right]
        share = (step - before.step) / (after.step - before.step)
        return Usual(step, *((1 - share) * x + share * y for x, y in zip(before[1:], after[1:], strict=True)))

    @property
    def lengths(self) -> str:
        """`ended` in words: 300, 600 and 1,200."""
        *first, last = (f"{step:,}" for step in self.ended)
        return f"{', '.join(first)} and {last}" if first else last

    def until(self, last: int) -> list[tuple[int, float, float]]:
        """(step, least, most of all) up to a step, for a chart."""
        edges = [*(edge for edge in self.edges if edge.step < last), self.at(last)._replace(step=last)]
        return [(edge.step, edge.least, max(edge.most, edge.full_rate)) for edge in edges]


def recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share for their losses to be comparable, of a config.json. How they learn may differ."""
    model = config.get("model")
    if isinstance(model, dict):
        model = {name: value for name, value in model.items() if name not in ("vocab_size", "dropout")}
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()
    kept = ("data", "validation_fraction", "sequence_length", "batch_size", "gradient_accumulation_steps")
    tokenizer = config.get("tokenizer") or "char"
    return {**{name: config.get(name) for name in kept}, "tokenizer": tokenizer, "model": digest[:16]}


def find_band(config: Mapping[str, Any]) -> Band | None:
    """The band of a run's recipe; None: it has none."""
    wanted = recipe(config)
    return next((band for kept, band in _bands() if kept == wanted), None)


@cache
def _bands() -> list[tuple[dict[str, Any], Band]]:
    return [(entry["recipe"], make_band(entry)) for entry in json.loads(BANDS.read_text()).values()]


def make_band(entry: Mapping[str, Any]) -> Band:
    """The band of some seeds: {"full_rate": {step: losses}, "ending": {step: losses}}."""
    on, ended = ({int(step): seeds for step, seeds in entry[name].items()} for name in ("full_rate", "ending"))
    known = sorted({**{step: seeds for step, seeds in on.items() if step < min(ended)}, **ended}.items())
    edges = []
    for step in sorted(on):
        # between two lengths the loss at the end falls about as a power of the steps
        right = bisect_left([at for at, _ in known], step)
        (before, left_losses), (after, right_losses) = known[max(right - 1, 0)], known[right]
        share = math.log(step / before) / math.log(after / before) if 0 < before < after else 1.0
        least, most = (extreme(left_losses) ** (1 - share) * extreme(right_losses) ** share for extreme in (min, max))
        edges.append(Usual(step, least, most, max(on[step])))
    return Band(tuple(edges), len(next(iter(entry["ending"].values()))), tuple(sorted(ended)))


def judge(config: Mapping[str, Any], rows: Sequence[Row]) -> Verdict | None:
    """The verdict on a run by its config.json and the rows of its metrics.jsonl; None: nothing can be said of it."""
    validation, training = finite(points(rows, "validation_loss")), finite(points(rows, "loss"))
    if not validation or validation[-1][0] == 0:
        return None
    (step, last), (best_step, best) = validation[-1], min(validation, key=lambda point: point[1])
    band, times = find_band(config), _times_usual(config)
    if last > best + RISE and training and training[-1][1] < best:
        return Verdict(
            "overfitting",
            f"Overfitting since step {best_step:,}: it learns its text by heart and gets worse on text that it was not "
            f"trained on (from {best:.2f} to {last:.2f}). More text or fewer steps would help; the checkpoint of step "
            f"{best_step:,} is kept.",
        )
    if step < EARLY:
        return Verdict("early", f"After {step:,} steps it is too early to tell how this goes.")
    unigram = _unigram_loss(config)
    if unigram is not None and last > 0.98 * unigram:
        return _not_learning(last, unigram, times, known=band is not None)
    if last > best + RISE:
        return Verdict(
            "unstable" if times < 3 else "rate too high",
            f"Training is unstable: the loss was {best:.2f} at step {best_step:,} and is {last:.2f} now. "
            f"{_rate(times)} Try a third of the learning rate.",
        )
    return _in_band(step, last, band, times, _came_down(config, rows)) if band else _alone(validation, config)


def _not_learning(last: float, unigram: float, times: float, known: bool) -> Verdict:
    said = (
        f"Not learning: one who knows only how frequent each token is has a loss of {unigram:.2f}, and this model "
        f"has {last:.2f}, so it has found nothing in the order of the tokens."
    )
    if times >= 3:
        return Verdict("rate too high", f"{said} {_rate(times)} The learning rate is too high; try the usual one.")
    if times <= 1 / 10:
        return Verdict("rate too low", f"{said} {_rate(times)} The learning rate is too low; try the usual one.")
    why = "Other settings of this run must be in the way." if known else "Is the text in its right order, and a text?"
    return Verdict("not learning", f"{said} {why}")


def _in_band(step: int, last: float, band: Band, times: float, ended: bool) -> Verdict:
    usual, runs = band.at(step), f"{band.seeds} runs of this recipe"
    after = f"after {usual.step:,} steps"
    if ended and usual.step in band.ended:
        most, said = usual.most, f"{after}, {runs} ended with {usual.least:.2f} to {usual.most:.2f}"
    elif ended:
        most = usual.most
        said = f"{after}, {most:.2f} or less is usual, as far as {runs} of {band.lengths} steps each can tell"
    else:
        most, said = usual.full_rate, f"{after}, {runs} were at {usual.full_rate:.2f} or less"
    if last <= most * (1 + MARGIN):
        return Verdict("on track", f"On track: {said}, and this one has {last:.2f}.")
    said = f"Worse than usual: {said}, and this one has {last:.2f}."
    if times >= 3:
        return Verdict("rate too high", f"{said} {_rate(times)} The learning rate is too high.")
    if times <= 1 / 3:
        return Verdict("rate too low", f"{said} {_rate(times)} The learning rate is too low.")
    return Verdict("behind", f"{said} Its settings differ from the recipe's, or it needs more steps.")


def _came_down(config: Mapping[str, Any], rows: Sequence[Row]) -> bool:
    """Has the learning rate come down from its peak, as at the end of a run?"""
    rates, peak = finite(points(rows, "learning_rate")), config.get("learning_rate")
    return bool(rates) and isinstance(peak, float) and rates[-1][1] < peak / 10


def _alone(validation: Points, config: Mapping[str, Any]) -> Verdict | None:
    """Of a run without a band."""
    if len(validation) < 3:
        return None
    if validation[-1][1] < 0.99 * validation[-2][1]:
        return Verdict("on track", "The loss was still falling at the end: more steps would lower it further.")
    said = "At the end the loss hardly fell any more"
    if config.get("schedule") == "constant":
        return Verdict("on track", f"{said}: more steps alone would not change much.")
    return Verdict("on track", f"{said}, as the learning rate had come down; a longer run may learn more.")


def optimizer_of(config: Mapping[str, Any]) -> OptimizerConfig | None:
    """The optimizer of a config.json; None where it cannot be made out."""
    try:
        given = from_flat_fields(config).get("optimizer")
        return optimizer_config(from_json(given) if isinstance(given, dict) else given)
    except (UserError, TypeError):
        return None


def _times_usual(config: Mapping[str, Any]) -> float:
    """How many times the usual one for its optimizer the peak learning rate is."""
    optimizer, rate = optimizer_of(config), config.get("learning_rate")
    if optimizer is None:
        return 1.0
    return optimizer.times_usual(rate if isinstance(rate, float) and rate > 0 else optimizer.usual_rate)


def _rate(times: float) -> str:
    if 1 / 3 < times < 3:
        return ""
    share = f"{times:.3g} times" if times > 1 else f"1/{1 / times:.3g} of"
    return f"Its learning rate is {share} the usual one."


def _unigram_loss(config: Mapping[str, Any]) -> float | None:
    info = config.get("info")
    value = info.get("unigram_loss") if isinstance(info, dict) else None
    return value if isinstance(value, float) and math.isfinite(value) else None
