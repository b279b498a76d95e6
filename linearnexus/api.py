"""What scripts and notebooks use; the command line is a thin layer over it.

Look first at: `train`, `load`, `Run`.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax

from linearnexus.core.config import make
from linearnexus.core.errors import UserError, unknown
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generation, Generator
from linearnexus.generation.look import Inspection, inspect_prompt
from linearnexus.models.language_model import LanguageModel
from linearnexus.tokenizers import load as load_tokenizer
from linearnexus.tokenizers.base import Tokenizer
from linearnexus.training import checkpoint, loop, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import base_config, with_options
from linearnexus.training.report import read_metrics


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

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; the half line that a killed run leaves is no row."""
        return [dict(row) for row in read_metrics(self.folder / "metrics.jsonl")]


def train(
    model: str | TrainConfig = "gpt-nano",
    *,
    name: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Trains a model and returns the run.

    model: a preset (`gpt-nano`, `mamba-nano`, ...), the path of a recipe, or a TrainConfig. name: the run's folder
    below runs/. resume: go on with this run instead. options: any field of TrainConfig, and of the model `n_layer`,
    `hidden_size`, `n_head`, `n_kv_head`, `window`, `learned_positions`, `tie_embeddings`, `dropout`, `dtype`. Raises
    UserError (a ValueError) for what you can put right.
    """
    if resume is not None:
        if name is not None:
            raise UserError(f"name is {name!r}, and a run that goes on keeps its own; leave name or resume out.")
        return load(loop.resume(run_folder.find(resume), options, quiet), "last")
    base = model if isinstance(model, TrainConfig) else base_config(model)
    return load(loop.train(with_options(base, options), name, quiet))


def load(run: str | os.PathLike[str], checkpoint_step: str | int = "best", tell: Any = print) -> Run:
    """Opens a run: its checkpoint with the lowest validation loss ("best"), the "last" one, or that of a step.

    A damaged checkpoint is named to `tell`, and the newest good one used. Raises UserError where there is no such run.
    """
    folder = run_folder.find(run)
    config, _ = run_folder.read_config(folder)
    checkpoints = folder / "checkpoints"
    good = checkpoint.newest_good(checkpoints, tell, _chosen(checkpoints, checkpoint_step, tell))
    like = jax.eval_shape(lambda: LanguageModel.init(config.model, jax.random.key(0)))
    model = checkpoint.load_tree(good / checkpoint.MODEL, like)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    return Run(folder, config, model, tokenizer, checkpoint.load_state(good)["step"])


def generate(run: str | os.PathLike[str], prompt: str, max_tokens: int = 200, **options: Any) -> str:
    """What the model of a run writes after the prompt: `load(run).generate(prompt, ...)`."""
    return load(run).generate(prompt, max_tokens, **options)


def _chosen(checkpoints: Path, which: str | int, tell: Any) -> int | None:
    """The step of the checkpoint asked for; None for the newest."""
    found = checkpoint.steps(checkpoints)
    if which == "last":
        return None
    if which == "best":
        newest = checkpoint.load_state(checkpoint.newest_good(checkpoints, tell))
        return newest["best"][1] if newest["best"] else newest["step"]
    if not str(which).isdigit() or int(which) not in found:
        raise unknown("checkpoint", str(which), ["best", "last", *map(str, found)])
    return int(which)


def _sampling(options: dict[str, Any]) -> SamplingConfig:
    return make(SamplingConfig, options)
