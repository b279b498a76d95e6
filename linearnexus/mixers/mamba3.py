"""Mamba-3: Mamba-2 with a state that turns, and that a token writes together with the token before it.

    [z, x, B, C, dt, A, l, w] = W_in u    dt = softplus(dt + dt_bias)    A = -max(f(A), 1e-4)    l = sigmoid(l)
    angle_t = angle_{t-1} + pi tanh(w_t) dt_t    k, q = norm(B) + B_bias, norm(C) + C_bias, turned by the angle
    S_t = exp(dt_t A_t) (S_{t-1} + (1 - l_t) dt_t k_{t-1} x_{t-1}^T) + l_t dt_t k_t x_t^T
    y_t = q_t S_t + D x_t    out = W_out (y * silu(z))

"Mamba-3", arXiv 2603.15569, and its authors' code: modules/mamba3.py and the steps in tests/ops (test_mamba3_siso.py,
test_mamba3_mimo.py). The trapezoidal rule, with a share l for the token and 1 - l for the one before, takes the place
of the short convolution; turning keys and queries by angles that the tokens add up is a complex decay, so that a state
can turn and not only fade. f(a) is 1 + a from 0 on and 1 / (1 - a) below.

With several inputs and outputs a head (MIMO), R = mimo_rank, a token has R keys and R queries a head; what it writes is
sum_r k_r (x mimo_x_r)^T, and out = W_out sum_r mimo_o_r y_r silu(z mimo_z_r): more work for the same state.

The memory is kept as M_t = S_{t-1} + (1 - l_t) dt_t k_{t-1} x_{t-1}^T, to which each token adds what the one before
left: that is `linear_attention` on the inputs of the token before, and y_t = exp(dt_t A_t) q_t M_t + l_t dt_t (q_t .
k_t) x_t + D x_t.

Look first at: `_run`, `_select`, `_memory`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from linearnexus.core.initializers import init_dt_bias, uniform
from linearnexus.core.layers import RMSNorm, at_least_float32, linear, row, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.core.tokens import TokenLayout
from linearnexus.mixers.configs import Mamba3Config
from linearnexus.mixers.contract import Context, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op
from linearnexus.ops.chunks import mask_invalid, reset_at_starts
from linearnexus.ops.short_conv import short_conv, short_conv_step, token_before

SLOWEST = 1e-4  # the least -A, `A_floor` of the official code


@module
class Mamba3State:
    """The memory M [B,H,N,P]; angle [B,H,J], in [-pi, pi], of the pairs of N that turn; conv_state [B,1,H(RN+RP+2)],
    what the last token leaves to the next one: its k, v, log-decay and l dt. All are float32 or wider."""

    M: Array
    angle: Array
    conv_state: Array


@module
class Mamba3:
    # Its columns have no name: see Mamba-2's.
    w_in: Array = matrix("embed", None)  # [D, 2E+2RGN+3H+J]: the gate z, the signal x, B, C, dt, A, l and the turns w
    dt_bias: Array = vector("head")
    B_norm: RMSNorm = part(embed="state")
    C_norm: RMSNorm = part(embed="state")
    B_bias: Array = vector(None, "head", "state")  # [R, H, N]
    C_bias: Array = vector(None, "head", "state")
    D: Array = vector("head")  # what passes by the state
    # [R, H, P], of the signal, the gate and the output; None where R is 1
    mimo_x: Array | None = vector(None, "head", "value")
    mimo_z: Array | None = vector(None, "head", "value")
    mimo_o: Array | None = vector(None, "head", "value")
    w_out: Array = matrix("inner", "embed", residual=True)
    config: Mamba3Config = static()

    @classmethod
    def init(cls, config: Mamba3Config, hidden_size: int, key: Array) -> "Mamba3":
        """As the official code: step sizes log-uniform in [0.001, 0.1], the biases of B and C, D and mimo_z one, mimo_x
        and mimo_o 1 / R, matrices uniform."""
        config.check(hidden_size)
        k_in, k_dt, k_out = jax.random.split(key, 3)
        inner, n_head = config.expand * hidden_size, config.n_head(hidden_size)
        size, rank = config.state_size, config.mimo_rank
        width = 2 * inner + 2 * rank * config.n_group * size + 3 * n_head + config.turns
        ones = jnp.ones((rank, n_head, config.head_size)) if rank > 1 else None
        return cls(
            w_in=uniform(k_in, hidden_size, width, fan_in=hidden_size),
            dt_bias=init_dt_bias(k_dt, n_head),
            B_norm=RMSNorm.init(size, config.norm_eps),
            C_norm=RMSNorm.init(size, config.norm_eps),
            B_bias=jnp.ones((rank, n_head, size)),
            C_bias=jnp.ones((rank, n_head, size)),
            D=jnp.ones(n_head),
            mimo_x=None if ones is None else ones / rank,
            mimo_z=ones,
            mimo_o=None if ones is None else ones / rank,
            w_out=uniform(k_out, inner, hidden_size, fan_in=inner),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> Mamba3State:
        rank, n_head, size = self.B_bias.shape
        values, wide = self.config.head_size, wide_dtype(dtype)
        return Mamba3State(
            jnp.zeros((batch, n_head, size, values), wide),
            jnp.zeros((batch, n_head, self.config.turns), wide),
            jnp.zeros((batch, 1, n_head * (rank * (size + values) + 2)), wide),
        )

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: Mamba3State | None = None) -> MixerOutput:
        return self._run(x, context, state, _angles, short_conv, _rows)

    def step(self, x: Float[Array, "B D"], context: Context, state: Mamba3State) -> MixerOutput:
        return self._run(x, context, state, _angles_step, short_conv_step, _rows_step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,RH,N]: the slots read and written (C and B, turned); v [B,T,RH,P]: what is written (dt x); decay
        [B,T,H,1]: what a token leaves of the old state; dt, share [B,T,H]: the step, and how much of its write is this
        token's; angle [B,T,H,J], radians; read [B,T,RH,P]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        parts = self._select(x, context, state, _angles)
        read, _, _ = _memory(parts, state, context.tokens, short_conv, _rows)
        by_head = {"q": parts.q, "k": parts.k, "v": parts.dt[:, :, None, :, None] * parts.v, "read": read}
        shown = {name: a.reshape(*a.shape[:2], -1, a.shape[-1]) for name, a in by_head.items()}
        decay = jnp.exp(parts.log_decay)[..., None]
        return {**shown, "decay": decay, "dt": parts.dt, "share": parts.share, "angle": parts.angle}

    def _run(
        self,
        x: Float[Array, "... D"],
        context: Context,
        state: Mamba3State | None,
        angles: Callable,
        conv: Callable,
        memory: Callable,
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        parts = self._select(x, context, before, angles)
        y, M, conv_state = _memory(parts, before, context.tokens, conv, memory)
        y = y + self.D.astype(y.dtype).reshape((1,) * (y.ndim - 2) + (-1, 1)) * parts.v
        y = y * jax.nn.silu(_for_each(split_heads(at_least_float32(parts.gate), self.D.shape[0]), self.mimo_z))
        if self.mimo_o is not None:
            y = y * _like(self.mimo_o, y)
        y = jnp.sum(y, axis=-3).reshape(parts.gate.shape)
        out = linear(y.astype(x.dtype), self.w_out)
        if state is None:
            return MixerOutput(out)
        last = parts.angle if parts.angle.ndim == before.angle.ndim else parts.angle[:, -1]
        return MixerOutput(out, Mamba3State(M, last, conv_state))

    def _select(self, x: Float[Array, "... D"], context: Context, before: Mamba3State, angles: Callable) -> "Parts":
        config, (rank, n_head, size) = self.config, self.B_bias.shape
        widths = [n_head * config.head_size] * 2 + [rank * config.n_group * size] * 2 + [n_head] * 3
        ends = [sum(widths[: i + 1]) for i in range(len(widths))]
        gate, *parts = jnp.split(linear(x, self.w_in), ends, axis=-1)
        signal, B, C, dt, A, share, turn = (at_least_float32(part) for part in parts)
        dt = jax.nn.softplus(dt + row(self.dt_bias, dt))
        log_decay = -dt * jnp.maximum(_heavy_tail(A), SLOWEST)
        angle = angles(math.pi * jnp.tanh(turn)[..., None, :] * dt[..., None], before.angle, context.tokens)

        def keys(x: Array, norm: RMSNorm, bias: Array) -> Float[Array, "... R H N"]:
            x = norm(x.reshape(*x.shape[:-1], rank, config.n_group, size))
            x = jnp.repeat(x, n_head // config.n_group, axis=-2)
            return _turned(x + _like(bias, x), angle[..., None, :, :])

        q, k = keys(C, self.C_norm, self.C_bias), keys(B, self.B_norm, self.B_bias)
        v = _for_each(split_heads(signal, n_head), self.mimo_x)
        return Parts(q, k, v, dt, log_decay, jax.nn.sigmoid(share), angle, gate)


class Parts(NamedTuple):
    """What a token is in the memory's terms."""

    q: Float[Array, "... R H N"]
    k: Float[Array, "... R H N"]
    v: Float[Array, "... R H P"]
    dt: Float[Array, "... H"]
    log_decay: Float[Array, "... H"]
    share: Float[Array, "... H"]
    angle: Float[Array, "... H J"]
    gate: Float[Array, "... E"]


