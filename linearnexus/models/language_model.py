"""A language model: ids -> vectors -> blocks -> for every token, a score (logit) for each possible next one.

Every layer's weights are arrays of their own (`blocks[7].mixer.wq`), on disk and wherever a model is read. A deep model
trains with its layers stacked (`models.stack`), for a scan that compiles each period of its pattern once; a shallow one
is unrolled, which is faster.

Look first at: `LanguageModel.__call__`, `step`, `init`.
"""

from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from linearnexus.core.layers import Dropout, LayerNorm, RMSNorm, at_least_float32, drop, unembed
from linearnexus.core.module import module, scale_residual, static, table
from linearnexus.core.tokens import count_tokens
from linearnexus.mixers.contract import Context, MixerOutput, State, add_losses
from linearnexus.models.block import Block
from linearnexus.models.config import ModelConfig, Remat
from linearnexus.models.remat import run_block
from linearnexus.models.stack import Stack

UNROLL_UP_TO = 12  # layers; deeper models scan over their periods in training: slower steps, far shorter compilation


@module
class ModelState:
    """What the model remembers of each row: one state a layer, and the counts that tokens are numbered with."""

    layers: tuple[State, ...]
    position: Array  # [B] tokens so far in the current document
    index: Array  # [B] tokens so far in the row


@module
class Output:
    logits: Array  # [B, T, W], float32 or wider
    state: ModelState | None = None
    loss: Array | None = None  # what mixers add to the training loss (a mixture of experts does)


