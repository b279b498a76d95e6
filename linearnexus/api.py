"""What scripts and notebooks use; the command line is a thin layer over it.

Look first at: `train`, `load`, `Run`; `compare` is in lab/compare.py.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from linearnexus.core.config import make
from linearnexus.core.errors import UserError
from linearnexus.core.machine import suggestion
from linearnexus.core.renames import old_arguments
from linearnexus.evaluation.perplexity import Score, score_text
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generation, Generator
from linearnexus.generation.look import Inspection, inspect_prompt
from linearnexus.lab.compare import Comparison, compare
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.quantize import quantize, quantizer
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.lora import describe
from linearnexus.posttraining.peft import save as save_adapters
from linearnexus.posttraining.recipes import sft_config
from linearnexus.posttraining.session import Session, read_file
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer
from linearnexus.training import checkpoint, launch, rate_finder, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.objective import merge_frozen
from linearnexus.training.parent import ParentRun
from linearnexus.training.parent import weights as read_weights
from linearnexus.training.rate_finder import RateFinding
from linearnexus.training.recipes import base_config, config_from_parent, with_options
from linearnexus.training.report import read_metrics

Part = Literal["all", "validation"]  # of a text

__all__ = ["Comparison", "Run", "Session", "compare", "generate", "load", "load_session", "train"]


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with all that belongs to it."""

    folder: Path
    config: TrainConfig
    model: LanguageModel
    tokenizer: Tokenizer
    step: int  # of the checkpoint

    @cached_property
    def generator(self) -> Generator:
        return Generator(self.model, self.tokenizer, self.config.sequence_length)

    def generate(self, prompt: str, max_tokens: int = 200, stop: str | Sequence[str] = (), **sampling: Any) -> str:
        """What the model writes after the prompt. `sampling`: temperature, top_k, top_p, min_p,
        repetition_penalty, presence_penalty, frequency_penalty, seed."""
        return self.complete([prompt], max_tokens, stop, **sampling)[0].text

    def complete(
        self,
        prompts: Sequence[str],
        max_tokens: int = 200,
        stop: str | Sequence[str] = (),
        samples: int = 1,
        best: int = 0,
        **sampling: Any,
    ) -> list[Generation]:
        """`samples` continuations of each prompt, all in one table, each the same as alone, with the log-probabilities
        of their tokens. best: how many of the most probable tokens to tell at each place."""
        return self.generator.generate(
            list(prompts), max_tokens, _sampling(sampling), stop=stop, samples=samples, best=best
        )

    def stream(
        self, prompt: str, max_tokens: int = 200, stop: str | Sequence[str] = (), **sampling: Any
    ) -> Iterator[str]:
        """The same text as `generate`, piece by piece as it is made."""
        return self.generator.stream(prompt, max_tokens, _sampling(sampling), stop=stop)

    def session(self, system: str | None = None, max_tokens: int = 200, **sampling: Any) -> Session:
        """A conversation with the model: `session.say("Who are you?")`; see `posttraining.session`."""
        return Session(self.generator, system, _sampling(sampling), max_tokens, run=str(self.folder))

    def inspect(self, prompt: str, top: int = 10, **sampling: Any) -> Inspection:
        """The tokens of a prompt, how likely the model found each, and what it thinks of the next one."""
        return inspect_prompt(self.generator, prompt, _sampling(sampling), top)

    def evaluate(
        self,
        text: str,
        sequence_length: int | None = None,
        stride: int | None = None,
        carry_state: bool = False,
        part: Part | None = None,
        batch_size: int = 16,
    ) -> Score:
        """How well the model predicts a text: loss, perplexity, bits per byte; see `evaluation.perplexity`. part: "all"
        of the text or its "validation" part (None: that, where the run was trained on this text)."""
        held_out = (part or self.part(text)) == "validation"
        return score_text(
            self.model,
            self.tokenizer,
            text,
            sequence_length or self.config.sequence_length,
            stride,
            carry_state,
            self.config.validation_fraction if held_out else None,
            batch_size,
        )

    def part(self, text: str) -> Part:
        """What to evaluate of a text: all of it, or the validation part of the text that the run was trained on."""
        corpus = run_folder.read_config(self.folder)[1].get("corpus", {})  # a converted model has none
        return "validation" if hashlib.sha256(text.encode()).hexdigest() == corpus.get("sha256") else "all"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; the half line that a killed run leaves is no row."""
        return [dict(row) for row in read_metrics(self.folder / "metrics.jsonl")]

    def as_parent(self) -> ParentRun:
        """What another run begins with."""
        return ParentRun(self.model, self.folder / "tokenizer.json", self.folder, self.step)


def train(
    model: str | TrainConfig | None = None,
    *,
    name: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    from_run: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Trains a model and returns the run.

    model: a preset (`gpt-nano`, `mamba-nano`, ...), the path of a recipe, or a TrainConfig. name: the run's folder
    below runs/. resume: go on with this run instead. from_run: begin with the weights (the best checkpoint), the
    architecture and the tokenizer of this run, and learn other data. options: any field of TrainConfig, and of the
    model `n_layer`, `hidden_size`, `n_head`, `n_kv_head`, `window`, `learned_positions`, `tie_embeddings`, `dropout`,
    `dtype`. Raises UserError (a ValueError) for what you can put right.
    """
    if resume is not None:
        if name is not None:
            raise UserError(f"name is {name!r}, and a run that goes on keeps its own; leave name or resume out.")
        folder = launch.resume(run_folder.find(resume), options, quiet)
        _save_adapters(folder)
        return load(folder, "last")
    if from_run is not None:
        if model is not None:
            raise UserError("A run that begins with another's weights keeps its model; leave model or from_run out.")
        begin = load(from_run)
        return load(
            launch.train(config_from_parent(begin.config, options, begin.folder), name, quiet, begin.as_parent())
        )
    base = model if isinstance(model, TrainConfig) else base_config(model or "gpt-nano")
    notes = filter(None, [suggestion()])
    return load(launch.train(with_options(base, options), name, quiet, notes=tuple(notes)))


