"""What the chunked forms share: a sequence cut into chunks, and decays between the tokens of a chunk.

Inside a chunk everything is a matrix product; from chunk to chunk goes the state [B, G, R, K, V], with R of the H = G R
heads sharing the keys of one group. Three rules keep it exact for long texts and extreme decays:

    a decay over a stretch comes from that stretch's log-decays alone, never from the difference of two longer sums
    log-decays are finite and at most 0, and only sums of them go into `exp`: nothing overflows
    nothing is divided by a decay

Look first at: `scan_chunks`, `Chunk`, `pair_weights`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Shaped

from linearnexus.core.module import module
from linearnexus.core.renames import forward
from linearnexus.core.tokens import TokenLayout

A = TypeVar("A", Array, Array | None)
EXACT = lax.Precision.HIGHEST  # sums of log-decays never go through the narrow formats of a GPU or TPU


@module
class Chunk:
    """Which tokens of one chunk see each other: by order, and by document where one starts in this call."""

    number: Array | None  # [..., C]: how many documents began in this chunk up to here; None: none starts in this call

    def pairs(self, q: Float[Array, "... G C K"], rank: int = 1) -> Bool[Array, "... 1 1 C C"]:
        """Does token t (row) see token s (column)? With a rank, so many neighbours are one token."""
        token = jnp.arange(q.shape[-2]) // rank
        causal = (token[:, None] >= token[None, :]).reshape((1,) * (q.ndim - 1) + 2 * q.shape[-2:-1])
        if self.number is None:
            return causal
        number = self.number[..., None, None, :]
        return causal & (number[..., :, None] == number[..., None, :])

    def read(self, x: Float[Array, "... G R C K"]) -> Float[Array, "... G R C K"]:
        """x of the tokens that see the state which the chunk begins with, zero for the others."""
        return x if self.number is None else jnp.where((self.number == 0)[..., None, None, :, None], x, 0)

    def write(self, x: Float[Array, "... G R C K"]) -> Float[Array, "... G R C K"]:
        """x of the tokens that are part of the state which the chunk ends with, zero for the others."""
        last = None if self.number is None else self.number == self.number[..., -1:]
        return x if last is None else jnp.where(last[..., None, None, :, None], x, 0)

    def carried(
        self, state: Float[Array, "... G R K V"], log_decay: Float[Array, "... G R C X"] | None
    ) -> Float[Array, "... G R K V"]:
        """What remains of the state at the end of the chunk."""
        if log_decay is not None:
            state = state * jnp.exp(jnp.sum(log_decay, axis=-2))[..., None]
        if self.number is None:
            return state
        return jnp.where((self.number[..., -1] == 0)[..., None, None, None, None], state, 0)


def scan_chunks(
    body: Callable[[Array, Chunk, Any], tuple[Array, Array]],
    state: Float[Array, "B G R K V"],
    inputs: Any,
    tokens: TokenLayout,
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

    @jax.checkpoint
    def one(state: Array, part: Any) -> tuple[Array, Array]:
        chunk, inputs = part
        return body(state, chunk, inputs)

    inputs = jax.tree.map(lambda a: jnp.moveaxis(split(a, size), 2, -2), inputs)
    state, y = lax.scan(one, state, jax.tree.map(lambda a: a.swapaxes(0, 1), (numbered(tokens, size), inputs)))
    n, b, g, r, c, v = y.shape
    return y.transpose(1, 0, 4, 2, 3, 5).reshape(b, n * c, g * r, v)[:, :t], state


def numbered(tokens: TokenLayout, size: int) -> Chunk:
    """The chunks of a call, all in one: number [B, n, size]."""
    if tokens.starts is None:
        return Chunk(None)
    starts = tokens.starts if tokens.valid is None else tokens.starts & tokens.valid
    return Chunk(jnp.cumsum(split(starts, size), axis=2, dtype=jnp.int32))


def split(a: Shaped[Array, "B T *X"], size: int) -> Shaped[Array, "B n size *X"]:
    """T cut into n chunks, the last one filled up with zeros."""
    a = jnp.pad(a, ((0, 0), (0, -a.shape[1] % size), *((0, 0),) * (a.ndim - 2)))
    return a.reshape(a.shape[0], -1, size, *a.shape[2:])


def over_time(
    step: Callable[..., tuple[Array, Array]], inputs: Any, state: Array, tokens: TokenLayout
) -> tuple[Float[Array, "B T H V"], Array]:
    """`step(*inputs of a token, state, its tokens) -> y, state`, for T tokens one after another."""

    def one(state: Array, part: Any) -> tuple[Array, Array]:
        inputs, tokens = part
        y, state = step(*inputs, state, tokens)
        return state, y

    state, y = lax.scan(one, state, jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (inputs, tokens)))
    return jnp.swapaxes(y, 0, 1), state


def mask_invalid(x: A, tokens: TokenLayout) -> A:
    """x [B,T,H,X] (in a step [B,H,X]), zero at invalid tokens; None stays None."""
    return x if x is None or tokens.valid is None else jnp.where(tokens.valid[..., None, None], x, 0)


def reset_at_starts(state: Float[Array, "B ..."], tokens: TokenLayout) -> Float[Array, "B ..."]:
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
    return jnp.exp(summed(log_decay, jnp.tril(_ones(log_decay))))


def decay_out(log_decay: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """What remains of each token's write at the end of the chunk: exp of the sum over the tokens after it."""
    return jnp.exp(summed(log_decay, jnp.triu(_ones(log_decay), 1)))


