"""What a run says at its beginning and at its end."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linearnexus.core.config import config_name
from linearnexus.training import run_folder
from linearnexus.training.display import Display
from linearnexus.training.fit import Loop
from linearnexus.training.job import Job
from linearnexus.training.report import standing, write_report


def introduce(job: Job, loop: Loop, folder: Path, saved: Mapping[str, Any] | None, display: Display) -> None:
    """What is trained, on what, and how; of a resumed run, where it stands."""
    config, source, say = job.config, job.source, display.note
    optimizer = config_name(type(config.optimizer))
    say(
        f"{config.preset}: {job.parameters():,} parameters, {config.model.n_layer} layers, "
        f"hidden size {config.model.hidden_size}"
    )
    tokens = f"{source.train_tokens:,} tokens" if source.train_tokens else "tokens without end"
    say(
        f"{config.data}: {tokens} to train on, {source.validation_tokens:,} to validate, vocabulary "
        f"{source.tokenizer.vocab_size} ({source.tokenizer_name})"
    )
    length = f"{loop.total:,} steps" if loop.total else f"about {config.max_minutes:g} minutes"
    say(
        f"{length}, {config.tokens_per_step:,} tokens a step, {optimizer}, learning rate {config.peak_rate:g}; "
        f"run folder {folder}"
    )
    if (guessing := job.guessing()) is not None:
        say(
            f"Guessing at random among {source.tokenizer.vocab_size} tokens is a loss of {guessing:.3f}; lower is "
            "better.\n"
        )
    if loop.done and saved is not None:
        now, before = run_folder.environment(), saved["environment"]
        other = [key for key, value in now.items() if before.get(key) != value]
        if other:
            changed = ", ".join(f"{key} {before.get(key)} -> {now[key]}" for key in other)
            say(f"The run began in another setting ({changed}): it resumes, but its last bits may differ.")
        say(f"Resuming from step {loop.done:,}.")


def summarize(job: Job, loop: Loop, folder: Path, display: Display) -> None:
    """How it went, and what to try next; writes the report."""
    write_report(folder)
    say = display.note
    if loop.stop == "signal":
        say(f"Stopped at step {loop.done:,}, saved. Resume it with: linearnexus train --resume {folder}")
    elif loop.best is not None:
        loss, step = loop.best
        guessing = "" if (value := job.guessing()) is None else f" (guessing: {value:.3f})"
        say(f"Done. Best validation loss {loss:.3f} at step {step:,}{guessing}.")
        if verdict := standing(folder):
            say(verdict.words)
        if (accuracy := loop.validation.get("accuracy")) is not None and math.isfinite(accuracy):
            say(f"Of the answers {accuracy:.1%} are right at the end.")
        say(f"Read {folder / 'report.html'}, or {job.suggestion.format(folder)}")
