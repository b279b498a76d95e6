"""What scripts and notebooks use; the command line is a thin layer over it.

Look first at: `train`, `load`, `Run`; `compare` is in lab/compare.py.
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from linearnexus.core.config import make
from linearnexus.core.errors import UserError
from linearnexus.data.batches import split
from linearnexus.evaluation.perplexity import Score, carried, windowed
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generation, Generator
from linearnexus.generation.look import Inspection, inspect_prompt
from linearnexus.lab.compare import Comparison, compare
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.quantize import quantize, quantizer
from linearnexus.posttraining.config import SFTConfig, tuned
from linearnexus.posttraining.lora import describe
from linearnexus.posttraining.peft import save as save_adapters
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer
from linearnexus.training import checkpoint, loop, run_folder
from linearnexus.training.base import Base
from linearnexus.training.base import weights as read_weights
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import base_config, going_on, with_options
from linearnexus.training.report import read_metrics
from linearnexus.training.step import whole

Part = Literal["all", "validation"]  # of a text

__all__ = ["Comparison", "Run", "compare", "generate", "load", "train"]


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
        """What the model writes after the prompt. `sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
        seed."""
        return self.complete([prompt], max_tokens, stop, **sampling)[0].text

    def complete(
        self,
        prompts: Sequence[str],
        max_tokens: int = 200,
        stop: str | Sequence[str] = (),
        samples: int = 1,
        **sampling: Any,
    ) -> list[Generation]:
        """`samples` continuations of each prompt, all in one batch, each the same as alone."""
        return self.generator.generate(list(prompts), max_tokens, _sampling(sampling), stop=stop, samples=samples)

    def stream(
        self, prompt: str, max_tokens: int = 200, stop: str | Sequence[str] = (), **sampling: Any
    ) -> Iterator[str]:
        """The same text as `generate`, piece by piece as it is made."""
        return self.generator.stream(prompt, max_tokens, _sampling(sampling), stop=stop)

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
        length = sequence_length or self.config.sequence_length
        for name, value in (("sequence_length", length), ("batch_size", batch_size)):
            if value < 1:
                raise UserError(f"{name} is {value}; give 1 or more.")
        if self.config.model.learned_positions:
            length = min(length, self.config.model.learned_positions)
        ids = self.tokenizer.encode_array(text)
        before = 0
        if (part or self.part(text)) == "validation":
            before = len(ids) - len(split(ids, self.config.validation_fraction)[1])
        unscored = "".join(map(self.tokenizer.stream().add, ids[: before + 1].tolist()))  # half a character is scored
        if carry_state:
            losses = list(carried(self.model, ids[before:], length))
        else:
            losses = list(windowed(self.model, ids[before:], length, stride, batch_size))
        size = len(text.encode("utf-8")) - len(unscored.encode("utf-8"))
        return Score(math.fsum(map(np.sum, losses)), sum(map(len, losses)), size)

    def part(self, text: str) -> Part:
        """What to evaluate of a text: all of it, or the validation part of the text that the run was trained on."""
        corpus = run_folder.read_config(self.folder)[1].get("corpus", {})  # a converted model has none
        return "validation" if hashlib.sha256(text.encode()).hexdigest() == corpus.get("sha256") else "all"

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; the half line that a killed run leaves is no row."""
        return [dict(row) for row in read_metrics(self.folder / "metrics.jsonl")]

    def as_base(self) -> Base:
        """What another run begins with."""
        return Base(self.model, self.folder / "tokenizer.json", self.folder, self.step)


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
        folder = loop.resume(run_folder.find(resume), options, quiet)
        _save_adapters(folder)
        return load(folder, "last")
    if from_run is not None:
        if model is not None:
            raise UserError("A run that begins with another's weights keeps its model; leave model or from_run out.")
        begin = load(from_run)
        return load(loop.train(going_on(begin.config, options, begin.folder), name, quiet, begin.as_base()))
    base = model if isinstance(model, TrainConfig) else base_config(model or "gpt-nano")
    return load(loop.train(with_options(base, options), name, quiet))


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
    config = tuned(begin.config, {**options, "data": os.fspath(data)}, begin.folder)
    notes = describe(begin.model, config) if config.keeps_base else []
    folder = loop.train(config, name, quiet, begin.as_base(), notes)
    _save_adapters(folder)
    return load(folder)


def load(
    run: str | os.PathLike[str], checkpoint_step: str | int = "best", tell: Any = print, weights: str = "float32"
) -> Run:
    """Opens a run: its checkpoint with the lowest validation loss ("best"), the "last" one, or that of a step.

    weights: how they are kept, for generation and evaluation: "float32", "bfloat16" (half the memory) or "int8" (a
    quarter, and large models write faster). A damaged checkpoint is named to `tell`, and the newest good one used.
    Raises UserError where there is no such run.
    """
    folder = run_folder.find(run)
    config, _ = run_folder.read_config(folder)
    checkpoints = folder / "checkpoints"
    good = checkpoint.chosen(checkpoints, checkpoint_step, tell)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = whole(*read_weights(folder, good, quantizer(weights)))
    if config.keeps_base:
        model = quantize(model, weights)
    return Run(folder, config, model, tokenizer, checkpoint.load_state(good)["step"])


def generate(run: str | os.PathLike[str], prompt: str, max_tokens: int = 200, **options: Any) -> str:
    """What the model of a run writes after the prompt: `load(run).generate(prompt, ...)`."""
    return load(run).generate(prompt, max_tokens, **options)


def _save_adapters(folder: Path) -> None:
    """The best adapters of a run of them, alone, in its folder adapter/."""
    config, info = run_folder.read_config(folder)
    if isinstance(config, SFTConfig) and config.keeps_base:
        good = checkpoint.chosen(folder / "checkpoints", "best", print)
        save_adapters(read_weights(folder, good)[0], config, info["from"]["run"], folder / "adapter")


def _sampling(options: dict[str, Any]) -> SamplingConfig:
    return make(SamplingConfig, options)
