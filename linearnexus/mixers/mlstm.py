"""mLSTM: an LSTM's exponential input gate and forget gate over a matrix memory, with a normaliser.

    S_t = f_t S_{t-1} + i_t k_t v_t^T    z_t = f_t z_{t-1} + i_t k_t    y_t = q_t S_t / max(|q_t . z_t|, 1), q / sqrt(K)
    i_t = exp(cap(W_i x_t + b_i))    f_t = sigmoid(cap(W_f x_t + b_f))    cap(g) = c tanh(g / c)
    out = W_o (sigmoid(W_g x) * norm(y)), a LayerNorm over each head

Beck et al. 2024, "xLSTM", section 2.3 (equations 19 to 27), the state divided by exp(m_t) as in its equations 15 to 17.
The layer is that of Beck et al. 2025, "xLSTM 7B" (official code: xlstm/xlstm_large/model.py): no convolution, keys half
as wide as values, capped gates. z is the state's last column; no epsilon is added to the normaliser (the
official 1e-6 moves the logits of the models in tests/parity by less than 1e-5).

Look first at: `_run`, `_gates`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal
from linearnexus.core.layers import LayerNorm, at_least_float32, heads_normalized, linear, linear_parts, row, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import MLSTMConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op

LOWEST = -80.0  # of m where 1 is divided by exp(m): the exponential of its opposite must not overflow


@module
class MLSTM:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wg: Array = matrix("embed", "heads")  # the output gate
    w_gates: Array = matrix("embed", (None, "head"))  # [D, 2, H]: input gates, forget gates
    gate_bias: Array = vector(None, "head")  # [2, H]
    norm: LayerNorm = part(embed="heads")
    wo: Array = matrix("heads", "embed", residual=True)
    config: MLSTMConfig = static()

    @classmethod
    def init(cls, config: MLSTMConfig, hidden_size: int, key: Array) -> "MLSTM":
        """Matrices N(0, sqrt(2 / 5D)) (Nguyen and Salazar 2019, as in the official code); gates do not see the token at
        first: forget biases from 3 to 6, head by head, input biases -10 (xLSTM 7B, section 4)."""
        config.check(hidden_size)
        key_size, value_size = config.sizes(hidden_size)
        keys, values = config.n_head * key_size, config.n_head * value_size
        std = math.sqrt(2 / (5 * hidden_size))
        kq, kk, kv, kg, ko = jax.random.split(key, 5)
        return cls(
            wq=normal(kq, hidden_size, keys, std=std),
            wk=normal(kk, hidden_size, keys, std=std),
            wv=normal(kv, hidden_size, values, std=std),
            wg=normal(kg, hidden_size, values, std=std),
            w_gates=jnp.zeros((hidden_size, 2, config.n_head)),
            gate_bias=jnp.stack([jnp.full(config.n_head, -10.0), jnp.linspace(3.0, 6.0, config.n_head)]),
            norm=LayerNorm.init(values, bias=False, eps=1e-6),
            wo=normal(ko, values, hidden_size, std=std),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head, wide = self.config.n_head, wide_dtype(dtype)
        sizes = (self.wk.shape[1] // n_head, self.wv.shape[1] // n_head + 1)
        return MatrixState(jnp.zeros((batch, n_head, *sizes), wide), m=jnp.zeros((batch, n_head), wide))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, op.stabilised, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, op.stabilised_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """What happens to the memory divided by exp(m): q [B,T,H,K]; k [B,T,H,K], times the input gate; v [B,T,H,V+1]:
        the value, and 1; decay [B,T,H,1]: what a token leaves; read [B,T,H,V+1]: what comes out, and the normaliser. m
        [B,T,H]; input and forget [B,T,H]: the gates."""
        zero = self.init_state(x.shape[0], 0, x.dtype).S
        log_forget, log_input = self._gates(x)
        log_decay, scale, m, _ = op.stabilised(log_forget, log_input, zero[:, :, 0, 0], context.tokens)
        q, k, v = self._project(x, scale)
        read, _ = op.chunked(q, k, v, log_decay[..., None], zero, context.tokens)
        gates = {"input": jnp.exp(log_input), "forget": jnp.exp(log_forget), "m": m}
        return {"q": q, "k": k, "v": v, "decay": jnp.exp(log_decay)[..., None], "read": read, **gates}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, gates: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        log_decay, scale, at, m = gates(*self._gates(x), before.m, context.tokens)
        y, S = memory(*self._project(x, scale), log_decay[..., None], before.S, context.tokens)
        least = jnp.exp(-jnp.maximum(at, LOWEST))[..., None]  # 1, divided by exp(m) as the state is
        y = heads_normalized(y[..., :-1] / jnp.maximum(jnp.abs(y[..., -1:]), least), self.norm).astype(x.dtype)
        out = linear(jax.nn.sigmoid(linear(x, self.wg)) * y, self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S, m=m))

    def _gates(self, x: Float[Array, "... D"]) -> tuple[Array, Array]:
        """The logarithms of the forget and input gates, [..., H] in float32 or wider."""
        gates, cap = map(at_least_float32, linear_parts(x, self.w_gates)), self.config.gate_cap
        log_input, forget = (
            cap * jnp.tanh((gate + row(bias, gate)) / cap) for gate, bias in zip(gates, self.gate_bias, strict=True)
        )
        return jax.nn.log_sigmoid(forget), log_input

    def _project(self, x: Float[Array, "... D"], scale: Float[Array, "... H"]) -> tuple[Array, Array, Array]:
        """q, k times the scale, and (v, 1), in float32 or wider."""
        q, k, v = (at_least_float32(split_heads(linear(x, w), self.config.n_head)) for w in (self.wq, self.wk, self.wv))
        v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        return q / math.sqrt(q.shape[-1]), k * scale[..., None], v
