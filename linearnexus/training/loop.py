"""The training loop: data, state, then step after step, with evaluations, samples and checkpoints on the way.

Everything that decides the result (batches, learning rates, keys) is a pure function of the step, so a run that was
killed goes on bit for bit.

Look first at: `train`, `_Loop.run`.
"""

import dataclasses
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.machine import give_back
from linearnexus.data.prefetch import Prefetcher
from linearnexus.data.source import DataSource
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.models.costs import count
from linearnexus.models.language_model import LanguageModel
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers import save
from linearnexus.training import base as base_file
from linearnexus.training import checkpoint, run_folder
from linearnexus.training.base import Base
from linearnexus.training.config import LEARNING_RATES, TrainConfig
from linearnexus.training.progress import Progress
from linearnexus.training.recipes import continued
from linearnexus.training.report import read_metrics, standing, write_report
from linearnexus.training.schedules import learning_rate
from linearnexus.training.signals import StopSignals
from linearnexus.training.step import (
    TrainState,
    compiled_for,
    init_state,
    state_like,
    train_step,
    whole,
)
from linearnexus.training.validation import validate

MEASURE_FROM, MEASURE_STEPS, MEASURE_SECONDS = 3, 10, 3.0  # what max_minutes is worth in steps is measured here
OVERTIME = 1.15  # times max_minutes: then the run ends, whatever was measured


class Diverged(UserError):
    """The loss, or a weight, went wrong."""


class Interrupted(Exception):
    """The run was asked to stop by a signal, and has saved."""

    def __init__(self, number: int) -> None:
        self.number = number


