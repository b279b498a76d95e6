"""Retention: linear attention that forgets at a fixed rate, each head at its own.

    S_t = g_h S_{t-1} + k_t v_t^T    y_t = q_t S_t / sqrt(K)    g_h = 1 - 2^(-5-h)    out = W_o (silu(W_g x) * norm(y))

Sun et al. 2023, "Retentive Network", equations 5 to 8: q and k are rotated by their positions, the group norm is one
RMSNorm a head without weights, as in the official code (torchscale). The paper's further normalisations of scores
(section 2.4) only scale y, which the norm undoes but for its epsilon. Other than there, rotation rates are the usual
10,000^(-2i/K), of halves: torchscale's are 10,000^(-i/(K/2-1)), of neighbours.

Look first at: `_run`, `_project`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import xavier
from linearnexus.core.layers import at_least_float32, linear, rms_normalized, rotary, wide_dtype
from linearnexus.core.module import matrix, module, static
from linearnexus.mixers.configs import RetNetConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op

ROTARY_BASE = 10_000.0


@module
class RetNet:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wg: Array = matrix("embed", "heads")  # the output gate
    wo: Array = matrix("heads", "embed", residual=True)
    config: RetNetConfig = static()

    @classmethod
    def init(cls, config: RetNetConfig, hidden_size: int, key: Array) -> "RetNet":
        """Glorot's uniform values, with gain 2^-2.5 but for the output (torchscale, multiscale_retention.py)."""
        config.check(hidden_size)
        kq, kk, kv, kg, ko = jax.random.split(key, 5)
        inner = config.expand_v * hidden_size
        return cls(
            wq=xavier(kq, hidden_size, hidden_size, gain=2**-2.5),
            wk=xavier(kk, hidden_size, hidden_size, gain=2**-2.5),
            wv=xavier(kv, hidden_size, inner, gain=2**-2.5),
            wg=xavier(kg, hidden_size, inner, gain=2**-2.5),
            wo=xavier(ko, inner, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head = self.config.n_head
        sizes = (self.wk.shape[1] // n_head, self.wv.shape[1] // n_head)
        return MatrixState(jnp.zeros((batch, n_head, *sizes), wide_dtype(dtype)))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,H,K], v [B,T,H,V]; decay [B,T,H,1]: what a token leaves of the old state; read [B,T,H,V]."""
        q, k, v, log_decay = self._project(x, context)
        read, _ = op.chunked(q, k, v, log_decay, self.init_state(x.shape[0], 0, x.dtype).S, context.tokens)
        return {"q": q, "k": k, "v": v, "decay": jnp.exp(log_decay), "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        y, S = memory(*self._project(x, context), before.S, context.tokens)
        y = rms_normalized(y).reshape(*x.shape[:-1], -1).astype(x.dtype)
        out = linear(jax.nn.silu(linear(x, self.wg)) * y, self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S))

    def _project(self, x: Float[Array, "... D"], context: Context) -> tuple[Array, Array, Array, Array]:
        """q and k rotated, v, and the fixed log-decays, in float32 or wider."""
        n_head, position = self.config.n_head, context.tokens.position
        q, k, v = (at_least_float32(split_heads(linear(x, w), n_head)) for w in (self.wq, self.wk, self.wv))
        q, k = rotary(q, position, ROTARY_BASE) / math.sqrt(q.shape[-1]), rotary(k, position, ROTARY_BASE)
        log_decay = jnp.log1p(-(2.0 ** -(5 + jnp.arange(n_head, dtype=q.dtype)))).reshape((1,) * (q.ndim - 2) + (-1, 1))
        return q, k, v, jnp.broadcast_to(log_decay, (*q.shape[:-1], 1))