def find_rate(
    model: str | TrainConfig | None = None,
    *,
    from_run: str | os.PathLike[str] | None = None,
    **options: Any,
) -> RateFinding:
    """Suggests a learning rate, from a hundred steps at rising rates; see `training.rate_finder`.

    The arguments are those of `train`. Raises UserError for what you can put right.
    """
    if from_run is not None:
        begin = load(from_run)
        return rate_finder.find_rate(config_from_parent(begin.config, options, begin.folder), begin.as_parent())
    base = model if isinstance(model, TrainConfig) else base_config(model or "gpt-nano")
    return rate_finder.find_rate(with_options(base, options))


def sft(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] = "",
    *,
    name: str | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Teaches the model of a run to answer, from conversations in a file of JSON lines, and returns the new run.

    options: method ("lora", "dora", "full"), rank, alpha, targets, too_long, dropout, and any field of TrainConfig.
    Raises UserError for what you can put right.
    """
    begin = load(run)
    config = sft_config(begin.config, {**options, "data": os.fspath(data)}, begin.folder)
    notes = describe(begin.model, config) if config.freezes_base else []
    folder = launch.train(config, name, quiet, begin.as_parent(), notes)
    _save_adapters(folder)
    return load(folder)


@old_arguments
def load(
    run: str | os.PathLike[str],
    checkpoint_step: str | int = "best",
    on_message: Any = print,
    weights: str = "float32",
    average: bool = False,
) -> Run:
    """Opens a run: its checkpoint with the lowest validation loss ("best"), the "last" one, or that of a step.

    average: the moving average of the weights that a run with `ema_decay` keeps, instead of the weights themselves.

    weights: how they are kept, for generation and evaluation: "float32", "bfloat16" (half the memory) or "int8" (a
    quarter, and large models write faster). on_message: is told of a damaged checkpoint, instead of which the newest
    good one is used. Raises UserError where there is no such run.
    """
    folder = run_folder.find(run)
    config, _ = run_folder.read_config(folder)
    checkpoints = folder / "checkpoints"
    good = checkpoint.chosen(checkpoints, checkpoint_step, on_message)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = merge_frozen(*read_weights(folder, good, quantizer(weights), average))
    if config.freezes_base:
        model = quantize(model, weights)
    return Run(folder, config, model, tokenizer, checkpoint.load_state(good)["step"])


def load_session(path: str | os.PathLike[str], run: "Run | str | os.PathLike[str] | None" = None) -> Session:
    """The conversation that `Session.save` wrote, with its model. run: where the model is (None: where it was).

    Raises UserError for a damaged file, or one that belongs to another model.
    """
    run = read_file(Path(path))[0]["run"] if run is None else run
    return Session.load(Path(path), (run if isinstance(run, Run) else load(run)).generator)


def generate(run: str | os.PathLike[str], prompt: str, max_tokens: int = 200, **options: Any) -> str:
    """What the model of a run writes after the prompt: `load(run).generate(prompt, ...)`."""
    return load(run).generate(prompt, max_tokens, **options)


def _save_adapters(folder: Path) -> None:
    """The best adapters of a run of them, alone, in its folder adapter/."""
    config, info = run_folder.read_config(folder)
    if isinstance(config, SFTConfig) and config.freezes_base:
        good = checkpoint.chosen(folder / "checkpoints", "best", print)
        save_adapters(read_weights(folder, good)[0], config, info["from"]["run"], folder / "adapter")


def _sampling(options: dict[str, Any]) -> SamplingConfig:
    return make(SamplingConfig, options)
