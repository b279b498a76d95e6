"""Linear attention: softmax's kernel exp(q . k) replaced by f(q) . f(k), so that all keys and values fit in one matrix.

    S_t = S_{t-1} + f(k_t) v_t^T    z_t = z_{t-1} + f(k_t)    y_t = f(q_t) S_t / (f(q_t) . z_t)    f(x) = elu(x) + 1

Katharopoulos et al. 2020, "Transformers are RNNs", equations 7 and 18 to 20. The normaliser z is the state's last
column: a value of 1 behind each v. Weights start as GPT-2's.

Look first at: `_run`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal
from linearnexus.core.layers import at_least_float32, linear, wide_dtype
from linearnexus.core.module import matrix, module, static
from linearnexus.mixers.configs import LinearAttentionConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op

EPS = 1e-6  # as in the official code: a token that sees nothing divides by it


@module
class LinearAttention:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wo: Array = matrix("heads", "embed", residual=True)
    config: LinearAttentionConfig = static()

    @classmethod
    def init(cls, config: LinearAttentionConfig, hidden_size: int, key: Array) -> "LinearAttention":
        """Weights N(0, 0.02)."""
        config.check(hidden_size)
        kq, kk, kv, ko = jax.random.split(key, 4)
        square = (hidden_size, hidden_size)
        return cls(normal(kq, *square), normal(kk, *square), normal(kv, *square), normal(ko, *square), config)

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head = self.config.n_head
        size = self.wq.shape[1] // n_head
        return MatrixState(jnp.zeros((batch, n_head, size, size + 1), wide_dtype(dtype)))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,H,K]: what is read and written, both positive; v [B,T,H,K+1]: the value, and 1; read [B,T,H,K+1]:
        what comes out, and the normaliser."""
        q, k, v = self._project(x)
        read, _ = op.chunked(q, k, v, None, self.init_state(x.shape[0], 0, x.dtype).S, context.tokens)
        return {"q": q, "k": k, "v": v, "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        y, S = memory(*self._project(x), None, before.S, context.tokens)
        y = y[..., :-1] / (y[..., -1:] + EPS)
        out = linear(y.reshape(x.shape).astype(x.dtype), self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S))

    def _project(self, x: Float[Array, "... D"]) -> tuple[Array, Array, Array]:
        """f(q), f(k) and (v, 1), in float32 or wider."""
        q, k, v = (at_least_float32(split_heads(linear(x, w), self.config.n_head)) for w in (self.wq, self.wk, self.wv))
        return jax.nn.elu(q) + 1, jax.nn.elu(k) + 1, jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