def _memory(
    parts: Parts, before: Mamba3State, tokens: TokenLayout, conv: Callable, memory: Callable
) -> tuple[Float[Array, "... R H P"], Float[Array, "B H N P"], Float[Array, "B 1 W"]]:
    """What is read, the memory after, and what the last token leaves."""
    q, k, v, dt, log_decay, share, *_ = parts
    own = share * dt
    left = [k, v, log_decay, own]
    flat = jnp.concatenate([a.reshape(*dt.shape[:-1], -1) for a in left], axis=-1)
    earlier, conv_state = token_before(flat, before.conv_state, tokens, conv)
    widths = [math.prod(a.shape[dt.ndim - 1 :]) for a in left]
    ends = [sum(widths[: i + 1]) for i in range(3)]
    k_before, v_before, decay_before, own_before = (
        part.reshape(a.shape) for part, a in zip(jnp.split(earlier, ends, axis=-1), left, strict=True)
    )
    write = (own_before + (1 - share) * dt)[..., None, :, None] * v_before
    reads = jnp.exp(log_decay)[..., None, :, None] * q
    y, M = memory(reads, k_before, write, decay_before[..., None], before.M, tokens)
    scores = own[..., None, None, :] * jnp.einsum("...rhn,...shn->...rsh", q, k)
    return y + jnp.einsum("...rsh,...shp->...rhp", scores, v), M, conv_state


