"""How well a model predicts a text, every token once, and each with much of the text before it.

    loss            mean of -ln p(token | the tokens before it), in nats
    perplexity      e^loss: among so many equally likely tokens the model chooses, on average
    bits per byte   the text's -log2 p over its bytes of UTF-8: comparable across tokenizers

Windows of T tokens begin `stride` tokens apart, and a window scores what the one before has not: so each token but
those of the first window has at least T - stride tokens of context. `carried` goes through the text once instead, the
state handed on: recurrent layers remember all of it, attention its last T tokens.

Look first at: `score_text`, `windowed`, `carried`, `Score`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from linearnexus.core.errors import UserError
from linearnexus.data.batches import split
from linearnexus.models.language_model import LanguageModel, ModelState
from linearnexus.tokenizers import Tokenizer
from linearnexus.training.objective import token_losses


@dataclass(frozen=True)
class Score:
    """nats: the sum over the tokens that were scored, all but the first; bytes: of the text of these."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


def score_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: str,
    length: int,
    stride: int | None = None,
    carry_state: bool = False,
    validation_fraction: float | None = None,
    batch_size: int = 16,
) -> Score:
    """How well a model predicts a text, or (validation_fraction) only its last part, as a training run splits it.

    length: tokens of a window, at most the learned positions of the model; stride: see `windowed`; carry_state: once
    through the text instead. The first token is not scored, and its bytes do not count. Raises UserError for a setting
    out of range, or a text too short.
    """
    for name, value in (("sequence_length", length), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name} is {value}; give 1 or more.")
    if model.config.learned_positions:
        length = min(length, model.config.learned_positions)
    ids = tokenizer.encode_array(text)
    before = 0 if validation_fraction is None else len(ids) - len(split(ids, validation_fraction)[1])
    unscored = "".join(map(tokenizer.stream().add, ids[: before + 1].tolist()))  # half a character is scored
    if carry_state:
        losses = list(carried(model, ids[before:], length))
    else:
        losses = list(windowed(model, ids[before:], length, stride, batch_size))
    size = len(text.encode("utf-8")) - len(unscored.encode("utf-8"))
    return Score(math.fsum(map(np.sum, losses)), sum(map(len, losses)), size)


@jax.jit
def window_losses(model: LanguageModel, inputs: Int[Array, "B T"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """The loss of each target, the windows apart from one another."""
    return token_losses(model(inputs).logits, targets)


@partial(jax.jit, donate_argnames="state")
def next_losses(
    model: LanguageModel, inputs: Int[Array, "B T"], targets: Int[Array, "B T"], state: ModelState
) -> tuple[Float[Array, "B T"], ModelState]:
    """The loss of each target after a state, and the state after the inputs."""
    out = model(inputs, state=state)
    assert out.state is not None
    return token_losses(out.logits, targets), out.state


def windowed(
    model: LanguageModel, ids: np.ndarray, length: int, stride: int | None = None, batch_size: int = 16
) -> Iterator[np.ndarray]:
    """The losses (float64) of tokens 1, 2, ... of the text, in order, a batch of windows at a time. stride None: T, no
    overlap. Raises UserError for a stride out of range or a text of one token."""
    stride = length if stride is None else stride
    if not 1 <= stride <= length:
        raise UserError(
            f"stride is {stride}; windows of {length} tokens begin that many tokens apart, so give 1 (the most context "
            f"for each token, the slowest) to {length} (no overlap)."
        )
    n = _predicted(ids)
    begins = np.arange(0, max(n - length, 0) + stride, stride)
    padded = np.concatenate([ids, np.zeros(length, ids.dtype)]).astype(np.int32)  # those after the end are not scored
    places = np.arange(length)
    for first in range(0, len(begins), batch_size):
        part = begins[first : first + batch_size]
        rows = np.concatenate([part, np.full(batch_size - len(part), part[-1])])[:, None] + places
        losses = np.asarray(window_losses(model, padded[rows], padded[rows + 1]), np.float64)
        scored = np.concatenate(
            [row[0 if begin == 0 else length - stride : n - begin] for begin, row in zip(part, losses, strict=False)]
        )
        yield scored


def carried(model: LanguageModel, ids: np.ndarray, length: int, chunk: int = 256) -> Iterator[np.ndarray]:
    """The same losses, the state handed on through the whole text. Attention looks back over `length` tokens. Raises
    UserError for a model whose learned positions end before the text does, or a text of one token."""
    n, positions = _predicted(ids), model.config.learned_positions
    if positions and n > positions:
        raise UserError(
            f"The text has {n:,} tokens, and this model has {positions} learned positions, so its state cannot be "
            "carried over the whole text; leave --carry-state out."
        )
    state = jax.jit(lambda: model.init_state(1, min(length, n)))()
    for start in range(0, n, chunk):
        part = ids[start : start + chunk + 1].astype(np.int32)[None]
        losses, state = next_losses(model, part[:, :-1], part[:, 1:], state)
        yield np.asarray(losses, np.float64)[0]


def _predicted(ids: np.ndarray) -> int:
    """How many tokens have one before them."""
    if len(ids) < 2:
        raise UserError(f"The text has {len(ids)} tokens, where 2 are the least that give one to predict.")
    return len(ids) - 1
