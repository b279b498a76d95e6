"""DeltaNet: before a token writes, it reads what its key already holds, and writes the difference only.

    S_t = (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T    y_t = q_t S_t / sqrt(K)    b_t = sigmoid(W_b x_t)
    q, k, v = silu(conv(W x)), q and k of length 1        out = W_o norm(y)

Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers", section 4.2, in the form of Yang et al.
2024, "Parallelizing Linear Transformers with the Delta Rule", section 3.4. With `negative_eigenvalues` b_t is twice
that, and the transition's eigenvalue 1 - b_t reaches -1: parity and counting become learnable (Grazzi et al. 2024,
"Unlocking State-Tracking in Linear RNNs", section 4).

Look first at: `_run`, `_project`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal, uniform
from linearnexus.core.layers import RMSNorm, at_least_float32, l2_normalized, linear, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import DeltaNetConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import delta_rule as op
from linearnexus.ops.short_conv import short_conv, short_conv_step, short_convs


@module
class DeltaNet:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wb: Array = matrix("embed", "head")  # how strongly a token writes
    conv_q: Array = vector(None, "key_heads")  # [W, D], conv_q[j] is the tap j tokens back
    conv_k: Array = vector(None, "key_heads")
    conv_v: Array = vector(None, "heads")
    norm: RMSNorm = part(embed="value")
    wo: Array = matrix("heads", "embed", residual=True)
    config: DeltaNetConfig = static()

    @classmethod
    def init(cls, config: DeltaNetConfig, hidden_size: int, key: Array) -> "DeltaNet":
        """Weights N(0, 0.02), as flash-linear-attention's models; taps uniform up to 1 / sqrt(W) (PyTorch's default:
        taps of 0.02 before a normalisation to length 1 make gradients explode)."""
        config.check(hidden_size)
        kq, kk, kv, kb, kc, ko = jax.random.split(key, 6)
        square = (hidden_size, hidden_size)
        taps = uniform(kc, config.conv_size, 3 * hidden_size, fan_in=config.conv_size)
        conv_q, conv_k, conv_v = jnp.split(taps, 3, axis=1)
        return cls(
            wq=normal(kq, *square),
            wk=normal(kk, *square),
            wv=normal(kv, *square),
            wb=normal(kb, hidden_size, config.n_head),
            conv_q=conv_q,
            conv_k=conv_k,
            conv_v=conv_v,
            norm=RMSNorm.init(hidden_size // config.n_head),
            wo=normal(ko, *square),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head = self.config.n_head
        size = self.wk.shape[1] // n_head
        S = jnp.zeros((batch, n_head, size, size), wide_dtype(dtype))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        return MatrixState(S, tuple(jnp.zeros((batch, len(w) - 1, w.shape[1]), dtype) for w in taps))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k, v [B,T,H,K]; beta [B,T,H]: the share of the old value that a token erases along its key; read
        [B,T,H,K]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        (q, k, v, beta), _ = self._project(x, context, state, short_conv)
        read, _ = op.chunked(q, k, v, beta, None, state.S, context.tokens)
        return {"q": q, "k": k, "v": v, "beta": beta, "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, conv: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        inputs, conv_state = self._project(x, context, before, conv)
        y, S = memory(*inputs, None, before.S, context.tokens)
        out = linear(self.norm(y).reshape(x.shape).astype(x.dtype), self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S, conv_state))

    def _project(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, Array, Array, Array], tuple[Array, ...]]:
        """q, k, v and beta in float32 or wider, and the convolutions' states."""
        parts = (linear(x, w) for w in (self.wq, self.wk, self.wv))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        mixed, conv_state = short_convs(parts, taps, before.conv_state, context.tokens, conv)
        q, k, v = (split_heads(at_least_float32(jax.nn.silu(part)), self.config.n_head) for part in mixed)
        beta = jax.nn.sigmoid(at_least_float32(linear(x, self.wb)))
        if self.config.negative_eigenvalues:
            beta = 2 * beta
        return (l2_normalized(q) / math.sqrt(q.shape[-1]), l2_normalized(k), v, beta), conv_state