def _rows(
    q: Float[Array, "B T R H N"],
    k: Float[Array, "B T R H N"],
    v: Float[Array, "B T R H P"],
    log_decay: Float[Array, "B T H 1"],
    M: Float[Array, "B H N P"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B T R H P"], Float[Array, "B H N P"]]:
    """`linear_attention.chunked` with R rows a token, of which the first decays, or begins a document."""
    rank = q.shape[2]
    log_decay = jnp.pad(log_decay[:, :, None], ((0, 0), (0, 0), (0, rank - 1), (0, 0), (0, 0)))
    if rank > 1:
        first = jnp.arange(tokens.position.shape[1] * rank) % rank == 0
        rows = jax.tree.map(lambda field: jnp.repeat(field, rank, axis=1), tokens)
        tokens = rows if rows.starts is None else replace(rows, starts=rows.starts & first[None])
    q, k, writes, log_decay = (a.reshape(a.shape[0], -1, *a.shape[3:]) for a in (q, k, v, log_decay))
    y, M = op.chunked(q, k, writes, log_decay, M, tokens, rank=rank)
    return y.reshape(v.shape), M


def _rows_step(
    q: Float[Array, "B R H N"],
    k: Float[Array, "B R H N"],
    v: Float[Array, "B R H P"],
    log_decay: Float[Array, "B H 1"],
    M: Float[Array, "B H N P"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B R H P"], Float[Array, "B H N P"]]:
    """One token: R writes, then R reads."""
    y, M = op.step(q[:, 0], k[:, 0], v[:, 0], log_decay, M, tokens)
    if q.shape[1] == 1:
        return y[:, None], M
    for r in range(1, q.shape[1]):
        _, M = op.step(q[:, r], k[:, r], v[:, r], None, M, replace(tokens, starts=None))
    return jnp.einsum("brhn,bhnp->brhp", q, M), M


def _for_each(x: Float[Array, "... H P"], weight: Float[Array, "R H P"] | None) -> Float[Array, "... R H P"]:
    x = x[..., None, :, :]
    return x if weight is None else x * _like(weight, x)


def _like(weight: Float[Array, "R H X"], x: Float[Array, "... H X"]) -> Float[Array, "... R H X"]:
    return weight.astype(x.dtype).reshape((1,) * (x.ndim - 3) + weight.shape)


def _heavy_tail(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 + x from 0 on, 1 / (1 - x) below."""
    return jnp.maximum(x, 0) + 1 / (1 - jnp.minimum(x, 0))


def _turned(x: Float[Array, "... N"], angle: Float[Array, "... J"]) -> Float[Array, "... N"]:
    """x with its first J pairs (x[2i], x[2i + 1]) turned by the angles."""
    pairs, still = x[..., : 2 * angle.shape[-1]], x[..., 2 * angle.shape[-1] :]
    first, second = pairs[..., ::2], pairs[..., 1::2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return jnp.concatenate([turned.reshape(pairs.shape), still], axis=-1)


def _angles(
    turn: Float[Array, "B T H R"], angle: Float[Array, "B H J"], tokens: TokenLayout
) -> Float[Array, "B T H J"]:
    """The sums of the turns inside each document, going on from an angle, kept in [-pi, pi] so that they stay exact
    over long texts."""

    def add(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] | right[0], jnp.where(right[0], right[1], _wrapped(left[1] + right[1]))

    turn = turn if tokens.valid is None else jnp.where(tokens.valid[..., None, None], turn, 0)
    starts = jnp.zeros(turn.shape[:2], bool) if tokens.starts is None else tokens.starts
    starts = (starts if tokens.valid is None else starts & tokens.valid)[..., None, None]
    begun, sums = lax.associative_scan(add, (starts, turn), axis=1)
    return jnp.where(begun, sums, _wrapped(sums + angle[:, None]))


def _angles_step(
    turn: Float[Array, "B H R"], angle: Float[Array, "B H J"], tokens: TokenLayout
) -> Float[Array, "B H J"]:
    """The same for one token."""
    return _wrapped(mask_invalid(turn, tokens) + reset_at_starts(angle, tokens))


def _wrapped(angle: Float[Array, "..."]) -> Float[Array, "..."]:
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))
