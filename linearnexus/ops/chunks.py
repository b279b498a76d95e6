"""What the chunked forms share: a sequence cut into chunks, and decays between the tokens of a chunk.

Inside a chunk everything is a matrix product; from chunk to chunk goes the state [B, G, R, K, V], with R of the H = G R
heads sharing the keys of one group. Three rules keep it exact for long texts and extreme decays:

    a decay over a stretch is the sum of that stretch's log-decays, never the difference of two longer sums
    log-decays are finite and at most 0, and only sums of them go into `exp`: nothing overflows
    nothing is divided by a decay

Look first at: `scan_chunks`, `Chunk`, `pair_weights`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from linearnexus.core.module import module
from linearnexus.core.tokens import Tokens

A = TypeVar("A", Array, Array | None)
LEAF = 8  # tokens up to which per-key decays are formed pair by pair
EXACT = lax.Precision.HIGHEST  # sums of log-decays never go through the narrow formats of a GPU or TPU


@module
class Chunk:
    """Which tokens of one chunk see each other: by order, and by document where one starts in this call."""

    number: Array | None  # [B, C]: how many documents began in this chunk up to here; None: none starts in this call

    def pairs(self, size: int, rank: int = 1) -> Bool[Array, "#B C C"]:
        """Does token t (row) see token s (column)? With a rank, so many neighbours are one token."""
        token = jnp.arange(size) // rank
        causal = (token[:, None] >= token[None, :])[None]
        if self.number is None:
            return causal
        return causal & (self.number[:, :, None] == self.number[:, None, :])

    def read(self, x: Float[Array, "B G R C K"]) -> Float[Array, "B G R C K"]:
        """x of the tokens that see the state which the chunk begins with, zero for the others."""
        return x if self.number is None else jnp.where((self.number == 0)[:, None, None, :, None], x, 0)

    def write(self, x: Float[Array, "B G R C K"]) -> Float[Array, "B G R C K"]:
        """x of the tokens that are part of the state which the chunk ends with, zero for the others."""
        last = None if self.number is None else self.number == self.number[:, -1:]
        return x if last is None else jnp.where(last[:, None, None, :, None], x, 0)

    def carried(
        self, state: Float[Array, "B G R K V"], log_decay: Float[Array, "B G R C X"] | None
    ) -> Float[Array, "B G R K V"]:
        """What remains of the state at the end of the chunk."""
        if log_decay is not None:
            state = state * jnp.exp(jnp.sum(log_decay, axis=-2))[..., None]
        return state if self.number is None else jnp.where((self.number[:, -1] == 0).reshape(-1, 1, 1, 1, 1), state, 0)


def scan_chunks(
    body: Callable[[Array, Chunk, Any], tuple[Array, Array]],
    state: Float[Array, "B G R K V"],
    inputs: Any,
    tokens: Tokens,
    size: int,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B G R K V"]]:
    """Runs `body(state, chunk, inputs of the chunk) -> state, y [B,G,R,C,V]` over chunks of `size` tokens.

    `inputs`: a tree of arrays [B, T, G, ..., X]; the body gets them as [B, G, ..., C, X]. Zeros in all of them must
    stand for a token that changes nothing: they fill up the last chunk. The backward pass keeps the states between
    chunks and computes the rest of a chunk again, so the memory for T tokens is that of the inputs and of a state a
    chunk.
    """
    t = jax.tree.leaves(inputs)[0].shape[1]
    size = min(size, max(t, 1))
    starts = None
    if tokens.starts is not None:
        starts = tokens.starts if tokens.valid is None else tokens.starts & tokens.valid

    def cut(a: Array) -> Array:
        """[B, T, G, ..., X] -> [chunks, B, G, ..., size, X]"""
        a = jnp.moveaxis(a, 1, -2)
        a = jnp.pad(a, (*((0, 0),) * (a.ndim - 2), (0, -t % size), (0, 0)))
        return jnp.moveaxis(a.reshape(*a.shape[:-2], -1, size, a.shape[-1]), -3, 0)

    @jax.checkpoint
    def one(state: Array, part: Any) -> tuple[Array, Array]:
        starts, inputs = part
        number = None if starts is None else jnp.cumsum(starts, axis=1, dtype=jnp.int32)
        return body(state, Chunk(number), inputs)

    state, y = lax.scan(
        one, state, (None if starts is None else cut(starts[..., None])[..., 0], jax.tree.map(cut, inputs))
    )
    n, b, g, r, c, v = y.shape
    return y.transpose(1, 0, 4, 2, 3, 5).reshape(b, n * c, g * r, v)[:, :t], state


def over_time(
    step: Callable[..., tuple[Array, Array]], inputs: Any, state: Array, tokens: Tokens
) -> tuple[Float[Array, "B T H V"], Array]:
    """`step(*inputs of a token, state, its tokens) -> y, state`, for T tokens one after another."""

    def one(state: Array, part: Any) -> tuple[Array, Array]:
        inputs, tokens = part
        y, state = step(*inputs, state, tokens)
        return state, y

    state, y = lax.scan(one, state, jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (inputs, tokens)))
    return jnp.swapaxes(y, 0, 1), state


def only(x: A, tokens: Tokens) -> A:
    """x [B,T,H,X] (in a step [B,H,X]), zero at invalid tokens; None stays None."""
    return x if x is None or tokens.valid is None else jnp.where(tokens.valid[..., None, None], x, 0)


def fresh(state: Float[Array, "B ..."], tokens: Tokens) -> Float[Array, "B ..."]:
    """In a step: the state, zero where a document starts."""
    if tokens.starts is None:
        return state
    starts = tokens.starts if tokens.valid is None else tokens.starts & tokens.valid
    return jnp.where(starts.reshape(-1, *[1] * (state.ndim - 1)), 0, state)


def grouped(x: A, groups: int, axis: int = 2) -> A:
    """[..., H, ...] -> [..., G, R, ...]; None stays None."""
    return x if x is None else x.reshape(*x.shape[:axis], groups, -1, *x.shape[axis + 1 :])


def decay_in(log_decay: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """What remains of the chunk's first state at each token: exp of the sum up to and with the token."""
    return jnp.exp(_sums(log_decay, jnp.tril(_ones(log_decay))))


