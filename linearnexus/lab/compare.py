"""A comparison: every model with every learning rate and seed on the same batches, then one table and one plot.

    runs/compare-NAME/  results.json  results.csv  results.md  results.png
    runs/compare-NAME/MODEL-rate-RATE-seed-SEED/  a run, and its result.json

A run with a result.json is finished: it is not trained again, so a comparison that was killed goes on where it was, and
one that asks for more rates, seeds or mixers trains only what is new.

Look first at: `compare`, `_result`.
"""

import dataclasses
import json
import re
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.core.paths import write_atomic
from linearnexus.core.renames import old_arguments
from linearnexus.data.registry import open_source
from linearnexus.data.tasks import Task, open_task
from linearnexus.lab import lengths
from linearnexus.lab.models import frame, models
from linearnexus.lab.report import Best, best_of, markdown, table, write_csv, write_plot
from linearnexus.lab.settings import DEFAULTS, CompareSettings, run_settings
from linearnexus.models.costs import costs
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import checkpoint, launch, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.optimizers.optimizer_config import option_names
from linearnexus.training.recipes import with_options
from linearnexus.training.report import read_metrics

RESULT = "result.json"


@dataclass(frozen=True)
class Comparison:
    """What was measured: a row a run, and for each model those of its best learning rate together."""

    folder: Path
    rows: list[dict[str, Any]]
    best: list[Best]

    def __str__(self) -> str:
        return table(self.best)


@old_arguments
def compare(mixers: Sequence[str], *, on_message: Callable[[str], None] = print, **options: Any) -> Comparison:
    """Trains each of the models, presets or patterns such as "3*mamba2,1*attention", with each learning rate and seed.

    options: those of `CompareSettings` and of a run (`data`, `max_steps`, ...). on_message: is told of each run.
    Raises UserError for what you can put right, before the first run where it can be told; launch.Interrupted
    after a stop signal.
    """
    settings, run = run_settings(options)
    plan, task = _plan(tuple(mixers), settings, run)
    folder = run_folder.RUNS / f"compare-{settings.name or re.sub(r'[^A-Za-z0-9.]+', '-', Path(run['data']).name)}"
    length = f" of {plan[0].max_steps:,} steps" if plan[0].max_steps else ""
    on_message(f"{len(plan)} runs{length} on {run['data']}; a line when each has ended.")
    rows: list[dict[str, Any]] = []
    for number, config in enumerate(plan, 1):
        place = folder / _run_name(config)
        rows.append(_result(place, config, task, settings.lengths))
        on_message(f"{number} of {len(plan)}: {_sentence(rows[-1])}")
    best = best_of(rows)
    write_atomic(folder / "results.json", json.dumps({"data": run["data"], "runs": rows}, indent=1) + "\n")
    write_csv(folder / "results.csv", rows)
    write_atomic(folder / "results.md", markdown(run["data"], best, rows))
    if (note := write_plot(folder / "results.png", run["data"], best)) is not None:
        on_message(note)
    return Comparison(folder, rows, best)


def _plan(
    mixers: tuple[str, ...], settings: CompareSettings, run: dict[str, Any]
) -> tuple[list[TrainConfig], Task | None]:
    """The runs in their order, and the task. Raises UserError for whatever is wrong with any of them."""
    if not mixers or len(set(mixers)) != len(mixers):
        raise UserError("Give one or more models to compare, each once, such as: attention mamba2 deltanet.")
    task = open_task(str(run["data"]))
    if settings.lengths and task is None:
        raise UserError(f"lengths is for tasks, such as recall or parity, and {run['data']} is none; leave it out.")
    for length in settings.lengths:
        dataclasses.replace(task, length=length)  # type: ignore[type-var]
    if run["sequence_length"] == DEFAULTS.sequence_length:
        del run["sequence_length"]  # a task has its own
    source = open_source(with_options(TrainConfig(model=frame(settings)), run))
    run["tokenizer"] = source.tokenizer_spec
    bases = [
        TrainConfig(model=model, preset=mixer)
        for mixer, model in models(mixers, settings, source.tokenizer.vocab_size).items()
    ]
    optimizer = with_options(bases[0], run).optimizer
    run = {name: value for name, value in run.items() if name not in option_names()}  # they are in `optimizer`
    rates = [
        {"learning_rate": float(rate), "optimizer": optimizer.at_rate(float(rate))} for rate in settings.learning_rates
    ]
    plan = [
        with_options(base, {**run, **rate, "seed": seed}).resolved()
        for seed in settings.seeds
        for base in bases
        for rate in rates
    ]
    return plan, task


def _result(folder: Path, config: TrainConfig, task: Task | None, asked: tuple[int, ...]) -> dict[str, Any]:
    """What a run measured, read or found out by training it. Raises UserError where the folder holds another run."""
    if (folder / "config.json").is_file() and run_folder.read_config(folder)[0] != config:
        raise UserError(
            f"{folder} is a run with other settings, which is not overwritten; choose another --name, or repeat "
            "what it was made with."
        )
    path = folder / RESULT
    try:
        row = json.loads(path.read_text()) if path.is_file() else _train(folder, config)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error}); delete it, and the run is summed up again.") from error
    missing = [length for length in asked if str(length) not in row["accuracy_at"]]
    if missing and task is not None and not row["diverged"]:
        like = LanguageModel.shapes(config.model)
        good = checkpoint.newest_good(folder / "checkpoints", lambda _: None)
        model = checkpoint.load_tree(good / checkpoint.MODEL, like)
        row["accuracy_at"] |= {str(length): lengths.accuracy(model, task, length) for length in missing}
    write_atomic(path, json.dumps(row, indent=1) + "\n")
    return row


def _train(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Trains a run, or goes on with it, and sums it up: the last evaluation counts."""
    diverged = False
    try:
        if (folder / "config.json").is_file():
            launch.resume(folder, {}, quiet=True)
        else:
            if folder.is_dir():  # killed before the run began
                shutil.rmtree(folder)
            launch.train(config, str(folder), quiet=True)
    except launch.Diverged:
        diverged = True
    rows, cost = read_metrics(folder / "metrics.jsonl"), costs(config.model)
    last = [row for row in rows if "validation_loss" in row][-1]
    speeds = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
    return {
        "mixer": config.preset,
        "learning_rate": config.peak_rate,
        "seed": config.seed,
        "parameters": cost.parameters,
        "state_bytes": cost.state_bytes(config.sequence_length),
        "steps": last["step"],
        "seconds": last["seconds"],
        "tokens_per_second": statistics.median(speeds or [0.0]),
        "diverged": diverged,
        "loss": last["validation_loss"],
        "accuracy": last.get("validation_accuracy"),
        "accuracy_at": {},
    }


def _run_name(config: TrainConfig) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", config.preset).strip("-")
    return f"{words}-rate-{config.peak_rate:g}-seed-{config.seed}"


def _sentence(row: dict[str, Any]) -> str:
    answers = "" if row["accuracy"] is None else f", {row['accuracy']:.1%} right"
    other = "".join(f", {value:.1%} at {length}" for length, value in row["accuracy_at"].items())
    end = "diverged" if row["diverged"] else f"loss {row['loss']:.3f}{answers}{other}"
    return f"{row['mixer']}, rate {row['learning_rate']:g}, seed {row['seed']}: {end} ({row['seconds']:.0f} s)"