def pair_weights(
    q: Float[Array, "B G C K"],
    k: Float[Array, "B G C K"],
    log_decay: Float[Array, "B G R C X"] | None,
    visible: Bool[Array, "#B 1 1 C C"],
    leaf: int,
) -> Float[Array, "B G R C C"]:
    """`sum_k q_t[k] k_s[k] exp(sum of log_decay[k] over s+1 ... t)` where t sees s, else 0. X is 1 (one decay a head)
    or K (one a key, and then R is 1); None: no decay. `leaf`: the tokens of the smallest blocks under decays a
    key."""
    return each_pair_weights([q], [k], log_decay, visible, leaf)[0][0]


def each_pair_weights(
    queries: Sequence[Float[Array, "B G C K"]],
    keys: Sequence[Float[Array, "B G C K"]],
    log_decay: Float[Array, "B G R C X"] | None,
    visible: Bool[Array, "#B 1 1 C C"],
    leaf: int,
) -> list[list[Float[Array, "B G R C C"]]]:
    """The same for each of several queries (first index) with each of several keys, under the same decays, in larger
    products (RWKV-7: 0.91 of a training step's time)."""
    if log_decay is not None and log_decay.shape[-1] > 1:
        scores = _keywise(jnp.stack(queries, axis=2), jnp.stack(keys, axis=2), log_decay[:, :, 0], leaf)
        scores = jnp.where(visible[:, :, :, None], scores.swapaxes(3, 4), 0)
        return [[scores[:, :, i, j][:, :, None] for j in range(len(keys))] for i in range(len(queries))]
    decays = pair_decays(log_decay, visible, queries[0].dtype)
    return [[jnp.einsum("bgtk,bgsk->bgts", q, k)[:, :, None] * decays for k in keys] for q in queries]


def pair_decays(
    log_decay: Float[Array, "... G R C 1"] | None, visible: Bool[Array, "... 1 1 C C"], dtype: Any
) -> Float[Array, "... #G #R C C"]:
    """`exp(sum of log_decay over s+1 ... t)` where token t (row) sees s (column), else 0."""
    if log_decay is None:
        return visible.astype(dtype)
    # sums[t, s] over s < i <= t: one product with a triangle of ones, of the log-decays below the diagonal
    columns = jnp.tril(jnp.broadcast_to(log_decay, (*log_decay.shape[:-1], log_decay.shape[-2])), -1)
    sums = summed(columns, jnp.tril(_ones(log_decay)))
    return jnp.where(visible, jnp.exp(sums), 0)


