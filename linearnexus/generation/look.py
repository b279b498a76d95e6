"""What a model thinks of a prompt, in numbers: how much each token surprised it, and what it would write next.

Look first at: `inspect_prompt`, `Inspection`.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.generation.sampling import stages
from linearnexus.generation.slots import chunks, fresh
from linearnexus.models.language_model import LanguageModel, ModelState


@dataclass(frozen=True)
class PromptToken:
    text: str
    id: int
    probability: float | None  # that the model gave it after the tokens before it; None for the first one

    @property
    def surprise(self) -> float | None:
        """-log2 of the probability, in bits."""
        if self.probability is None:
            return None
        return -math.log2(self.probability) if self.probability else math.inf


@dataclass(frozen=True)
class Candidate:
    """A possible next token."""

    text: str
    id: int
    probabilities: dict[str, float]  # after each stage of `sampling.stages`, by its name; 0 once it is removed


@dataclass(frozen=True)
class Inspection:
    tokens: tuple[PromptToken, ...]
    candidates: tuple[Candidate, ...]  # the most probable first
    kept: dict[str, int]  # tokens that are still possible after each stage


def inspect_prompt(generator: Generator, prompt: str, sampling: SamplingConfig = DEFAULT, top: int = 10) -> Inspection:
    """Each prompt token's probability and the `top` most probable next tokens, from the same states as generation."""
    tokenizer, vocab_size = generator.tokenizer, generator.tokenizer.vocab_size
    ids = generator.encode(prompt)
    state = fresh(generator.model, 1, generator.slots(len(ids), 0))
    following, probabilities = ids[1:] + ids[-1:], []
    for (tokens, valid), (targets, _) in zip(chunks(ids), chunks(following), strict=True):
        given, logits, state = _score(generator.model, tokens, targets, valid, state, vocab_size)
        probabilities += np.asarray(given)[0, valid[0]].tolist()
    seen = np.zeros((1, vocab_size), bool)
    seen[0, ids] = True
    after = {name: np.asarray(p)[0] for name, p in stages(logits, sampling, jnp.asarray(seen)).items()}
    best = np.argsort(-after["raw"], kind="stable")[:top].tolist()
    return Inspection(
        tokens=tuple(
            PromptToken(tokenizer.decode([token]), token, p)
            for token, p in zip(ids, [None, *probabilities[:-1]], strict=True)
        ),
        candidates=tuple(
            Candidate(tokenizer.decode([token]), token, {name: float(p[token]) for name, p in after.items()})
            for token in best
        ),
        kept={name: int((p > 0).sum()) for name, p in after.items()},
    )


@partial(jax.jit, static_argnames="vocab_size", donate_argnames="state")
def _score(
    model: LanguageModel,
    ids: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    valid: Bool[Array, "B T"],
    state: ModelState,
    vocab_size: int,
) -> tuple[Float[Array, "B T"], Float[Array, "B W"], ModelState]:
    """The probability of each target, the logits after each row's last valid token, and the state."""
    out = model(ids, valid, state=state)
    assert out.state is not None
    logits = out.logits[:, :, :vocab_size]
    given = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), targets[:, :, None], axis=-1)[:, :, 0]
    last = jnp.sum(valid, axis=1, dtype=jnp.int32)[:, None, None] - 1
    return given, jnp.take_along_axis(logits, last, axis=1)[:, 0], out.state
