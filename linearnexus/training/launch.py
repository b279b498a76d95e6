"""Training from the outside: a new run, a resumed one, and the hooks that make a run out of the bare loop.

    train   job -> checks -> run folder -> state -> fit
    resume  run folder -> job -> state of the newest good checkpoint -> fit

Look first at: `train`, `resume`, `_Training._hooks`.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from linearnexus.core.errors import UserError
from linearnexus.models.costs import count
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.stacked import stacked_shapes
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers import save
from linearnexus.training import checkpoint, parent, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.display import Display
from linearnexus.training.fit import Hook, Loop, fit
from linearnexus.training.hooks.average import WeightAverage
from linearnexus.training.hooks.cadence import Cadence
from linearnexus.training.hooks.checkpoints import Checkpoints, unlogged_metrics
from linearnexus.training.hooks.clock import Clock
from linearnexus.training.hooks.divergence import Diverged, DivergenceGuard
from linearnexus.training.hooks.early_stopping import EarlyStopping
from linearnexus.training.hooks.evaluation import Evaluation
from linearnexus.training.hooks.metrics import Metrics
from linearnexus.training.hooks.samples import Samples
from linearnexus.training.hooks.signals import Interrupted, StopSignals
from linearnexus.training.hooks.time_budget import TimeBudget
from linearnexus.training.job import Job, first_state, open_job, state_shapes
from linearnexus.training.messages import introduce, summarize
from linearnexus.training.optimizer import check_patterns
from linearnexus.training.parent import ParentRun
from linearnexus.training.recipes import resumed_config
from linearnexus.training.report import read_metrics
from linearnexus.training.step import TrainState, Update

__all__ = ["Diverged", "Interrupted", "resume", "train"]


def train(
    config: TrainConfig,
    name: str | None = None,
    quiet: bool = False,
    base: ParentRun | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Trains a new run and returns its folder. `base`: the run whose model it begins with, instead of random weights.
    `notes`: sentences for the user, shown before the first step.

    Raises UserError for what the user can put right, before anything is written; Interrupted after a stop signal.
    """
    job = completed(open_job(config, None if base is None else base.tokenizer), base)
    config, source = job.config, job.source
    if base is not None:
        base = base.to_train(config)
    model = None if base is None else base.model
    training = _Training(job, model if config.freezes_base else None)
    trained = state_shapes(config, model).model
    check_patterns(config, trained)
    training.job.check(training.update)
    source.verify()
    info = {
        "parameters": job.parameters(),
        "corpus": source.info,
        "train_tokens": source.train_tokens,
        "validation_tokens": source.validation_tokens,
        "unigram_loss": source.unigram_loss(),
    }
    if base is not None:
        info["trainable_parameters"] = count(trained)
    folder = run_folder.create(config, name)
    try:
        save(source.tokenizer, folder / "tokenizer.json")
        if base is not None:
            info["from"] = base.save(folder)
        run_folder.write_config(
            folder, training.config, info
        )  # last: a folder with a config.json is a run that can be resumed
    except OSError as error:
        shutil.rmtree(folder)
        raise UserError(
            f"The run could not be written to {folder} ({error.strerror}); make room, or choose another --name."
        ) from error
    run_folder.remember_latest(folder)
    return training.run(folder, model, None, [*notes, *source.notes], quiet)


def resume(folder: Path, changes: dict[str, Any], quiet: bool = False) -> Path:
    """Resumes a run from its newest good checkpoint. `changes`: other options, of those that may change.

    Raises UserError where an option would make it another run, or the data is not what it began with.
    """
    before, info = run_folder.read_config(folder)
    run_folder.check_trained(folder, info)
    config = resumed_config(before, changes, folder)
    job = open_job(config, folder / "tokenizer.json", info["corpus"]["sha256"])
    job.source.verify()
    notes: list[str] = []
    checkpoints, rows = folder / "checkpoints", read_metrics(folder / "metrics.jsonl")
    began = checkpoint.steps(checkpoints) or any(row["step"] for row in rows)  # else killed before its first checkpoint
    if began and not checkpoint.steps(checkpoints):
        raise UserError(f"{checkpoints} has no checkpoint any more; restore it from a copy, or train a new run.")
    good = checkpoint.newest_good(checkpoints, notes.append) if began else None
    needs_base = "from" in info and (good is None or config.freezes_base)
    model = (
        parent.load(folder, info["from"], stacked_shapes(LanguageModel.shapes(config.model))) if needs_base else None
    )
    training = _Training(job, model if config.freezes_base else None)
    check_patterns(config, state_shapes(config, model or training.update.frozen).model)
    run_folder.write_config(folder, training.config, info)
    run_folder.remember_latest(folder)
    return training.run(folder, model, good, notes, quiet)