def shift_right(x: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """Each token gets what stood at the one before it, the first one gets nothing. With `shift_left`, a query that
    reads the state before its own token is one of the token before, whose decays end there."""
    return jnp.pad(x[..., :-1, :], (*((0, 0),) * (x.ndim - 2), (1, 0), (0, 0)))


def shift_left(x: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """Each token gets what stands at the one after it, the last one gets nothing."""
    return jnp.pad(x[..., 1:, :], (*((0, 0),) * (x.ndim - 2), (0, 1), (0, 0)))


def decay_before(log_decay: Float[Array, "... C X"]) -> Float[Array, "... C X"]:
    """What remains of the chunk's first state before each token: exp of the sum up to the token, without it."""
    return jnp.exp(summed(log_decay, jnp.tril(_ones(log_decay), -1)))


def _keywise(
    q: Float[Array, "B G I C K"], k: Float[Array, "B G J C K"], log_decay: Float[Array, "B G C K"], leaf: int
) -> Float[Array, "B G I C J C"]:
    """The causal pairs of I queries and J keys under a decay for each key: blocks of `leaf` tokens, then two neighbours
    become one block, again and again. What a second half reads of the first passes the middle, so both factors
    `exp(sums to and from the middle)` are at most 1 and the pairs are one matrix product."""
    c, size = log_decay.shape[2], leaf
    while size < c:
        size *= 2

    def blocks(x: Array, size: int) -> Array:
        """[..., C, K] -> [..., C / size, size, K]"""
        return x.reshape(*x.shape[:-2], -1, size, x.shape[-1])

    def half(x: Array, which: int, size: int) -> Array:
        """The first or second half of each block of twice the size."""
        return blocks(x, size)[..., which::2, :, :]

    q, k, log_decay = (
        jnp.pad(x, (*((0, 0),) * (x.ndim - 2), (0, size - c), (0, 0))) for x in (q, k, log_decay[:, :, None])
    )
    scores = _leaves(*(blocks(x, leaf) for x in (q, k, log_decay)))
    while (size := scores.shape[-1]) < q.shape[-2]:
        reads = half(q, 1, size) * decay_in(half(log_decay, 1, size))
        writes = half(k, 0, size) * decay_out(half(log_decay, 0, size))
        across = jnp.einsum("bgintk,bgjnsk->bgnitjs", reads, writes)
        left, right = scores[:, :, ::2], scores[:, :, 1::2]
        top = jnp.pad(left, ((0, 0),) * 6 + ((0, size),))
        scores = jnp.concatenate([top, jnp.concatenate([across, right], axis=-1)], axis=4)
    return scores[:, :, 0, :, :c, :, :c]


def _leaves(
    q: Float[Array, "B G I n L K"], k: Float[Array, "B G J n L K"], log_decay: Float[Array, "B G 1 n L K"]
) -> Float[Array, "B G n I L J L"]:
    """The same for few tokens: each reads the keys 0, 1, 2, ... tokens back, which decay once more at every step. (The
    decays of all pairs at once, [L, L, K], take the whole op 1.25 to 1.4 times as long.)"""
    decay, leaf, back = jnp.exp(log_decay), q.shape[-2], []
    for _ in range(leaf):
        back.append(jnp.sum(q[:, :, :, None] * k[:, :, None], axis=-1))
        k = decay * shift_right(k)
    # [t, i] with i = t - s steps back becomes [t, s]: in reverse, each row moves by one place less than the row above
    rows = jnp.pad(jnp.stack(back[::-1], axis=-1), (*((0, 0),) * q.ndim, (0, leaf)))
    flat = rows.reshape(*rows.shape[:-2], -1)[..., leaf - 1 : -1]
    scores = flat.reshape(*rows.shape[:-2], leaf, -1)[..., :leaf]
    return scores.transpose(0, 1, 4, 2, 5, 3, 6)


def summed(x: Float[Array, "... C X"], which: Float[Array, "C C"]) -> Float[Array, "... C X"]:
    """At token t the sum of x over the tokens i with which[t, i] = 1."""
    return jnp.einsum("ti,...ix->...tx", which, x, precision=EXACT)


def _ones(like: Float[Array, "... C X"]) -> Float[Array, "C C"]:
    return jnp.ones((like.shape[-2],) * 2, like.dtype)


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