@module
class LanguageModel:
    embedding: Array = table("vocab", "embed")
    positions: Array | None = table("position", "embed")  # learned
    input_norm: RMSNorm | LayerNorm | None
    blocks: tuple[Block, ...] | Stack  # one a layer
    norm: RMSNorm | LayerNorm
    head: Array | None = table("vocab", "embed")  # None: the embedding
    config: ModelConfig = static()
    remat: Remat = static(default="norms")  # what a gradient computes again; a training step sets it

    @classmethod
    def init(cls, config: ModelConfig, key: Array) -> "LanguageModel":
        """Random weights: tables N(0, embedding_std), mixers as in their papers, and every matrix that writes into the
        residual stream divided by the square root of the number of such branches (GPT-2; Mamba's code does the
        same)."""
        k_embedding, k_positions, k_head, k_blocks = jax.random.split(key, 4)
        keys = jax.random.split(k_blocks, config.n_layer)
        kinds = [config.block(layer) for layer in range(config.n_layer)]
        blocks = {}
        for kind in dict.fromkeys(kinds):  # one draw for all layers of a kind: it compiles in a fraction of the time
            layers = [layer for layer in range(config.n_layer) if kinds[layer] == kind]
            drawn = jax.vmap(partial(Block.init, kind, config))(keys[jnp.array(layers)])
            drawn = scale_residual(drawn, config.n_residual**-0.5)
            for number, layer in enumerate(layers):
                blocks[layer] = jax.tree.map(itemgetter(number), drawn).placed(layer, config.n_layer)

        def rows(k: Array, n: int) -> Array:
            return config.embedding_std * jax.random.normal(k, (n, config.hidden_size))

        return cls(
            embedding=rows(k_embedding, config.vocab_size),
            positions=rows(k_positions, config.learned_positions) if config.learned_positions else None,
            input_norm=config.norm.init(config.hidden_size) if config.input_norm else None,
            blocks=tuple(blocks[layer] for layer in range(config.n_layer)),
            norm=config.norm.init(config.hidden_size),
            head=None if config.tie_embeddings else rows(k_head, config.vocab_size),
            config=config,
        )

    @classmethod
    def shapes(cls, config: ModelConfig) -> "LanguageModel":
        """The model with shapes and dtypes (`jax.ShapeDtypeStruct`) in place of its arrays; nothing is allocated."""
        return jax.eval_shape(lambda: cls.init(config, jax.random.key(0)))

    def init_state(self, batch: int, max_len: int, dtype: Any = None) -> ModelState:
        """The state before the first token; caches hold `max_len` tokens. `dtype` of caches: the activations' unless
        given."""
        dtype = self.config.dtype if dtype is None else dtype
        zero = jnp.zeros(batch, jnp.int32)
        return ModelState(tuple(b.init_state(batch, max_len, dtype) for b in self.blocks), zero, zero)

    def __call__(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"] | None = None,
        starts: Bool[Array, "B T"] | None = None,
        state: ModelState | None = None,
        key: Array | None = None,
    ) -> Output:
        """Logits [B, T, W] for the token after each one.

        `valid`: which tokens are real (None: all); `starts`: which begin a new document (None: none). `state`: go on
        from it (None: from nothing, and return none). `key`: dropout is on, with this key.
        """
        before = (None, None) if state is None else (state.position, state.index)
        tokens, position, index = count_tokens(ids.shape, valid, starts, *before)
        dropout = None if key is None or not self.config.dropout else Dropout(key, self.config.dropout)
        x = drop(self._embed(ids, tokens.position), dropout, -1)
        context = Context(tokens, dropout)
        if state is not None:
            states = []
            for layer, (block, block_state) in enumerate(zip(self.blocks, state.layers, strict=True)):
                out = run_block(block, x, _for_layer(context, layer), block_state, self.remat)
                x, context = out.y, _with_shared(context, out.shared)
                states.append(out.state)
            return Output(self._logits(x), ModelState(tuple(states), position, index))
        if isinstance(self.blocks, tuple) and self.config.n_layer <= UNROLL_UP_TO:
            x, _, loss = self._run_blocks(x, context, self.blocks, 0)
        else:
            x, loss = self._scan(x, context)
        return Output(self._logits(x), loss=loss)

    def step(
        self,
        ids: Int[Array, "B"],
        state: ModelState,
        valid: Bool[Array, "B"] | None = None,
        starts: Bool[Array, "B"] | None = None,
    ) -> tuple[Float[Array, "B W"], ModelState]:
        """One token a row, by each mixer's recurrence: the logits [B, W] after it, and the state."""
        valid, starts = (None if field is None else field[:, None] for field in (valid, starts))
        tokens, position, index = count_tokens((ids.shape[0], 1), valid, starts, state.position, state.index)
        context = Context(jax.tree.map(lambda field: field[:, 0], tokens))
        x = self._embed(ids, context.tokens.position)
        states = []
        for block, block_state in zip(self.blocks, state.layers, strict=True):
            out = _step_block(block, x, context, block_state)
            x, context = out.y, _with_shared(context, out.shared)
            states.append(out.state)
        return self._logits(x), ModelState(tuple(states), position, index)

    def look(self, ids: Int[Array, "B T"]) -> list[dict[str, Array]]:
        """What each layer's mixer shows of these tokens (`SequenceMixer.look`), the first layer first."""
        tokens, _, _ = count_tokens(ids.shape, None, None, None, None)
        x, context, seen = self._embed(ids, tokens.position), Context(tokens), []
        for block in self.blocks:
            seen.append(block.mixer.look(block.norm(x), context))
            out = block(x, context)
            x, context = out.y, _with_shared(context, out.shared)
        return seen

    def _run_blocks(
        self, x: Float[Array, "B T D"], context: Context, blocks: tuple[Block, ...], first: int | Int[Array, ""]
    ) -> tuple[Float[Array, "B T D"], Any, Array | None]:
        """Some blocks one after another, the first being layer `first`; what is shared after them; and the sum of their
        losses."""
        losses = []
        for place, block in enumerate(blocks):
            out = run_block(block, x, _for_layer(context, first + place), None, self.remat)
            x, context = out.y, _with_shared(context, out.shared)
            losses.append(out.loss)
        return x, context.shared, add_losses(*losses)

    def _scan(self, x: Float[Array, "B T D"], context: Context) -> tuple[Float[Array, "B T D"], Array | None]:
        """The stack without states, one period compiled for all its repetitions."""
        blocks = self.blocks if isinstance(self.blocks, Stack) else Stack.of(self.blocks, self.config.pattern)
        period, begin = len(self.config.pattern), len(blocks.first)
        whole = self.config.n_layer - len(blocks.rest)
        x, shared, first_loss = self._run_blocks(x, context, blocks.first, 0)

        def body(carry: Any, scanned: Any) -> tuple[Any, Array | None]:
            (x, shared), (first, period_blocks) = carry, scanned
            x, shared, loss = self._run_blocks(x, _with_shared(context, shared), period_blocks, first)
            return (x, shared), loss

        layers = jnp.arange(begin, whole, period, dtype=jnp.int32)
        (x, shared), losses = lax.scan(body, (x, shared), (layers, blocks.periods))
        x, _, loss = self._run_blocks(x, _with_shared(context, shared), blocks.rest, whole)
        return x, add_losses(first_loss, None if losses is None else jnp.sum(losses), loss)

    def _embed(self, ids: Int[Array, "..."], position: Int[Array, "..."]) -> Float[Array, "... D"]:
        x = at_least_float32(self.embedding[ids])
        if self.positions is not None:
            x = x + at_least_float32(self.positions[position])
        x = x.astype(self.config.dtype)
        return x if self.input_norm is None else self.input_norm(x)

    def _logits(self, x: Float[Array, "... D"]) -> Float[Array, "... W"]:
        return at_least_float32(unembed(self.norm(x), self.embedding if self.head is None else self.head))


@jax.jit
def _step_block(block: Block, x: Float[Array, "B D"], context: Context, state: Any) -> MixerOutput:
    return block.step(x, context, state)


def _for_layer(context: Context, layer: int | Int[Array, ""]) -> Context:
    """The context of one layer: dropout under the layer's own key."""
    if context.dropout is None:
        return context
    return Context(context.tokens, context.dropout.fold(layer), context.shared)


def _with_shared(context: Context, shared: Any) -> Context:
    """The context of the layers after one that shares something."""
    return context if shared is None else Context(context.tokens, context.dropout, shared)
