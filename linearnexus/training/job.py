"""What a config stands for: its data, what trains and what stays frozen, its objective, what to try next.

The type of a config names its job (`TrainConfig.job`). `Job` itself is pre-training: a language model learns to predict
text. Fine-tuning is a subclass (posttraining/sft.py), and so is whatever else learns: it overrides what differs and is
trained, evaluated, stopped and resumed by the same loop.

Look first at: `Job`, `open_job`.
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from linearnexus.core.errors import UserError
from linearnexus.core.resolve import resolve
from linearnexus.data.registry import open_source
from linearnexus.data.source import DataSource, EvaluationPart
from linearnexus.models.costs import count
from linearnexus.models.language_model import LanguageModel
from linearnexus.training.config import TrainConfig
from linearnexus.training.objective import CrossEntropy, Objective
from linearnexus.training.optimizer import Optimizer
from linearnexus.training.step import TrainState, Update, draw_state, new_state, random_state
from linearnexus.training.stream import BatchStream, Stream


@dataclass(frozen=True)
class Job:
    config: TrainConfig
    source: DataSource
    suggestion: ClassVar[str] = 'let it write: linearnexus generate {} "..."'  # what to do with the trained model

    @classmethod
    def open(cls, config: TrainConfig, tokenizer: Path | None = None, sha256: str | None = None) -> Self:
        """The job of a config, its data opened.

        tokenizer: the tokenizer's file, of a run that exists already. sha256: the digest of the data that the run began
        with. Raises UserError where the data cannot be used or is not what it was.
        """
        return cls(config, open_source(config, tokenizer, sha256))

    @classmethod
    def trainable(cls, config: Any, parent: LanguageModel) -> Any:
        """What trains, in a run that begins with these weights: all of them. The layers of a deep model are stacked."""
        return parent

    def objective(self) -> Objective:
        """What is minimised."""
        return CrossEntropy(self.source.has_answers)

    def stream(self) -> Stream:
        """The batches. Raises UserError where there is too little data."""
        return BatchStream(self.source.batches(self.config), self.config.gradient_accumulation_steps)

    def evaluation(self) -> list[EvaluationPart]:
        """The batches of an evaluation, the same every time. Raises UserError where there is too little data."""
        return self.source.evaluation(self.config)

    def epoch_steps(self) -> float:
        """Steps in a pass through the data."""
        return self.source.batches(self.config).steps_per_epoch / self.config.gradient_accumulation_steps

    def check(self, update: Update) -> None:
        """Called before a new run is written. Raises UserError where training would be in vain."""

    def guessing(self) -> float | None:
        """The loss of guessing at random among all tokens, in nats; None: the objective is not a cross-entropy."""
        return math.log(self.source.tokenizer.vocab_size) if isinstance(self.objective(), CrossEntropy) else None

    def parameters(self) -> int:
        """Parameters of the whole model."""
        return count(LanguageModel.shapes(self.config.model))

    # --- samples ---

    def prompt(self, text: str) -> str | list[int]:
        """What a sample begins with, as text or as ids."""
        return self.source.prompt(text)

    def prompt_tokens(self, text: str) -> int:
        """The length of that in tokens."""
        given = self.prompt(text or "\n")
        return len(self.source.tokenizer.encode(given) if isinstance(given, str) else given)

    def sample_tokens(self) -> int:
        """Tokens of a sample: learned positions may leave room for fewer than are asked for."""
        positions = self.config.model.learned_positions or 10**9
        return min(self.config.sample_tokens, positions - self.prompt_tokens(self.config.sample_prompt))

    def sample_prompt(self) -> str:
        """The prompt of the config, or the first token of the data where the tokenizer does not know a new line.

        Raises UserError where the prompt leaves no room for a sample.
        """
        prompt = self.config.sample_prompt or "\n"
        if prompt == "\n" and not self._knows(prompt):
            prompt = self.source.tokenizer.decode([self.source.first_token])
        positions, length = self.config.model.learned_positions, self.prompt_tokens(prompt)
        if positions and length >= positions:
            raise UserError(
                f"sample_prompt has {length} tokens, and this model has {positions} learned positions; shorten it, or "
                "give --sample-tokens 0."
            )
        return prompt

    def _knows(self, text: str) -> bool:
        """Does the tokenizer give the text back? Some have no id for a new line, an unknown one, or none at all."""
        try:
            return self.source.tokenizer.decode(self.source.tokenizer.encode(text)) == text
        except UserError:
            return False


def open_job(config: TrainConfig, tokenizer: Path | None = None, sha256: str | None = None) -> Job:
    """The job that the type of the config names; see `Job.open`."""
    job: type[Job] = resolve(config.job)
    return job.open(config, tokenizer, sha256)


def first_state(config: TrainConfig, parent: LanguageModel | None = None) -> TrainState:
    """The state before the first step: its weights random, or made from those of the parent."""
    if parent is None:
        return random_state(config)
    return _from_parent(config, Optimizer.of(config), parent)


def state_shapes(config: TrainConfig, parent: LanguageModel | None = None) -> TrainState:
    """The shapes and dtypes of `first_state`."""
    optimizer = Optimizer.of(config)
    if parent is None:
        return jax.eval_shape(partial(draw_state, config.model), optimizer, jnp.uint32(0))
    return jax.eval_shape(partial(_from_parent, config), optimizer, parent)


@partial(jax.jit, static_argnames="config")
def _from_parent(config: TrainConfig, optimizer: Optimizer, parent: LanguageModel) -> TrainState:
    job: type[Job] = resolve(config.job)
    trained = job.trainable(config, parent)
    if config.freezes_base:  # the step gives its state up, and must not take the parent's arrays along
        trained = jax.tree.map(jnp.copy, trained)
    return new_state(trained, optimizer)
