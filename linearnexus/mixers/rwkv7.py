"""RWKV-7 (Goose): a memory that decays key by key and erases along one vector what it finds along another; the values
of all layers are drawn to those of the first.

    s_t = x_{t-1} - x_t    x_r, x_w, x_k, x_v, x_a, x_g = x_t + s_t mu, each with its mu
    r, k, v = W_r x_r, W_k x_k, W_v x_v
    w = exp(-e^(-1/2) sigmoid(w_0 + tanh(x_w W_1) W_2))    a = sigmoid(a_0 + x_a A_1 A_2)    g = sigmoid(x_g G_1) G_2
    v = v + (v_first - v) sigmoid(v_0 + x_v V_1 V_2), v_first the v of the first such layer
    c = k * k_k, of length 1 in each head                  k = k (1 + (a - 1) k_a)
    S_t = (Diag(w_t) - (a_t c_t) c_t^T) S_{t-1} + k_t v_t^T                y_t = r_t S_t
    out = W_o (g * (norm(y) + (r . (r_k k)) v))            a LayerNorm over each head, a dot product in each head

Peng et al. 2025, "RWKV-7", section 4; official codes: RWKV-LM, RWKV-v7/rwkv_v7_numpy.py (the equations) and
RWKV-v7/train_temp/src/model.py (initial values, optimizer groups). The state is the transpose of theirs. As there, only
the square matrices are decayed, and w_0 learns at twice the rate.

Look first at: `_run`, `_project`, `placed`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import orthogonal
from linearnexus.core.layers import LayerNorm, at_least_float32, heads_normalized, linear, row, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import RWKV7Config
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import delta_rule as op
from linearnexus.ops.short_conv import short_conv, short_conv_step, token_before


@module
class LowRank:
    """bias + f(x down) up, in float32 or wider where there is a bias."""

    bias: Array | None = vector("heads")
    down: Array = vector("embed", "rank")
    up: Array = vector("rank", "heads")

    @classmethod
    def init(cls, hidden_size: int, rank: int, key: Array, bias: bool = True) -> "LowRank":
        """Zero, by `down`; `up` orthogonal times 0.1."""
        gain = 0.1 * math.sqrt(max(rank / hidden_size, 1))
        zero = jnp.zeros(hidden_size) if bias else None
        return cls(zero, jnp.zeros((hidden_size, rank)), orthogonal(key, rank, hidden_size, gain=gain))

    def __call__(self, x: Float[Array, "... D"], function: Callable = lambda low: low) -> Float[Array, "... D"]:
        y = linear(function(linear(x, self.down)), self.up)
        return y if self.bias is None else at_least_float32(y) + row(self.bias, at_least_float32(y))


@module
class RWKV7:
    wr: Array = matrix("embed", "heads")
    wk: Array = matrix("embed", "heads")
    wv: Array = matrix("embed", "heads")
    mix: Array = vector(None, "embed")  # [6, D]: mu of r, w, k, v, a, g
    w_bias: Array = vector("heads", lr_multiplier=2.0)  # w_0
    w: LowRank
    a: LowRank
    v: LowRank
    g: LowRank
    k_k: Array = vector("heads")
    k_a: Array = vector("heads")
    r_k: Array = vector("heads")
    norm: LayerNorm = part(embed="heads")
    wo: Array = matrix("heads", "embed", residual=True)
    config: RWKV7Config = static()

    @classmethod
    def init(cls, config: RWKV7Config, hidden_size: int, key: Array) -> "RWKV7":
        """Orthogonal matrices, that of keys times 0.1, W_o zero; low-rank products zero; the rest by channel, head and
        layer: `placed` (the official code)."""
        config.check(hidden_size)
        keys = jax.random.split(key, 7)
        square, ranks = (hidden_size, hidden_size), config.ranks(hidden_size)
        zero = jnp.zeros(hidden_size)
        return cls(
            wr=orthogonal(keys[0], *square),
            wk=orthogonal(keys[1], *square, gain=0.1),
            wv=orthogonal(keys[2], *square),
            mix=jnp.zeros((6, hidden_size)),
            w_bias=zero,
            w=LowRank.init(hidden_size, ranks[0], keys[3], bias=False),
            a=LowRank.init(hidden_size, ranks[1], keys[4]),
            v=LowRank.init(hidden_size, ranks[2], keys[5]),
            g=LowRank.init(hidden_size, ranks[3], keys[6], bias=False),
            k_k=zero,
            k_a=jnp.full(hidden_size, 1.02),
            r_k=jnp.full(hidden_size, -0.04),
            norm=LayerNorm.init(hidden_size, eps=config.norm_eps),
            wo=jnp.zeros(square),
            config=config,
        )

    def placed(self, layer: int, n_layer: int) -> "RWKV7":
        """The official initial values: a scale from slow to fast over the channels, a zigzag over those of each head,
        and upper layers that lean less on the token before."""
        size = self.wr.shape[0]
        head = size // self.config.n_head
        depth, rest = layer / max(n_layer - 1, 1), 1 - layer / n_layer
        number = jnp.arange(size, dtype=jnp.float32)
        share, place = number / size, number / max(size - 1, 1)
        middle = max((head - 1) / 2, 0.5)
        zigzag = (number % head - middle) / middle if head > 1 else jnp.zeros(size)
        zigzag, slope = zigzag * jnp.abs(zigzag), place - 0.5
        powers = (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)
        return replace(
            self,
            mix=jnp.stack([1 - share ** (power * rest) for power in powers]),
            w_bias=-5.5 + 6 * place ** (1 + depth**0.3) + 2.5 * zigzag,
            a=replace(self.a, bias=-0.19 + 0.3 * zigzag + 0.4 * slope),
            v=replace(self.v, bias=0.73 - 0.4 * slope),
            k_k=0.71 - 0.1 * slope,
            norm=replace(self.norm, scale=jnp.full(size, ((1 + layer) / n_layer) ** 0.7)),
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        """S, and as conv_state the last input."""
        n_head, size = self.config.n_head, self.wr.shape[0]
        S = jnp.zeros((batch, n_head, size // n_head, size // n_head), wide_dtype(dtype))
        return MatrixState(S, jnp.zeros((batch, 1, size), dtype))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.dplr_chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.dplr_step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q (r), k, v [B,T,H,K]; decay [B,T,H,K]: what a token leaves of each key's memory; find, erase [B,T,H,K]: what
        the memory holds along the first is added along the second; read [B,T,H,K]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        inputs, _, _, _ = self._project(x, context, state, short_conv)
        q, k, v, find, erase, log_decay = inputs
        read, _ = op.dplr_chunked(*inputs, state.S, context.tokens)
        return {"q": q, "k": k, "v": v, "find": find, "erase": erase, "decay": jnp.exp(log_decay), "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, conv: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        inputs, gate, first, conv_state = self._project(x, context, before, conv)
        y, S = memory(*inputs, before.S, context.tokens)
        r, k, v = inputs[:3]
        r_k = self.r_k.astype(k.dtype).reshape((1,) * (k.ndim - 2) + k.shape[-2:])
        own = jnp.sum(r * k * r_k, axis=-1, keepdims=True) * v
        y = heads_normalized(y, self.norm) + own.reshape(x.shape)
        return MixerOutput(
            linear(gate * y.astype(x.dtype), self.wo),
            None if state is None else MatrixState(S, conv_state),
            shared=first,
        )

    def _project(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, Array, Array, Array, Array, Array], Array, Array, Array]:
        """The memory's inputs (r, k, v, what is looked up, what is added for it, log-decays) [..., H, K] in float32 or
        wider; the output gate; the first layer's v; the last input."""
        earlier, conv_state = token_before(x, before.conv_state, context.tokens, conv)
        x_r, x_w, x_k, x_v, x_a, x_g = (x + (earlier - x) * row(mu, x) for mu in self.mix)
        r, k, v = (at_least_float32(linear(part, w)) for part, w in ((x_r, self.wr), (x_k, self.wk), (x_v, self.wv)))
        first = v if context.shared is None else context.shared
        if context.shared is not None:
            v = v + (first - v) * jax.nn.sigmoid(self.v(x_v))
        rate = at_least_float32(self.w(x_w, jnp.tanh))
        log_decay = -math.exp(-0.5) * jax.nn.sigmoid(rate + row(self.w_bias, rate))
        a = jax.nn.sigmoid(self.a(x_a))
        find = split_heads(k * row(self.k_k, k), self.config.n_head)
        find = find * jax.lax.rsqrt(jnp.maximum(jnp.sum(find * find, axis=-1, keepdims=True), 1e-24))
        k = k * (1 + (a - 1) * row(self.k_a, k))
        r, k, v, a, log_decay = (split_heads(part, self.config.n_head) for part in (r, k, v, a, log_decay))
        return (r, k, v, find, -a * find, log_decay), self.g(x_g, jax.nn.sigmoid), first, conv_state
