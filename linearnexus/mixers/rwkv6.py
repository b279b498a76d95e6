"""RWKV-6 (Finch): linear attention with a decay for each key, a bonus for the token itself, and inputs that lean on the
token before.

    s_t = x_{t-1} - x_t    x_w, x_k, x_v, x_r, x_g = x_t + s_t (mu + tanh((x_t + s_t mu_x) A) B), each with its mu and B
    r, k, v = W_r x_r, W_k x_k, W_v x_v    a_t = exp(-exp(w + tanh(x_w W_1) W_2))
    y_t = r_t (S_{t-1} + Diag(u) k_t v_t^T)               S_t = Diag(a_t) S_{t-1} + k_t v_t^T
    out = W_o (silu(W_g x_g) * norm(y))                   a LayerNorm over each head

Peng et al. 2024, "Eagle and Finch", section 4.2; official code: RWKV-LM, RWKV-v5/src/model.py, RWKV_Tmix_x060. As
there, low-rank products are never decayed, and w learns at twice the rate. Small models have lower ranks than the
official 32 and 64. The exponent of the decay is cut at 20, where nothing is left of a memory.

Look first at: `_run`, `_project`.
"""

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
from linearnexus.mixers.configs import RWKV6Config
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op
from linearnexus.ops.short_conv import short_conv, short_conv_step, token_before

EPS = 64e-5  # of the norm: 1e-5 times the square of the official head_size_divisor, 8


@module
class RWKV6:
    wr: Array = matrix("embed", "heads")
    wk: Array = matrix("embed", "heads")
    wv: Array = matrix("embed", "heads")
    wg: Array = matrix("embed", "heads")  # the output gate
    mix_x: Array = vector("embed")  # mu_x
    mix: Array = vector(None, "embed")  # [5, D]: mu of w, k, v, r, g
    mix_down: Array = vector("embed", None)  # [D, 5*R], A
    mix_up: Array = vector(None, "rank", "embed")  # [5, R, D], B
    decay: Array = vector("heads", lr_multiplier=2.0)  # w
    decay_down: Array = vector("embed", "rank")  # W_1
    decay_up: Array = vector("rank", "heads")  # W_2
    bonus: Array = vector("heads")  # u
    norm: LayerNorm = part(embed="heads")
    wo: Array = matrix("heads", "embed", residual=True)
    config: RWKV6Config = static()

    @classmethod
    def init(cls, config: RWKV6Config, hidden_size: int, key: Array) -> "RWKV6":
        """Orthogonal matrices, those of keys and gate times 0.1, W_o zero; A and W_1 zero, B and W_2 uniform up to
        0.01; the rest by layer: `placed` (the official code)."""
        config.check(hidden_size)
        kr, kk, kv, kg, k_mix, k_decay = jax.random.split(key, 6)
        square, (mix_rank, decay_rank) = (hidden_size, hidden_size), config.ranks(hidden_size)

        def small(key: Array, *shape: int) -> Array:
            return jax.random.uniform(key, shape, minval=-0.01, maxval=0.01)

        return cls(
            wr=orthogonal(kr, *square),
            wk=orthogonal(kk, *square, gain=0.1),
            wv=orthogonal(kv, *square),
            wg=orthogonal(kg, *square, gain=0.1),
            mix_x=jnp.zeros(hidden_size),
            mix=jnp.zeros((5, hidden_size)),
            mix_down=jnp.zeros((hidden_size, 5 * mix_rank)),
            mix_up=small(k_mix, 5, mix_rank, hidden_size),
            decay=jnp.zeros(hidden_size),
            decay_down=jnp.zeros((hidden_size, decay_rank)),
            decay_up=small(k_decay, decay_rank, hidden_size),
            bonus=jnp.zeros(hidden_size),
            norm=LayerNorm.init(hidden_size, eps=EPS),
            wo=jnp.zeros(square),
            config=config,
        )

    def placed(self, layer: int, n_layer: int) -> "RWKV6":
        """The values that depend on the depth: upper layers lean less on the token before and forget later."""
        size = self.wr.shape[0]
        depth, rest = layer / max(n_layer - 1, 1), 1 - layer / n_layer
        number = jnp.arange(size, dtype=jnp.float32)
        share, place = number / size, number / max(size - 1, 1)
        full, half = 1 - share**rest, 1 - share ** (0.5 * rest)
        return replace(
            self,
            mix_x=full,
            mix=jnp.stack([full, full, full - 0.3 * depth, half, half]),
            decay=-6 + 5 * place ** (0.7 + 1.3 * depth),
            bonus=depth * (1 - place) + ((number + 1) % 3 - 1) * 0.1,
            norm=replace(self.norm, scale=jnp.full(size, ((1 + layer) / n_layer) ** 0.7)),
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        """S, and as conv_state the last input."""
        n_head, size = self.config.n_head, self.wr.shape[0]
        S = jnp.zeros((batch, n_head, size // n_head, size // n_head), wide_dtype(dtype))
        return MatrixState(S, jnp.zeros((batch, 1, size), dtype))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q (r), k, v [B,T,H,K]; decay [B,T,H,K]: what a token leaves of each key's memory; bonus [H,K]: how much of
        what it writes it reads itself; read [B,T,H,K]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        (q, k, v, log_decay), _, _ = self._project(x, context, state, short_conv)
        bonus = self._bonus(q)
        read, _ = op.chunked(q, k, v, log_decay, state.S, context.tokens, bonus)
        return {"q": q, "k": k, "v": v, "decay": jnp.exp(log_decay), "bonus": bonus, "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, conv: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        inputs, gate, conv_state = self._project(x, context, before, conv)
        y, S = memory(*inputs, before.S, context.tokens, self._bonus(inputs[0]))
        y = heads_normalized(y, self.norm).astype(x.dtype)
        return MixerOutput(linear(gate * y, self.wo), None if state is None else MatrixState(S, conv_state))

    def _bonus(self, like: Array) -> Float[Array, "H K"]:
        return split_heads(self.bonus.astype(like.dtype), self.config.n_head)

    def _project(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, Array, Array, Array], Array, Array]:
        """r, k, v and the log-decays [..., H, K] in float32 or wider, the output gate, and the last input."""
        earlier, conv_state = token_before(x, before.conv_state, context.tokens, conv)
        shift = earlier - x
        low = split_heads(jnp.tanh(linear(x + shift * row(self.mix_x, x), self.mix_down)), 5)
        lean = jnp.einsum("...ir,ird->i...d", low, self.mix_up.astype(x.dtype))
        x_w, x_k, x_v, x_r, x_g = (x + shift * (row(mu, x) + more) for mu, more in zip(self.mix, lean, strict=True))
        rate = at_least_float32(linear(jnp.tanh(linear(x_w, self.decay_down)), self.decay_up))
        log_decay = -jnp.exp(jnp.minimum(rate + row(self.decay, rate), 20))
        projected = (at_least_float32(linear(part, w)) for part, w in ((x_r, self.wr), (x_k, self.wk), (x_v, self.wv)))
        r, k, v, log_decay = (split_heads(part, self.config.n_head) for part in (*projected, log_decay))
        return (r, k, v, log_decay), jax.nn.silu(linear(x_g, self.wg)), conv_state
