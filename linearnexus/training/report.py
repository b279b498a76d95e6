"""The report of a run: one HTML page, complete in itself, for a reader who has just trained a first model.

    run/{config.json, metrics.jsonl, samples.txt}  ->  run/report.html

Look first at: `write_report`, `_story` (how it went, in words), `PAGE`.
"""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from linearnexus.core.config import config_name
from linearnexus.core.errors import UserError
from linearnexus.core.paths import write_atomic
from linearnexus.core.renames import current_config
from linearnexus.training.chart import DARK, LIGHT, Points, Row, curve_svg, finite, points, small_svg
from linearnexus.training.verdict import Band, Verdict, find_band, judge, optimizer_of

SHOWN_SAMPLES = 12  # the others are folded away


def write_report(run: Path) -> Path:
    """Writes report.html into the folder of a run, finished or hardly begun, and returns its path.

    Raises UserError, naming the file, where there is no config.json or it is not a JSON object.
    """
    config, rows = _read_config(run), read_metrics(run / "metrics.jsonl")
    unit = {"char": "character", "byte": "byte"}.get(str(config.get("tokenizer")), "token")
    vocab_size = _whole(_inside(config, "model", "vocab_size"))
    validation = finite(points(rows, "validation_loss"))
    measured = validation or finite(points(rows, "loss"))
    data = str(config.get("data", "text"))
    band = find_band(config)
    edges = None if band is None else band.until(_steps(config, rows)[0])
    page = PAGE.format(
        style=STYLE,
        run=escape(run.resolve().name),
        title=escape(f"{config.get('preset', 'A model')}, trained on {Path(data).name or data}"),
        story=_story(config, rows, measured, vocab_size, unit),
        kind="Validation loss" if validation else "Training loss",
        tiles=_tiles(measured),
        broad=curve_svg(rows, vocab_size, "Loss curve", unit=unit, band=edges),
        narrow=curve_svg(rows, vocab_size, "Loss curve", unit=unit, band=edges, width=358, height=340),
        meaning=_meaning(measured, vocab_size, unit, band),
        samples=_samples(read_samples(run / "samples.txt"), dict(validation)),
        facts=_facts(config, rows, vocab_size, unit),
        small=_small(points(rows, "learning_rate"), points(rows, "tokens_per_second")),
        config=escape(json.dumps(config, indent=2, ensure_ascii=False)),
    )
    write_atomic(run / "report.html", page.encode("utf-8", "replace"))
    return run / "report.html"


def standing(run: Path) -> Verdict | None:
    """How a run stands, in words; None: nothing can be said of it. Raises UserError as `write_report` does."""
    return judge(_read_config(run), read_metrics(run / "metrics.jsonl"))


# --- what a run left -------------------------------------------------------------------------------------------------


def read_metrics(path: Path) -> list[Row]:
    """The rows of metrics.jsonl, none where there is no file; the half line that a killed run leaves is no row."""
    rows: list[Row] = []
    for line in _read(path).splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and _whole(row.get("step")) is not None:
                rows.append(row)
    return rows


