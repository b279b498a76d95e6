"""Gated linear attention: each token decides, for each key by itself, how much of the memory stays.

    S_t = diag(a_t) S_{t-1} + k_t v_t^T    y_t = q_t S_t / sqrt(K)    a_t = sigmoid(W2 W1 x_t + b)^(1/16)
    out = W_o (silu(W_g x) * norm(y))

Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training", sections 4.1 and 4.4. The norm
is an RMSNorm over each head, its scale shared, as in the official code (flash-linear-attention).

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
from linearnexus.core.layers import RMSNorm, at_least_float32, linear, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import GLAConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op


@module
class GLA:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wg: Array = matrix("embed", "heads")  # the output gate
    wa_down: Array = matrix("embed", "rank")  # W1 of the decay
    wa_up: Array = matrix("rank", "key_heads")  # W2
    a_bias: Array = vector("key_heads")
    norm: RMSNorm = part(embed="value")
    wo: Array = matrix("heads", "embed", residual=True)
    config: GLAConfig = static()

    @classmethod
    def init(cls, config: GLAConfig, hidden_size: int, key: Array) -> "GLA":
        """Glorot's uniform values with gain 2^-2.5, biases zero (flash-linear-attention, layers/gla.py)."""
        config.check(hidden_size)
        keys = iter(jax.random.split(key, 7))
        key_size, value_size = config.sizes(hidden_size)
        keys_width, values_width = config.n_head * key_size, config.n_head * value_size

        def weight(rows: int, columns: int) -> Array:
            return xavier(next(keys), rows, columns, gain=2**-2.5)

        return cls(
            wq=weight(hidden_size, keys_width),
            wk=weight(hidden_size, keys_width),
            wv=weight(hidden_size, values_width),
            wg=weight(hidden_size, values_width),
            wa_down=weight(hidden_size, config.gate_rank),
            wa_up=weight(config.gate_rank, keys_width),
            a_bias=jnp.zeros(keys_width),
            norm=RMSNorm.init(value_size),
            wo=weight(values_width, hidden_size),
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
        """q, k [B,T,H,K], v [B,T,H,V]; decay [B,T,H,K]: what a token leaves of each key's memory; read [B,T,H,V]."""
        q, k, v, log_decay = self._project(x)
        read, _ = op.chunked(q, k, v, log_decay, self.init_state(x.shape[0], 0, x.dtype).S, context.tokens)
        return {"q": q, "k": k, "v": v, "decay": jnp.exp(log_decay), "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        y, S = memory(*self._project(x), before.S, context.tokens)
        y = self.norm(y).reshape(*x.shape[:-1], -1).astype(x.dtype)
        out = linear(jax.nn.silu(linear(x, self.wg)) * y, self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S))

    def _project(self, x: Float[Array, "... D"]) -> tuple[Array, Array, Array, Array]:
        """q, k, v and the log-decays [..., H, K], in float32 or wider."""
        q, k, v = (at_least_float32(split_heads(linear(x, w), self.config.n_head)) for w in (self.wq, self.wk, self.wv))
        gate = at_least_float32(linear(linear(x, self.wa_down), self.wa_up, self.a_bias))
        log_decay = jax.nn.log_sigmoid(gate) / self.config.gate_temperature
        return q / math.sqrt(q.shape[-1]), k, v, split_heads(log_decay, self.config.n_head)