def train(
    config: TrainConfig,
    name: str | None = None,
    quiet: bool = False,
    base: Base | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Trains a new run and returns its folder. `base`: the model that it begins with, in place of a random one.
    `notes`: sentences for the user, shown before the first step.

    Raises UserError for what the user can put right, before anything is written; Interrupted after a stop signal.
    """
    source = config.open_source(None if base is None else base.tokenizer)
    if base is None:
        model = dataclasses.replace(config.model, vocab_size=source.tokenizer.vocab_size)
        config = dataclasses.replace(config, model=model)
    elif source.tokenizer.to_json() != load_tokenizer(base.tokenizer).to_json():
        raise UserError(
            f"{config.data} was prepared with another tokenizer than that of {base.run}; prepare it again with "
            f"--tokenizer {base.tokenizer}."
        )
    config = dataclasses.replace(config, tokenizer=source.tokenizer_spec).resolved()
    loop = _Loop(config, source, None if base is None else dataclasses.replace(base.model, config=config.model))
    loop.check_prompt()
    loop.check_gradients()
    source.verify()
    info = {
        "parameters": count(LanguageModel.shapes(config.model)),
        "corpus": source.info,
        "train_tokens": source.train_tokens,
        "validation_tokens": source.validation_tokens,
        "frequencies_loss": source.unigram_loss(),
    }
    if base is not None:
        info["trainable_parameters"] = count(state_like(config, base.model).model)
    folder = run_folder.create(config, name)
    try:
        save(source.tokenizer, folder / "tokenizer.json")
        if base is not None:
            info["from"] = base.save(folder)
        run_folder.write_config(folder, loop.config, info)  # last: a folder with a config.json is a run that can go on
    except OSError as error:
        shutil.rmtree(folder)
        raise UserError(
            f"The run could not be written to {folder} ({error.strerror}); make room, or choose another --name."
        ) from error
    run_folder.remember_latest(folder)
    return loop.run(folder, quiet, None, [*notes, *source.notes])


def resume(folder: Path, changes: dict[str, Any], quiet: bool = False) -> Path:
    """Goes on with a run from its newest good checkpoint. `changes`: other options, of those that may change.

    Raises UserError where an option would make it another run, or the corpus is not the one it began with.
    """
    before, info = run_folder.read_config(folder)
    run_folder.check_trained(folder, info)
    config = continued(before, changes, folder)
    source = config.open_source(folder / "tokenizer.json", info["corpus"]["sha256"])
    source.verify()
    notes: list[str] = []
    checkpoints, rows = folder / "checkpoints", read_metrics(folder / "metrics.jsonl")
    began = checkpoint.steps(checkpoints) or any(row["step"] for row in rows)  # else killed before its first checkpoint
    if began and not checkpoint.steps(checkpoints):
        raise UserError(f"{checkpoints} has no checkpoint any more; restore it from a copy, or train a new run.")
    good = checkpoint.newest_good(checkpoints, notes.append) if began else None
    needs_base = "from" in info and (good is None or config.keeps_base)
    loop = _Loop(config, source, base_file.load(folder, info["from"], config.model) if needs_base else None)
    loop.check_prompt()
    run_folder.write_config(folder, loop.config, info)
    run_folder.remember_latest(folder)
    return loop.run(folder, quiet, good, notes)


class _Loop:
    """One run in progress."""

    def __init__(self, config: TrainConfig, source: DataSource, base: LanguageModel | None = None) -> None:
        self.config, self.source, self.tokenizer = config, source, source.tokenizer
        self.base, self.kept = base, base if config.keeps_base else None
        self.program = compiled_for(config)
        self.batches = source.batches(config)
        source.evaluation(config)  # a split too short says so before the run begins
        self.ahead = Prefetcher(self.batches, config.accumulate)
        self.total = self._total_steps()
        self.best: tuple[float, int] | None = None  # validation loss, step
        self.accuracy: float | None = None  # of the answers, when they were last evaluated
        self.pending: list[tuple[Any, Any]] = []  # loss and gradient norm of the steps since the last row
        self.signals = StopSignals()
        self.seconds = 0.0  # spent before this start
        self.log_lengths = (0, 0)  # of the files, at the checkpoint
        self.recorded: dict[str, Any] = {}  # the environment that the checkpoint was made in

    def check_prompt(self) -> None:
        """A prompt that the tokenizer cannot encode, or too long for the model, is told before the run begins."""
        if self.config.sample_tokens:
            prompt = self.config.sample_prompt or "\n"
            if prompt == "\n" and not self._knows(prompt):  # a text without lines: begin with its first token
                prompt = self.tokenizer.decode([self.source.first_token])
                self.config = dataclasses.replace(self.config, sample_prompt=prompt)
            if self._sample_tokens(prompt) < 1:
                raise UserError(
                    f"sample_prompt has {self._prompt_tokens(prompt)} tokens, and this model has "
                    f"{self.config.model.learned_positions} learned positions; shorten it, or give --sample-tokens 0."
                )

    def check_gradients(self) -> None:
        """Raises UserError where a part that is to train gets no gradient: after a first step that is thrown away."""
        if self.kept is not None:
            batch, rate = self.ahead.get(0), jnp.float32(self.config.rate)
            state = init_state(self.config, self.kept)
            train_step(state, *batch[:2], rate, self.program, *batch[2:], self.kept)[0].model.check_moved()

    def run(self, folder: Path, quiet: bool, start_from: Path | None, notes: list[str] | None = None) -> Path:
        self.folder = folder
        state = self._start(start_from)
        self.began = self.row_time = time.monotonic()
        try:
            self.log = run_folder.Log(folder, self.log_lengths)
            with Progress(self.total, quiet) as self.progress, self.signals:
                for note in notes or []:
                    self.progress.note(note)
                self._introduce(state)
                try:
                    state = self._steps(state, new=start_from is None)
                finally:
                    self.log.close()
                    self.ahead.close()
            self._finish(int(state.step))
        except OSError as error:
            raise UserError(
                f"The run could not write to {folder} ({error.strerror}), so it stopped; make room, then go on: "
                f"linearnexus train --resume {folder}"
            ) from error
        if self.signals.received is not None:
            raise Interrupted(self.signals.received)
        return folder

    def _start(self, start_from: Path | None) -> TrainState:
        if start_from is None:
            state = init_state(self.config, self.base)
            self.base = None  # its arrays may be those of the state, which the first step gives up
            return state
        like = state_like(self.config, self.kept)
        saved = checkpoint.load_state(start_from)
        self.best = tuple(saved["best"]) if saved["best"] else None
        self.pending = [tuple(pair) for pair in saved["pending"]]
        self.seconds = saved["seconds"]
        self.log_lengths = (saved["log_lengths"][0], saved["log_lengths"][1])
        self.recorded = saved["environment"]
        if self.total is None and saved["max_minutes"] == self.config.max_minutes:
            self.total = saved["total"]
        model = checkpoint.load_tree(start_from / checkpoint.MODEL, like.model)
        optimizer = checkpoint.load_tree(start_from / checkpoint.OPTIMIZER, like.optimizer)
        return TrainState(jnp.int32(saved["step"]), model, optimizer)

    def _introduce(self, state: TrainState) -> None:
        config, say, step = self.config, self.progress.note, int(state.step)
        say(
            f"{config.preset}: {count(self.kept or state.model):,} parameters, {config.model.n_layer} layers, "
            f"hidden size {config.model.hidden_size}"
        )
        tokens = f"{self.source.train_tokens:,} tokens" if self.source.train_tokens else "tokens without end"
        say(
            f"{config.data}: {tokens} to train on, {self.source.validation_tokens:,} to validate, vocabulary "
            f"{self.tokenizer.vocab_size} ({self.source.tokenizer_name})"
        )
        length = f"{self.total:,} steps" if self.total else f"about {config.max_minutes:g} minutes"
        say(
            f"{length}, {config.tokens_per_step:,} tokens a step, {config.optimizer}, learning rate {config.rate:g}; "
            f"run folder {self.folder}"
        )
        say(
            f"Guessing at random among {self.tokenizer.vocab_size} tokens is a loss of {self._guessing:.3f}; "
            "lower is better.\n"
        )
        if step:
            now = run_folder.environment()
            other = [key for key, value in now.items() if self.recorded.get(key) != value]
            if other:
                changed = ", ".join(f"{key} {self.recorded.get(key)} -> {now[key]}" for key in other)
                say(f"The run began in another setting ({changed}): it goes on, but its last bits may differ.")
            say(f"Going on from step {step:,}.")

    def _steps(self, state: TrainState, new: bool) -> TrainState:
        config = self.config
        done = self.first = int(state.step)
        if new:
            self._evaluate_and_save(state, 0)
        while self.signals.received is None and (self.total is None or done < self.total):
            inputs, targets, *documents = self.ahead.get(done)
            rate = learning_rate(config, done, self.total)
            state, metrics = train_step(state, inputs, targets, jnp.float32(rate), self.program, *documents, self.kept)
            done += 1
            self.pending.append((metrics["loss"], metrics["grad_norm"]))
            if done == self.first + 1:
                give_back()
            if self.total is None:
                self._measure(done, metrics)
            if (self.total is None or done < self.total) and self._over_time():
                self.progress.note(f"{config.max_minutes:g} minutes are over: the run ends at step {done:,}.")
                self.total = self.progress.total = done
            if done % config.log_interval == 0 or done == self.total:
                self._row(done, rate)
            if self._is_evaluated(done):
                self._refuse_divergence(done, state.model)
                self._evaluate_and_save(state, done)
        if done not in checkpoint.steps(self.folder / "checkpoints"):
            self._refuse_divergence(done, state.model)
            self._save(state, done)
        return state

    def _row(self, done: int, rate: float) -> None:
        """Writes the mean of the steps since the last row, and stops a run that has gone wrong."""
        self._refuse_divergence(done)
        # float64: the numbers of a resumed run come from JSON, those of the others from the device
        losses, norms = np.array(jax.device_get(self.pending), np.float64).T
        now = time.monotonic()
        row = {
            "step": done,
            "loss": float(losses.mean()),
            "learning_rate": rate,
            "grad_norm": float(norms.mean()),
            "tokens_per_second": round(len(losses) * self.config.tokens_per_step / max(now - self.row_time, 1e-9), 1),
            "seconds": round(self.seconds + now - self.began, 3),
        }
        self.pending, self.row_time = [], now
        self.log.row(row)
        self.progress.row({**row, "tokens_per_step": self.config.tokens_per_step})

    def _refuse_divergence(self, done: int, model: Any = None) -> None:
        """Raises UserError where the losses since the last row, or a weight of the model, have gone wrong: before
        anything of it is saved."""
        loss = float(np.mean([float(loss) for loss, _ in jax.device_get(self.pending)] or [0.0]))
        if not math.isfinite(loss) or not checkpoint.finite(model):
            what = "is not a number"
        elif loss > 2 * self._guessing:
            what = f"has risen to {loss:.3g}, more than twice that of guessing,"
        else:
            return
        good = self.best[1] if self.best else 0
        raise Diverged(
            f"The loss {what} at step {done}, so the run stopped; its checkpoint of step {good}, the best, is good. "
            f"Try a third of the learning rate: --learning-rate {self.config.rate / 3:.1g}"
            + ("" if self.config.gradient_clip else ", and --gradient-clip 1")
            + f" (the usual one for {self.config.optimizer} is {LEARNING_RATES[self.config.optimizer]:g})."
        )

    def _evaluate_and_save(self, state: TrainState, done: int) -> None:
        jax.block_until_ready(state)
        began = time.monotonic()
        self._evaluate(state, done)
        self._save(state, done)
        self.row_time += time.monotonic() - began  # the speed of training leaves this time out

    def _evaluate(self, state: TrainState, done: int) -> None:
        """The validation loss (of a mixture, by its weights), of answers their accuracy, and a sample, written and
        shown."""
        config, model = self.config, whole(state.model, self.kept)
        loss, self.accuracy = validate(model, self.source, config)
        answers = {} if self.accuracy is None else {"validation_accuracy": self.accuracy}
        self.log.row({"step": done, "validation_loss": loss, **answers, "seconds": self._elapsed()})
        self.progress.evaluation(done, loss, self.accuracy)
        if math.isfinite(loss) and (self.best is None or loss < self.best[0]):
            self.best = (loss, done)
        if config.sample_tokens:
            sampling = SamplingConfig(temperature=0.8, seed=config.seed)
            generator = Generator(model, self.tokenizer, config.sequence_length)
            tokens = self._sample_tokens(config.sample_prompt)
            prompt = self.source.prompt(config.sample_prompt)
            text = generator.generate([prompt], tokens, sampling, self.source.stop)[0].text
            self.log.sample(done, text)
            self.progress.sample(text)

    def _save(self, state: TrainState, done: int) -> None:
        """A checkpoint; the best, the last and the one before it are kept."""
        checkpoints = self.folder / "checkpoints"
        saved = {
            "step": done,
            "total": self.total,
            "max_minutes": self.config.max_minutes,
            "best": self.best,
            "pending": [[float(loss), float(norm)] for loss, norm in jax.device_get(self.pending)],
            "seconds": self._elapsed(),
            "log_lengths": self.log.lengths(),
            "environment": run_folder.environment(),
        }
        before = [step for step in checkpoint.steps(checkpoints) if step < done][-1:]  # a later one was found damaged
        checkpoint.save(checkpoints, done, state.model, state.optimizer, saved)
        checkpoint.keep_only(checkpoints, {done, *before, *([self.best[1]] if self.best else [])})

    def _finish(self, done: int) -> None:
        write_report(self.folder)
        say = self.progress.note
        if self.signals.received is not None:
            say(f"Stopped at step {done:,}, saved. Go on with: linearnexus train --resume {self.folder}")
        elif self.best is not None:
            loss, step = self.best
            say(f"Done. Best validation loss {loss:.3f} at step {step:,} (guessing: {self._guessing:.3f}).")
            if verdict := standing(self.folder):
                say(verdict.words)
            if self.accuracy is not None:
                say(f"Of the answers {self.accuracy:.1%} are right at the end.")
            say(f"Read {self.folder / 'report.html'}, or {self.config.tries.format(self.folder)}")

    def _total_steps(self) -> int | None:
        """Steps of the run; None while max_minutes is not measured yet."""
        config = self.config
        if config.epochs is not None:
            return max(1, round(config.epochs * self.batches.steps_per_epoch / config.accumulate))
        return config.max_steps

    def _measure(self, done: int, metrics: dict[str, jax.Array]) -> None:
        """Sets the number of steps that fill max_minutes, once some steps have been timed."""
        steps = done - self.first - MEASURE_FROM
        if steps < 0:
            return
        jax.block_until_ready(metrics)
        now = time.monotonic()
        if steps == 0:
            self.measured_from = now
        seconds = now - self.measured_from
        if steps >= MEASURE_STEPS and seconds >= MEASURE_SECONDS:
            left = 60 * (self.config.max_minutes or 0) - self._elapsed()
            self.total = done + max(1, int(0.93 * left * steps / seconds))  # the rest goes to evaluations and samples
            self.progress.total = self.total
            self.progress.note(f"{self.config.max_minutes:g} minutes are {self.total:,} steps on this machine.")

    def _over_time(self) -> bool:
        return self.config.max_minutes is not None and self._elapsed() > 60 * OVERTIME * self.config.max_minutes

    def _knows(self, text: str) -> bool:
        """Does the tokenizer give the text back? Some have no id for a new line, an unknown one, or none at all."""
        try:
            return self.tokenizer.decode(self.tokenizer.encode(text)) == text
        except UserError:
            return False

    def _sample_tokens(self, prompt: str) -> int:
        """Tokens of a sample: learned positions may leave room for fewer than are asked for."""
        length = self._prompt_tokens(prompt or "\n")
        return min(self.config.sample_tokens, (self.config.model.learned_positions or 10**9) - length)

    def _prompt_tokens(self, prompt: str) -> int:
        given = self.source.prompt(prompt)
        return len(self.tokenizer.encode(given) if isinstance(given, str) else given)

    def _elapsed(self) -> float:
        return round(self.seconds + time.monotonic() - self.began, 3)

    @property
    def _guessing(self) -> float:
        return math.log(self.tokenizer.vocab_size)

    def _is_evaluated(self, done: int) -> bool:
        """After the last step, and every eval_interval, or at each tenth of the run."""
        if self.total is None:
            return False
        if self.config.eval_interval is not None:
            return done % self.config.eval_interval == 0 or done == self.total
        return done * 10 // self.total > (done - 1) * 10 // self.total