def completed(job: Job, base: ParentRun | None) -> Job:
    """The job with what its data decides written into its config. Raises UserError where they do not fit."""
    config, tokenizer = job.config, job.source.tokenizer
    if base is None:
        model = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
        config = dataclasses.replace(config, model=model)
    elif tokenizer.to_json() != load_tokenizer(base.tokenizer).to_json():
        raise UserError(
            f"{config.data} was prepared with another tokenizer than that of {base.run}; prepare it again with "
            f"--tokenizer {base.tokenizer}."
        )
    config = dataclasses.replace(config, tokenizer=job.source.tokenizer_spec).resolved()
    return dataclasses.replace(job, config=config)


def _with_prompt(job: Job) -> Job:
    """The job with a sample prompt that its tokenizer can write. Raises UserError where there is no room for one."""
    if not job.config.sample_tokens:
        return job
    return dataclasses.replace(job, config=dataclasses.replace(job.config, sample_prompt=job.sample_prompt()))


class _Training:
    """A job with its step and its stream, ready to run."""

    def __init__(self, job: Job, frozen: LanguageModel | None) -> None:
        self.stream = job.stream()
        job.evaluation()  # a split that is too short says so before the run begins
        self.job = _with_prompt(job)
        self.config = self.job.config
        self.update = Update(self.config, job.objective(), frozen)

    def run(
        self, folder: Path, model: LanguageModel | None, start: Path | None, notes: Sequence[str], quiet: bool
    ) -> Path:
        """Trains to the end. model: what the run begins with, None for random weights. start: the checkpoint to resume
        from, None for the beginning."""
        saved = None if start is None else checkpoint.load_state(start)
        loop = Loop(None, total=self._total_steps())
        if start is None or saved is None:
            loop.state = first_state(self.config, model)
        else:
            self._restore(loop, start, saved)
        del model  # its arrays may be those of the state, which the first step gives up
        signals = StopSignals()
        try:
            log = run_folder.Log(folder, (0, 0) if saved is None else tuple(saved["log_lengths"]))
            with Display(quiet) as display, closing(log), closing(self.stream), signals:
                for note in notes:
                    display.note(note)
                introduce(self.job, loop, folder, saved, display)
                hooks = self._hooks(folder, log, display, signals)
                if start is not None and saved is not None:
                    for hook in hooks:
                        hook.restore(saved, start)
                fit(loop, self.update, self.stream, hooks)
            summarize(self.job, loop, folder, display)
        except OSError as error:
            raise UserError(
                f"The run could not write to {folder} ({error.strerror}), so it stopped; make room, then resume it: "
                f"linearnexus train --resume {folder}"
            ) from error
        if signals.received is not None:
            raise Interrupted(signals.received)
        return folder

    def _restore(self, loop: Loop, start: Path, saved: dict[str, Any]) -> None:
        """Sets the loop to where a checkpoint was made."""
        like = state_shapes(self.config, self.update.frozen)
        model = checkpoint.load_tree(start / checkpoint.MODEL, like.model)
        optimizer = checkpoint.load_tree(start / checkpoint.OPTIMIZER, like.optimizer)
        loop.state = TrainState(jnp.int32(saved["step"]), model, optimizer)
        loop.done = loop.first = saved["step"]
        loop.new = False
        loop.best = tuple(saved["best"]) if saved["best"] else None
        loop.metrics = list(unlogged_metrics(saved))
        if loop.total is None and saved["max_minutes"] == self.config.max_minutes:
            loop.total = saved["total"]
        if (start / checkpoint.STREAM).is_file():
            self.stream.restore(checkpoint.load_arrays(start / checkpoint.STREAM))

    def _total_steps(self) -> int | None:
        """Steps of the run; None while max_minutes is not measured yet."""
        if self.config.epochs is not None:
            return max(1, round(self.config.epochs * self.job.epoch_steps()))
        return self.config.max_steps

    def _hooks(self, folder: Path, log: run_folder.Log, display: Display, signals: StopSignals) -> list[Hook]:
        """In the order in which they act: what sets the length, what refuses a bad step, what writes."""
        config, job = self.config, self.job
        guessing = job.guessing()
        cadence, clock = Cadence(config.log_interval, config.eval_interval), Clock()
        average = WeightAverage(config.ema_decay, state_shapes(config, self.update.frozen).model)
        hooks: list[Hook] = [
            clock,
            TimeBudget(config.max_minutes, clock, display.note),
            DivergenceGuard(config, cadence, None if guessing is None else 2 * guessing),
            Metrics(cadence, clock, log, display, config.tokens_per_step),
            average,
            Evaluation(job, self.update, cadence, clock, log, display, average),
            Samples(job, self.update, cadence, clock, log, display),
            EarlyStopping(config.patience, cadence, display.note),
        ]
        hooks.append(Checkpoints(folder / "checkpoints", cadence, clock, self.stream, tuple(hooks)))
        return [*hooks, signals]