def read_samples(path: Path) -> list[tuple[int, str]]:
    """(step, text) of every sample in samples.txt, none where there is no file."""
    _, *parts = re.split(r"^=== step (\d+) ===\n", _read(path), flags=re.MULTILINE)
    return [(int(step), text.strip("\n")) for step, text in zip(parts[::2], parts[1::2], strict=True)]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_config(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    if not path.is_file():
        raise UserError(f"{run} is not a run: it has no config.json; give a folder that `linearnexus train` made.")
    try:
        config = json.loads(_read(path))
        if not isinstance(config, dict):
            raise ValueError("it is not an object")
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a run's config ({error}); restore it, or train again.") from error
    return current_config(config)


def _inside(config: Row, outer: str, inner: str) -> Any:
    return config[outer].get(inner) if isinstance(config.get(outer), dict) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _steps(config: Row, rows: Sequence[Row]) -> tuple[int, int | None]:
    """Those done, and those planned if the config says so."""
    return max((row["step"] for row in rows), default=0), _whole(config.get("max_steps"))


# --- in words --------------------------------------------------------------------------------------------------------


def _choices(loss: float) -> str:
    """exp(loss), the perplexity: the number of equally likely tokens between which one would be as unsure."""
    return "over a million" if loss > math.log(1e6) else f"{math.exp(loss):,.{1 if loss < 3 else 0}f}"


def _unsure(loss: float, vocab_size: int | None, unit: str) -> str:
    if vocab_size and loss > 1.1 * math.log(vocab_size):
        return f"<b>worse than blind guessing</b> among all {vocab_size:,} {unit}s: sure, and wrong"
    return f"as unsure as between <b>{_choices(loss)}</b> equally likely {unit}s"


def _when(step: int) -> str:
    return f"After {step:,} steps" if step else "Before training"


def _story(config: Row, rows: Sequence[Row], measured: Points, vocab_size: int | None, unit: str) -> str:
    """Where the loss began and ended, how the run stands, and what to try next."""
    said = [] if measured else ["Nothing is measured yet. When training has run for a while, write this report again."]
    if measured:
        (first, before), (final, after) = measured[0], measured[-1]
        said.append(f"{_when(first)}, the model was {_unsure(before, vocab_size, unit)}.")
        if final > first:
            said.append(f"{_when(final)}: {_unsure(after, vocab_size, unit)}.")
    if answers := finite(points(rows, "validation_accuracy")):
        said.append(f"<b>{answers[-1][1]:.1%} of the answers</b> are right, {answers[0][1]:.1%} at the beginning.")
    broken = [step for key in ("loss", "validation_loss") for step, loss in points(rows, key) if math.isnan(loss)]
    if broken:
        said.append(f"At step {min(broken):,} the loss is not a number: try a third of the learning rate.")
    elif verdict := judge(config, rows):
        said.append(escape(verdict.words))
    done, planned = _steps(config, rows)
    if planned and done < planned:
        said.append(f"The run is at step {done:,} of {planned:,}.")
    return " ".join(said)


def _meaning(measured: Points, vocab_size: int | None, unit: str, band: Band | None) -> str:
    example = f" Here exp({measured[-1][1]:.2f}) = {_choices(measured[-1][1])}." if measured else ""
    line = ""
    if vocab_size:
        line = f"""<p><b>The dotted line</b> is blind guessing among all {vocab_size:,} {unit}s of the vocabulary:
ln({vocab_size:,}) = {math.log(vocab_size):.2f}.</p>"""
    if band:
        line += f"""<p><b>The shaded band</b> is where {band.seeds} runs of this recipe were, each from other random
numbers: between those that end at a step (below; estimated, but after {band.lengths} steps) and those that go on there
at the full learning rate (above).</p>"""
    return f"""<p><b>Loss.</b> The model gives every possible next {unit} a probability. The loss is minus the logarithm
of the one that it gave to the {unit} that really came, averaged, in nats per {unit}. 0 would be perfect.</p>
<p><b>Perplexity</b> is exp(loss): the model is as unsure as between so many equally likely {unit}s.{example}</p>
<p><b>Two curves.</b> Training loss is measured on the text that the model learns from, validation loss on text kept
apart. A growing gap between them means that it learns by heart.</p>{line}"""


def _tiles(measured: Points) -> str:
    best = sorted(measured, key=lambda point: point[1])
    return "".join(
        f"<div><small>{name}</small><strong>{loss:.2f}</strong>"
        f"<small>perplexity {_choices(loss)}</small><small>{_when(step).lower()}</small></div>"
        for name, line in (("First", measured), ("Last", measured[::-1]), ("Best", best))
        for step, loss in line[:1]
    )


def _facts(config: Row, rows: Sequence[Row], vocab_size: int | None, unit: str) -> str:
    """What was trained: value and explanation; what the config does not say is left out."""
    done, planned = _steps(config, rows)
    layers, width = _inside(config, "model", "n_layer"), _inside(config, "model", "hidden_size")
    parameters, rate = _whole(_inside(config, "info", "parameters")), config.get("learning_rate")
    batch, length = _whole(config.get("batch_size")), _whole(config.get("sequence_length"))
    tokens = batch * length * (_whole(config.get("gradient_accumulation_steps")) or 1) if batch and length else 0
    seconds = round(max((value for _, value in finite(points(rows, "seconds"))), default=0))
    facts: list[tuple[str, Any, str]] = [
        ("Preset", config.get("preset"), f"{layers} layers, hidden size {width}" if layers and width else ""),
        ("Parameters", parameters and f"{parameters:,}", "numbers that training adjusts"),
        ("Data", config.get("data"), "what it learns from"),
        ("Tokenizer", config.get("tokenizer"), f"{vocab_size:,} different {unit}s" if vocab_size else ""),
        ("Steps", f"{done:,}" + (f" of {planned:,}" if planned else ""), "updates of the parameters"),
        ("Batch", tokens and f"{batch} x {length}", f"sequences x {unit}s: {tokens:,} {unit}s a step"),
        ("Text read", tokens * done and f"{tokens * done:,}", f"{unit}s, repeats counted"),
        ("Optimizer", _optimizer(config), f"learning rate {rate} at its peak" if rate else ""),
        ("Time", seconds and f"{seconds // 60} min {seconds % 60} s", "evaluations counted"),
    ]
    return "".join(
        f"<div><dt>{name}</dt><dd>{escape(str(value))}<small>{escape(note)}</small></dd></div>"
        for name, value, note in facts
        if value
    )


def _optimizer(config: Row) -> str | None:
    optimizer = optimizer_of(config)
    return None if optimizer is None else config_name(type(optimizer))


def _small(rates: Points, speeds: Points) -> str:
    charts = ""
    if known := [value for _, value in finite(rates)]:
        charts += small_svg(rates, "Learning rate", f"how far a step moves; peak {max(known):g}")
    if known := [value for _, value in finite(speeds)]:
        charts += small_svg(speeds, "Speed", f"tokens per second; median {median(known):,.0f}")
    return charts


def _samples(samples: Sequence[tuple[int, str]], losses: dict[int, float]) -> str:
    spread = {round(place * (len(samples) - 1) / (SHOWN_SAMPLES - 1)) for place in range(SHOWN_SAMPLES)}
    blocks: dict[bool, str] = {True: "", False: ""}
    for place, (step, text) in enumerate(samples):
        note = f"<small>loss {losses[step]:.2f}</small>" if step in losses else ""
        blocks[place in spread] += f"<li><h3>{_when(step)}{note}</h3><pre>{escape(text) or '(nothing)'}</pre></li>"
    more = f"<details><summary>The samples between</summary><ol>{blocks[False]}</ol></details>" if blocks[False] else ""
    return f"<ol>{blocks[True]}</ol>{more}" if samples else "<p>There is no sample yet.</p>"


STYLE = f":root{{{LIGHT};--back:#f6f7f8}}@media(prefers-color-scheme:dark){{:root{{{DARK};--back:#0d1117}}}}"
STYLE += """:root{color-scheme:light dark}*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:792px;margin:0 auto;padding:48px 16px 64px}p{margin:0 0 12px}
h1{font-size:30px;line-height:1.2;margin:4px 0 12px;overflow-wrap:anywhere}h2{font-size:20px;margin:48px 0 12px}
h3{font-size:15px;margin:0 0 8px}small,dt{font-size:13px;line-height:1.4;font-weight:400;color:var(--soft)}
.lead{font-size:18px;margin-bottom:24px}.lead b{color:var(--validation)}.chart{display:block;width:100%;height:auto}
.narrow{display:none}.words{columns:2;column-gap:32px;margin-top:24px}.words p{break-inside:avoid}
.cards{display:grid;gap:12px;grid-template-columns:repeat(3,1fr);margin:0 0 12px}
.cards>div,li pre,details{background:var(--paper);border:1px solid var(--edge);border-radius:10px;padding:12px 16px}
.cards small{display:block}.two{grid-template-columns:repeat(2,1fr)}strong{display:block;font-size:28px;line-height:1.3}
dd{margin:0;font-weight:600;overflow-wrap:anywhere}
ol{list-style:none;margin:0;padding:0 0 0 24px;border-left:2px solid var(--edge)}
li{position:relative;margin-bottom:24px}li small{margin-left:12px}
li:before{content:"";position:absolute;left:-30px;top:7px;border:5px solid var(--validation);border-radius:5px}
pre{font:14px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
li pre{max-height:320px;overflow:auto}summary{cursor:pointer;font-weight:600}details>*+*{margin-top:16px}
@media(max-width:640px){main{padding-top:24px}h1{font-size:25px}.broad{display:none}.narrow{display:block}
.cards{gap:8px}.cards>div{padding:10px}.facts{grid-template-columns:repeat(2,1fr)}.two{grid-template-columns:1fr}
.words{columns:1}}
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head><body><main>
<header><small>LinearNexus run {run}</small><h1>{title}</h1><p class="lead">{story}</p></header>
<h3>{kind}</h3><div class="cards">{tiles}</div><div class="broad">{broad}</div><div class="narrow">{narrow}</div>
<section class="words">{meaning}</section><section><h2>Watch it learn</h2>{samples}</section>
<section><h2>What was trained</h2><dl class="cards facts">{facts}</dl><div class="cards two">{small}</div></section>
<details><summary>The whole config</summary><pre>{config}</pre></details>
</main></body></html>
"""