def decay_out(log_decay: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """What remains of each token's write at the end of the chunk: exp of the sum over the tokens after it."""
    return jnp.exp(_sums(log_decay, jnp.triu(_ones(log_decay), 1)))


def pair_weights(
    q: Float[Array, "B G C K"],
    k: Float[Array, "B G C K"],
    log_decay: Float[Array, "B G R C X"] | None,
    visible: Bool[Array, "#B C C"],
) -> Float[Array, "B G R C C"]:
    """`sum_k q_t[k] k_s[k] exp(sum of log_decay[k] over s+1 ... t)` where t sees s, else 0. X is 1 (one decay a head)
    or K (one a key, and then R is 1); None: no decay."""
    if log_decay is not None and log_decay.shape[-1] > 1:
        scores = _keywise(q, k, log_decay[:, :, 0])[:, :, None]
        return jnp.where(visible[:, None, None], scores, 0)
    scores = jnp.einsum("bgtk,bgsk->bgts", q, k)[:, :, None]
    if log_decay is not None:
        c = q.shape[2]
        # sums[t, s] over s < i <= t: one product with a triangle of ones, of the log-decays below the diagonal
        columns = jnp.where(jnp.tril(jnp.ones((c, c), bool), -1), log_decay, 0)
        sums = jnp.einsum("ti,bgris->bgrts", jnp.tril(jnp.ones((c, c), log_decay.dtype)), columns, precision=EXACT)
        scores = scores * jnp.exp(sums)
    return jnp.where(visible[:, None, None], scores, 0)


def before(x: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """Each token gets what stood at the one before it, the first one gets nothing. With `later`, a query that reads the
    state before its own token is one of the token before, whose decays end there."""
    return jnp.pad(x[..., :-1, :], (*((0, 0),) * (x.ndim - 2), (1, 0), (0, 0)))


def later(x: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """Each token gets what stands at the one after it, the last one gets nothing."""
    return jnp.pad(x[..., 1:, :], (*((0, 0),) * (x.ndim - 2), (0, 1), (0, 0)))


def decay_before(log_decay: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """What remains of the chunk's first state before each token: exp of the sum up to the token, without it."""
    return jnp.exp(_sums(log_decay, jnp.tril(_ones(log_decay), -1)))


def _keywise(
    q: Float[Array, "B G C K"], k: Float[Array, "B G C K"], log_decay: Float[Array, "B G C K"]
) -> Float[Array, "B G C C"]:
    """The causal pairs under a decay for each key: blocks of LEAF tokens pair by pair, then two neighbours become one
    block, again and again. What a second half reads of the first passes the middle, so both factors `exp(sums to and
    from the middle)` are at most 1 and the pairs are one matrix product."""
    batch, c, size = q.shape[:2], q.shape[2], LEAF
    while size < c:
        size *= 2
    q, k, log_decay = (jnp.pad(x, ((0, 0), (0, 0), (0, size - c), (0, 0))) for x in (q, k, log_decay))

    def blocks(x: Array, size: int) -> Array:
        """[B, G, C, K] -> [B, G, C / size, size, K]"""
        return x.reshape(*batch, -1, size, x.shape[-1])

    def half(x: Array, which: int, size: int) -> Array:
        """The first or second half of each block of twice the size."""
        return blocks(x, size)[:, :, which::2]

    g = blocks(log_decay, LEAF)
    columns = jnp.where(jnp.tril(jnp.ones((LEAF, LEAF), bool), -1)[:, :, None], g[..., None, :], 0)
    sums = jnp.einsum("ti,bgnisk->bgntsk", jnp.tril(_ones(g)), columns, precision=EXACT)
    scores = jnp.einsum("bgntk,bgnsk,bgntsk->bgnts", blocks(q, LEAF), blocks(k, LEAF), jnp.exp(sums))
    while (size := scores.shape[-1]) < q.shape[2]:
        reads = half(q, 1, size) * decay_in(half(log_decay, 1, size))
        writes = half(k, 0, size) * decay_out(half(log_decay, 0, size))
        across = jnp.einsum("bgntk,bgnsk->bgnts", reads, writes)
        left, right = scores[:, :, ::2], scores[:, :, 1::2]
        top = jnp.pad(left, ((0, 0),) * 4 + ((0, size),))
        scores = jnp.concatenate([top, jnp.concatenate([across, right], axis=-1)], axis=-2)
    return scores[:, :, 0, :c, :c]


def _sums(log_decay: Float[Array, "... C X"], which: Float[Array, "C C"]) -> Float[Array, "... C X"]:
    return jnp.einsum("ti,...ix->...tx", which, log_decay, precision=EXACT)


def _ones(like: Float[Array, "... C X"]) -> Float[Array, "C C"]:
    return jnp.ones((like.shape[-2],) * 2, like.dtype)
