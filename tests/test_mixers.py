"""What the law cannot see in a mixer: its initial values, what it shows, and the corners of its operations."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.core.errors import UserError
from linearnexus.core.layers import Dropout, linear
from linearnexus.core.module import matrix_dims, roles
from linearnexus.core.tokens import TokenLayout, count_tokens
from linearnexus.core.tuning import CPU
from linearnexus.mixers import mamba3
from linearnexus.mixers.configs import (
    AttentionConfig,
    GLAConfig,
    KimiDeltaAttentionConfig,
    LatentAttentionConfig,
    Mamba2Config,
    Mamba3Config,
    MambaConfig,
    MLPConfig,
    MLSTMConfig,
    MoEConfig,
    RWKV6Config,
    RWKV7Config,
    RWKVMLPConfig,
)
from linearnexus.mixers.contract import ChannelMixer, Context, MatrixState, SequenceMixer
from linearnexus.ops import softmax_attention as op
from linearnexus.ops.kv_cache import Cache
from linearnexus.ops.short_conv import short_conv, short_conv_step
from tests.laws.law import error, jit, precision
from tests.laws.subjects import accepted_width, first_examples, mixer, mixer_examples, moved

EXAMPLES = mixer_examples()
ATTENTION = [name for name, config in EXAMPLES.items() if isinstance(config, AttentionConfig)]
LATENT = [name for name, config in EXAMPLES.items() if isinstance(config, LatentAttentionConfig)]
MAMBA = [name for name, config in EXAMPLES.items() if isinstance(config, MambaConfig)]
NOTHING = Context(TokenLayout(None, None, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)))  # of tokens known
MATRIX_MEMORY = [
    name
    for name, config in EXAMPLES.items()
    if isinstance(
        jax.eval_shape(lambda c=config: c.init(accepted_width(c), jax.random.key(0)).init_state(1, 1, "float32")),
        MatrixState,
    )
]
FIRST = first_examples()
B, T = 2, 11
VALID = np.array([[True] * 8 + [False, True, True], [True, True, False] + [True] * 8])
STARTS = np.array([[False] * 4 + [True] + [False] * 6, [False] * 9 + [True, False]])


def arranged(names: list[str]) -> pytest.MarkDecorator:
    """Every example with documents and padding, the first of a mixer also in a plain text."""
    cases = [(name, True) for name in names] + [(name, False) for name in names if name in FIRST]
    ids = [f"{name}-{'documents' if documents else 'plain'}" for name, documents in cases]
    return pytest.mark.parametrize(("name", "documents"), cases, ids=ids)


def shown(name: str, documents: bool) -> tuple[Any, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A mixer in float64, inputs of two rows, the call's outputs and what `look` shows."""
    module = moved(EXAMPLES[name].init(accepted_width(EXAMPLES[name]), jax.random.key(0)), "float64")
    x = np.random.default_rng(1).standard_normal((B, T, accepted_width(EXAMPLES[name])))
    flags = (VALID, STARTS) if documents else (None, None)

    def both(module: Any, x: Any, valid: Any, starts: Any) -> Any:
        context = Context(count_tokens((B, T), valid, starts, None, None)[0])
        return module(x, context).y, module.look(x, context)

    y, look = jit(both)(module, x, *flags)
    return module, x, np.asarray(y), {name: np.asarray(array) for name, array in look.items()}


@arranged(ATTENTION)
@pytest.mark.slow
def test_the_attention_shown_is_the_attention_used(name: str, documents: bool) -> None:
    """Weights times values times Wo is the output: a picture of attention from another mask, scale or head order
    lies."""
    with precision("float64"):
        module, x, y, look = shown(name, documents)
        config, valid = EXAMPLES[name], VALID if documents else np.ones((B, T), bool)
        weights = look["weights"]
        v = x @ module.wv + (0 if module.bv is None else module.bv)
        v = np.repeat(v.reshape(B, T, config.kv_heads, -1), config.n_head // config.kv_heads, axis=2)
        read = np.einsum("bhts,bshk->bthk", weights, v).reshape(B, T, -1)
        gate = 1 if module.wg is None else 1 / (1 + np.exp(-(x @ module.wg)))
        want = (gate * read) @ module.wo + (0 if module.bo is None else module.bo)
    assert error(y[valid], want[valid]) < 1e-12
    rows = np.moveaxis(weights, 1, 2)[valid]  # [tokens, H, T]
    np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-12)
    future = np.triu(np.ones((T, T), bool), 1) & valid[:, None, :, None]
    assert not weights[np.broadcast_to(future, weights.shape)].any()


@pytest.mark.parametrize("name", LATENT)
def test_the_latent_attention_shown_is_the_one_used_and_its_cache_is_small(name: str) -> None:
    """Weights times the values that come from the latent vectors is the output. Nothing but a latent vector and one
    rotary key is kept of a token: no heads, no values."""
    with precision("float64"):
        module, x, y, look = shown(name, documents=True)
        v = (look["latent"] @ module.wv).reshape(B, T, EXAMPLES[name].n_head, -1)
        want = np.einsum("bhts,bshv->bthv", look["weights"], v).reshape(B, T, -1) @ module.wo
    assert error(y[VALID], want[VALID]) < 1e-12
    _, rope, _, rank = EXAMPLES[name].sizes(x.shape[-1])
    assert [leaf.shape for leaf in jax.tree.leaves(module.init_state(B, T, "float32"))] == [(B, 1, T, rank + rope)]


@arranged(MAMBA)
@pytest.mark.slow
def test_the_memory_shown_is_the_memory_used(name: str, documents: bool) -> None:
    """The decays and writes that `look` gives, replayed one after another, make the output: also where a document
    begins (what remains of the old state is nothing) and at padding (nothing is written)."""
    with precision("float64"):
        module, x, y, look = shown(name, documents)
        valid = VALID if documents else np.ones((B, T), bool)
        h = np.zeros((B, *module.A_log.shape))
        read = []
        for t in range(T):
            write = (look["dt"] * look["signal"])[:, t, None, :] * look["B"][:, t, :, None]
            h = look["decay"][:, t] * h + write
            read.append(np.einsum("bne,bn->be", h, look["C"][:, t]) + module.D * look["signal"][:, t])
        gate = x @ module.w_in[:, 1]
        want = (np.stack(read, 1) * gate / (1 + np.exp(-gate))) @ module.w_out
    assert error(y[valid], want[valid]) < 1e-12


@arranged(MATRIX_MEMORY)
@pytest.mark.slow
def test_the_matrix_memory_shown_is_the_one_used(name: str, documents: bool) -> None:
    """What `look` gives of a memory (queries, keys, values, decays, shares erased), replayed token by token, gives what
    it says was read: also where a document begins, and past padding."""
    with precision("float64"):
        _, _, _, look = shown(name, documents)
    valid, starts = (VALID, STARTS) if documents else (np.ones((B, T), bool), np.zeros((B, T), bool))
    heads = look["v"].shape[2]
    q, k = (np.repeat(look[part], heads // look[part].shape[2], axis=2) for part in "qk")
    for b in range(B):
        S = np.zeros((heads, k.shape[-1], look["v"].shape[-1]))
        for t in np.flatnonzero(valid[b]):
            S = np.zeros_like(S) if starts[b, t] else S
            found = np.einsum("hk,hkv->hv", look["find"][b, t], S) if "find" in look else None
            earlier = S
            S = look["decay"][b, t][..., None] * S if "decay" in look else S
            S = S if found is None else S + look["erase"][b, t][:, :, None] * found[:, None, :]
            write = look["v"][b, t]
            if "beta" in look:
                write = look["beta"][b, t][:, None] * (write - np.einsum("hk,hkv->hv", k[b, t], S))
            S = S + k[b, t][:, :, None] * write[:, None, :]
            if "bonus" in look:  # read before it is written
                earlier = earlier + (look["bonus"] * k[b, t])[:, :, None] * write[:, None, :]
                assert error(look["read"][b, t], np.einsum("hk,hkv->hv", q[b, t], earlier)) < 1e-12
                continue
            assert error(look["read"][b, t], np.einsum("hk,hkv->hv", q[b, t], S)) < 1e-12


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.slow
def test_a_row_without_a_valid_token_keeps_its_state_to_the_bit(name: str) -> None:
    """In a batch where other rows go on: catches a decay of 0.9999..., a slot written at random, last inputs that move.
    Also a call shorter than a convolution's taps, documents that would start at invalid tokens, and NaN in a softmax
    over nothing."""
    with precision("float32"):
        subject = mixer(EXAMPLES[name], "float32")
        x = subject.draw(np.random.default_rng(2), 3 * 8).astype(np.float32).reshape(3, 8, -1)
        valid, starts = (
            np.array([[True, True], [False, False], [False, True]]),
            np.array([[False, True], [True, True], [True, False]]),
        )
        step, call = jit(subject.step), jit(subject.call)
        state = subject.start(3, 20)
        for t in range(8):
            state = step(subject.params, x[:, t], np.ones(3, bool), np.zeros(3, bool), state)[1]
        state = jax.tree.map(np.asarray, state)
        two, one = (1e4 * x[:, :2], valid, starts), (1e4 * x[:, 0], valid[:, 0], starts[:, 0])
        after, once = call(subject.params, *two, state)[1], step(subject.params, *one, state)[1]
        # a row that has never had a token: attention has nothing to see there
        fresh = [
            function(subject.params, *given, subject.start(3, 20))[0] for function, given in ((call, two), (step, one))
        ]
    assert all(np.isfinite(y).all() for y in fresh)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old[1], np.asarray(new)[1])
    changed = 0
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(once), strict=True):
        np.testing.assert_array_equal(old[1:], np.asarray(new)[1:])
        changed += not np.array_equal(old[0], np.asarray(new)[0])
    assert changed  # of the row that does have a token


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_mixer_keeps_its_contract(name: str) -> None:
    """Every array has a role, the protocol is whole, activations keep their dtype and a training call returns no
    state."""
    with precision("float32"):
        config = EXAMPLES[name]
        width = accepted_width(config)
        shapes = jax.eval_shape(lambda key: config.init(width, key), jax.random.key(0))
        assert isinstance(shapes, SequenceMixer)
        named = jax.tree.leaves(roles(shapes))
        assert len(named) == len(jax.tree.leaves(shapes))
        seen = jax.tree.leaves(matrix_dims(shapes))
        for role, leaf, dims in zip(named, jax.tree.leaves(shapes), seen, strict=True):
            assert role in ("matrix", "embedding", "vector")
            assert role != "matrix" or dims.matrix(leaf).ndim == 2, name
            assert role != "embedding" or leaf.ndim == 2, name
            assert leaf.dtype == np.float32
        tokens = count_tokens((B, T), None, None, None, None)[0]
        one = jax.tree.map(lambda field: field[:, 0], tokens)
        for dtype in ("float32", "bfloat16"):
            x = jax.ShapeDtypeStruct((B, T, width), dtype)
            out = jax.eval_shape(lambda module, x: module(x, Context(tokens)), shapes, x)
            assert (out.y.shape, out.y.dtype, out.state) == (x.shape, x.dtype, None)
            state = jax.eval_shape(lambda module, dtype=dtype: module.init_state(B, T, dtype), shapes)
            called = jax.eval_shape(lambda module, x, state: module(x, Context(tokens), state), shapes, x, state)
            stepped = jax.eval_shape(
                lambda module, x, state: module.step(x[:, 0], Context(one), state), shapes, x, state
            )
            assert stepped.y.dtype == called.y.dtype == x.dtype
            # the same shapes and dtypes after as before, so that a loop over steps compiles once
            assert jax.tree.map(lambda a: (a.shape, a.dtype), (called.state, stepped.state)) == jax.tree.map(
                lambda a: (a.shape, a.dtype), (state, state)
            )
            assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(state))


def test_mambas_initial_values_are_the_official_ones() -> None:
    """Steps log-uniform in [0.001, 0.1], A = -(1 ... N) in each channel, uniform weights bounded by 1 / sqrt(inputs). A
    slip here trains, only worse. Bounds are exact; means of 512 draws are within 5 sigma of theirs (odds of a false
    alarm: none, fixed key)."""
    width = 256
    module = jit(lambda key: MambaConfig().init(width, key))(jax.random.key(0))
    inner = 2 * width
    dt = np.logaddexp(0, np.asarray(module.dt_bias, np.float64))
    assert dt.min() >= 0.001 * (1 - 1e-4) and dt.max() <= 0.1 * (1 + 1e-4)
    spread = np.log(100) / np.sqrt(12)
    assert abs(np.log(dt).mean() - np.log(0.01)) < 5 * spread / np.sqrt(inner)
    assert abs(np.log(dt).std() - spread) < 0.1 * spread
    A = -np.exp(np.asarray(module.A_log, np.float64))
    np.testing.assert_allclose(A, np.broadcast_to(-np.arange(1, 17)[:, None], (16, inner)), rtol=1e-6)
    assert (np.asarray(module.D) == 1).all()
    fan_in = {"w_in": width, "conv": 4, "conv_bias": 4, "x_proj": inner, "w_dt": 16, "w_out": inner}
    for name, inputs in fan_in.items():
        array = np.asarray(getattr(module, name), np.float64)
        bound = inputs**-0.5
        assert 0.97 * bound < np.abs(array).max() <= bound * (1 + 1e-6), name
        assert abs(array.std() - bound / np.sqrt(3)) < 0.08 * bound, name
    assert module.w_dt.shape == (16, inner) and module.x_proj.shape == (inner, 16 + 2 * 16)


def test_attention_and_mlp_begin_as_gpt2() -> None:
    """N(0, 0.02) weights and zero biases; 64 * 64 draws give the deviation to 1.1 percent (1 sigma), 6 percent are
    allowed."""
    attention = AttentionConfig(n_head=4, n_kv_head=2, bias=True, qk_norm=True).init(64, jax.random.key(0))
    mlp = MLPConfig(bias=True, gated=True).init(64, jax.random.key(1))
    for weight in (attention.wq, attention.wk, attention.wv, attention.wo, mlp.up, mlp.gate, mlp.down):
        assert abs(float(weight.std()) / 0.02 - 1) < 0.06
    for bias in (attention.bq, attention.bk, attention.bv, attention.bo, mlp.up_bias, mlp.down_bias):
        assert not np.asarray(bias).any()
    drawn = [
        np.asarray(weight).ravel()[:100]
        for weight in (attention.wq, attention.wk, attention.wv, attention.wo, mlp.up, mlp.gate)
    ]
    assert len({row.tobytes() for row in drawn}) == len(drawn)  # no key used twice


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "silu", "relu2"])
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_the_mlp_computes_its_equation(activation: str, gated: bool) -> None:
    """Against NumPy: catches a gate on the wrong branch and the other form of GELU."""
    with precision("float64"):
        config = MLPConfig(width=1.5, activation=activation, gated=gated, bias=True)
        mlp = moved(config.init(10, jax.random.key(0)), "float64")
        assert isinstance(mlp, ChannelMixer)
        assert mlp.up.shape == (10, 15)
        x = np.random.default_rng(3).standard_normal((2, 3, 10))
        y = np.asarray(jit(lambda mlp, x: mlp(x, NOTHING).y)(mlp, x))
    act = {
        "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        "gelu_erf": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "relu2": lambda x: np.maximum(x, 0) ** 2,
    }[activation]
    up = x @ mlp.up + mlp.up_bias
    hidden = act(x @ mlp.gate) * up if gated else act(up)
    assert error(y, hidden @ mlp.down + mlp.down_bias) < 1e-12


def all_experts(moe: Any, x: np.ndarray, normalize: bool) -> np.ndarray:
    """A mixture of experts where every expert sees every token, in NumPy."""
    k, n = moe.config.experts_per_token, moe.config.n_expert
    logits = x @ moe.router.T
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    y = np.zeros_like(x)
    for at in np.ndindex(x.shape[:-1]):
        chosen = np.argsort(-shares[at], kind="stable")[:k]
        total = shares[at][chosen].sum() if normalize else 1
        for e in range(n):
            if e in chosen:
                hidden = x[at] @ moe.gate[e]
                hidden = hidden / (1 + np.exp(-hidden)) * (x[at] @ moe.up[e])
                y[at] += shares[at][e] / total * (hidden @ moe.down[e])
    return y


@pytest.mark.parametrize("normalize", [False, True], ids=["jamba", "mixtral"])
@pytest.mark.parametrize(("shape", "n", "k"), [((2, 37), 8, 2), ((1,), 5, 3), ((3, 90), 3, 3), ((2, 1), 4, 1)])
@pytest.mark.slow
def test_experts_drop_no_token(shape: tuple[int, ...], n: int, k: int, normalize: bool) -> None:
    """Values against experts that see everything, and gradients against central differences. Catches a block too few,
    an expert's weights for another's token, a token that is lost when all go to one expert (the router favours one)."""
    with precision("float64"):
        config = MoEConfig(n_expert=n, experts_per_token=k, width=1.5, normalize=normalize, aux_loss_weight=0.0)
        moe = moved(config.init(6, jax.random.key(0)), "float64")
        rng = np.random.default_rng(3)
        x, dy = rng.standard_normal((*shape, 6)), rng.standard_normal((*shape, 6))

        @jit
        def both(moe: Any, x: Any) -> Any:
            y, pull = jax.vjp(lambda moe, x: moe(x, NOTHING).y, moe, x)
            return y, pull(jnp.asarray(dy))

        for crowded in (0.0, 50.0):
            router = moe.router.copy()
            router[0] += crowded * x.mean(axis=tuple(range(x.ndim - 1)))
            module = dataclasses.replace(moe, router=router)
            y, slopes = both(module, x)
            assert error(np.asarray(y), all_experts(module, x, normalize)) < 1e-12
            for leaf, name in ((slopes[0].up, "up"), (slopes[0].router, "router"), (slopes[0].down, "down")):
                along = rng.standard_normal(leaf.shape)

                def value(eps: float, name: str = name, along: np.ndarray = along, module: Any = module) -> float:
                    changed = dataclasses.replace(module, **{name: getattr(module, name) + eps * along})
                    return float(np.vdot(all_experts(changed, x, normalize), dy))

                want = (value(1e-6) - value(-1e-6)) / 2e-6
                assert abs(float(np.vdot(leaf, along)) - want) < 1e-5 * abs(want) + 1e-6, name


def test_the_balancing_loss_knows_only_valid_tokens() -> None:
    """`aux_loss_weight` when experts are used and wanted alike, that times their number when one has everything;
    padding counts for nothing, and a model's training loss has the sum of its layers', its logged loss none."""
    config = MoEConfig(n_expert=4, experts_per_token=1, aux_loss_weight=0.5)
    moe = config.init(4, jax.random.key(0))
    x = jnp.tile(jnp.eye(4), (2, 1)).reshape(2, 4, 4)

    def loss(router: Any, valid: Any) -> float:
        tokens = count_tokens((2, 4), valid, None, None, None)[0]
        return float(jit(lambda moe: moe(x, Context(tokens)).loss)(dataclasses.replace(moe, router=router)))

    np.testing.assert_allclose(loss(100 * jnp.eye(4), None), 0.5, rtol=1e-5)
    np.testing.assert_allclose(loss(jnp.zeros((4, 4)).at[2].set(100.0), None), 2.0, rtol=1e-5)
    only = jnp.asarray([[False, False, True, False]] * 2)
    np.testing.assert_allclose(loss(100 * jnp.eye(4), only), 2.0, rtol=1e-5)


def test_mamba2_begins_as_the_official_code() -> None:
    """Steps log-uniform in [0.001, 0.1], A in [-16, -1], D and the norm one, the rest uniform up to 1 /
    sqrt(inputs)."""
    module = Mamba2Config(head_size=4).init(256, jax.random.key(0))
    dt, A = np.logaddexp(0, np.asarray(module.dt_bias, np.float64)), np.exp(np.asarray(module.A_log, np.float64))
    assert 0.001 * (1 - 1e-4) <= dt.min() < 0.003 and 0.03 < dt.max() <= 0.1 * (1 + 1e-4)
    assert 1 <= A.min() < 2.5 and 14 < A.max() <= 16
    assert (np.asarray(module.D) == 1).all() and (np.asarray(module.norm.scale) == 1).all()
    for name, fan_in in {"w_in": 256, "conv": 4, "conv_bias": 4, "w_out": 512}.items():
        largest = float(np.abs(getattr(module, name)).max()) * fan_in**0.5
        assert 0.97 < largest <= 1 + 1e-6, name


def test_mamba3_begins_as_the_official_code() -> None:
    """Steps log-uniform in [0.001, 0.1], the biases of B and C, their norms and D one, matrices uniform up to 1 /
    sqrt(inputs); half of a key turns."""
    config = Mamba3Config(head_size=4, mimo_rank=2)
    module = config.init(256, jax.random.key(0))
    dt = np.logaddexp(0, np.asarray(module.dt_bias, np.float64))
    assert 0.001 * (1 - 1e-4) <= dt.min() < 0.003 and 0.03 < dt.max() <= 0.1 * (1 + 1e-4)
    for ones in (module.B_bias, module.C_bias, module.D, module.B_norm.scale, module.C_norm.scale, module.mimo_z):
        assert (np.asarray(ones) == 1).all()
    assert (np.asarray(module.mimo_x) == 0.5).all() and (np.asarray(module.mimo_o) == 0.5).all()
    assert config.turns == 32 and module.w_in.shape == (256, 2 * 512 + 2 * 2 * 128 + 3 * 128 + 32)
    for name, fan_in in {"w_in": 256, "w_out": 512}.items():
        largest = float(np.abs(getattr(module, name)).max()) * fan_in**0.5
        assert 0.97 < largest <= 1 + 1e-6, name


def test_angles_of_mamba3_stay_exact_over_a_long_text() -> None:
    """Catches sums that grow: after 20,000 turns of 0.3 radians float32's `cumsum` is off by 8e-4."""
    tokens = count_tokens((1, 20_000), None, None, None, None)[0]
    angles = jit(mamba3._angles)(jnp.full((1, 20_000, 1, 1), 0.3), jnp.full((1, 1, 1), 0.5), tokens)
    angle = angles[0, :, 0, 0]
    exact = 0.5 + float(np.float32(0.3)) * np.arange(1, 20_001)
    assert float(jnp.abs(angle).max()) <= np.pi + 1e-6
    assert np.abs(np.exp(1j * np.asarray(angle, np.float64)) - np.exp(1j * exact)).max() < 3e-4


def test_kimi_delta_attention_and_mlstm_begin_as_their_official_codes() -> None:
    """Kimi: A in [1, 16], steps log-uniform in [0.001, 0.1], taps up to 1/2. mLSTM: gates that do not see the token,
    forget biases from 3 to 6 and input biases of -10, matrices N(0, sqrt(2 / 5D))."""
    kimi = KimiDeltaAttentionConfig(n_head=64, key_size=4).init(128, jax.random.key(0))
    A, dt = np.exp(np.asarray(kimi.A_log, np.float64)), np.logaddexp(0, np.asarray(kimi.dt_bias, np.float64))
    assert 1 <= A.min() < 2.5 and 14 < A.max() <= 16
    assert 0.001 * (1 - 1e-4) <= dt.min() < 0.003 and 0.03 < dt.max() <= 0.1 * (1 + 1e-4)
    for taps in (kimi.conv_q, kimi.conv_k, kimi.conv_v):
        assert 0.49 < float(np.abs(taps).max()) <= 0.5
    assert abs(float(kimi.wq.std()) / 0.02 - 1) < 0.06
    mlstm = MLSTMConfig(n_head=4).init(128, jax.random.key(0))
    assert not np.asarray(mlstm.w_gates).any()
    np.testing.assert_allclose(mlstm.gate_bias, [[-10, -10, -10, -10], [3, 4, 5, 6]])
    for weight in (mlstm.wq, mlstm.wk, mlstm.wv, mlstm.wg, mlstm.wo):
        assert abs(float(weight.std()) / (2 / 640) ** 0.5 - 1) < 0.06


def test_rwkv_begins_as_the_official_codes() -> None:
    """Every value that depends on channel, head and layer, by the loops of the official codes; layer 1 of 3. A slip
    here trains, only worse."""
    layer, n_layer, size, head = 1, 3, 24, 8
    six, seven = (
        c.init(size, jax.random.key(0), layer, n_layer) for c in (RWKV6Config(n_head=3), RWKV7Config(n_head=3))
    )
    up, rest = layer / (n_layer - 1), 1 - layer / n_layer
    for i in range(size):
        share, place = i / size, i / (size - 1)
        near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        full, half = 1 - share**rest, 1 - share ** (0.5 * rest)
        near(six.mix_x[i], full)
        near(six.mix[:, i], [full, full, 1 - (share**rest + 0.3 * up), half, half])  # w, k, v, r, g
        near(six.decay[i], -6 + 5 * place ** (0.7 + 1.3 * up))
        near(six.bonus[i], up * (1 - place) + ((i + 1) % 3 - 1) * 0.1)
        near(seven.mix[:, i], [1 - share ** (p * rest) for p in (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)])  # r, w, k, v, a, g
        zigzag = ((i % head) - (head - 1) / 2) / ((head - 1) / 2)
        zigzag *= abs(zigzag)
        near(seven.w_bias[i], -6 + 6 * place ** (1 + up**0.3) + 0.5 + zigzag * 2.5)
        near(seven.a.bias[i], -0.19 + zigzag * 0.3 + (place - 0.5) * 0.4)
        near(seven.v.bias[i], 0.73 - (place - 0.5) * 0.4)
        near([seven.k_k[i], seven.k_a[i], seven.r_k[i]], [0.71 - (place - 0.5) * 0.1, 1.02, -0.04])
        for norm in (six.norm, seven.norm):
            near([norm.scale[i], norm.bias[i]], [((1 + layer) / n_layer) ** 0.7, 0])
    for module, wide in ((six, six.wv), (seven, seven.wr)):
        assert not np.asarray(module.wo).any()
        np.testing.assert_allclose(wide @ wide.T, np.eye(size), atol=1e-5)
        np.testing.assert_allclose(module.wk @ module.wk.T, 0.01 * np.eye(size), atol=1e-6)
    ranks = [low.down.shape[1] for low in (seven.w, seven.a, seven.v, seven.g)]
    assert ranks == [32, 32, 32, 32] and RWKV7Config().ranks(1024) == (64, 64, 64, 160)
    for low in (seven.w, seven.a, seven.v, seven.g):
        assert not np.asarray(low.down).any()
        np.testing.assert_allclose(low.up.T @ low.up, 0.01 * 32 / size * np.eye(size), atol=1e-5)
    for gated, power in ((True, rest), (False, rest**4)):
        mix = RWKVMLPConfig(2.0, gated).init(size, jax.random.key(0), layer, n_layer)
        np.testing.assert_allclose(mix.mix_k, [1 - (i / size) ** power for i in range(size)], rtol=1e-5, atol=1e-6)
        assert not np.asarray(mix.down).any() and (mix.gate is None or not np.asarray(mix.gate).any())


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_short_convolution_at_its_corners(taps: int, length: int) -> None:
    """One tap (an empty state), one token, calls shorter than the state: against a sum written out, state included, and
    as steps."""
    with precision("float64"):
        rng = np.random.default_rng(4)
        x, weight = rng.standard_normal((3, length, 5)), rng.standard_normal((taps, 5))
        conv_state = rng.standard_normal((3, taps - 1, 5))
        nine = jnp.full(3, 9, jnp.int32)
        tokens = count_tokens((3, length), None, None, nine, nine)[0]
        y, after = jit(short_conv)(x, weight, conv_state, tokens)
        whole = np.concatenate([conv_state, x], axis=1)
        want = np.stack(
            [sum(weight[j] * whole[:, t + taps - 1 - j] for j in range(taps)) for t in range(length)], axis=1
        )
        np.testing.assert_allclose(y, want, rtol=1e-12)
        np.testing.assert_array_equal(after, whole[:, length:])
        stepped, step = conv_state, jit(short_conv_step)
        for t in range(length):
            one, stepped = step(
                x[:, t], weight, stepped, TokenLayout(None, None, tokens.position[:, t], tokens.index[:, t])
            )
            np.testing.assert_allclose(one, want[:, t], rtol=1e-12)
        np.testing.assert_array_equal(stepped, whole[:, length:])


@pytest.mark.parametrize(
    ("cut", "window", "documents"),
    [(0, 5, True), (0, 100, False), (37, 100, True), (300, 5, False), (300, 100, True)],
)
@pytest.mark.slow
def test_a_long_window_in_blocks_is_the_window(cut: int, window: int, documents: bool) -> None:
    """Blocks against the whole square of a text, in one training call and as two calls with a ring between them, values
    and gradients; long enough for blocks, which the law's texts are not. Also without a window, in blocks and tiles of
    queries."""
    rng = np.random.default_rng(0)
    length, groups = 701, 2
    draws = (jnp.asarray(rng.random((B, length)) < share) for share in (0.9, 0.02))
    valid, starts = draws if documents else (None, None)
    seen = np.ones((B, length), bool) if valid is None else np.asarray(valid)
    for window_or_none in (window, None) if cut else (window,):
        with precision("float64"):
            q, k, v, dy = (rng.standard_normal((B, length, heads, 4)) for heads in (4, groups, groups, 4))
            tokens = count_tokens((B, length), valid, starts, None, None)[0]

            def whole(q: Any, k: Any, v: Any, tokens: Any = tokens, window: Any = window_or_none) -> Any:
                heads_first = (a.transpose(0, 2, 1, 3) for a in (k, v))
                return op.attend(q, *heads_first, op.visibility(tokens, window))

            def calls(q: Any, k: Any, v: Any, tokens: Any = tokens, window: Any = window_or_none) -> Any:
                if not cut:
                    return op.causal_attention(q, k, v, tokens, window)
                cache = Cache.init(B, groups, min(window or length, length), 4, jnp.float64)
                outputs, position, index = [], None, None
                for part in (slice(0, cut), slice(cut, length)):
                    flags = (None if flag is None else flag[:, part] for flag in (valid, starts))
                    shape = q[:, part].shape[:2]
                    tokens, position, index = count_tokens(shape, *flags, position, index)
                    y, cache = op.extend_attention(q[:, part], k[:, part], v[:, part], cache, tokens, window)
                    outputs.append(y)
                return jnp.concatenate(outputs, axis=1)

            slopes = dy * seen[..., None, None]

            def pulled(function: Any, q: Any, k: Any, v: Any, slopes: Any = slopes) -> Any:
                y, pull = jax.vjp(function, q, k, v)
                return y, pull(slopes)

            got, want = (jit(pulled, static_argnums=0)(function, q, k, v) for function in (calls, whole))
            assert error(np.asarray(got[0])[seen], np.asarray(want[0])[seen]) < 1e-12
            for one, right in zip(got[1], want[1], strict=True):
                assert error(np.asarray(one), np.asarray(right)) < 1e-12


@pytest.mark.parametrize(
    ("slots", "window"), [pytest.param(1100, None, marks=pytest.mark.slow), (600, None), (400, 400)]
)
def test_steps_over_blocks_of_a_cache(slots: int, window: int | None) -> None:
    """A cache of several blocks, on a text that fills some of them, or goes around the ring, against the whole square.
    Catches a block that is left out, read twice or taken for another, and a row that ended."""
    rng = np.random.default_rng(0)
    length, steps, groups = 610, 4, 2
    with precision("float64"):
        q, k, v = (jnp.asarray(rng.standard_normal((B, length + steps, heads, 4))) for heads in (4, groups, groups))
        valid = jnp.ones((B, length), bool).at[1, :400].set(False)
        cache, position, index, found = Cache.init(B, groups, slots, 4, jnp.float64), None, None, []
        for part in (slice(0, 64), slice(64, length)):
            tokens, position, index = count_tokens(valid[:, part].shape, valid[:, part], None, position, index)
            cache = op.extend_attention(q[:, part], k[:, part], v[:, part], cache, tokens, window)[1]
        assert len(cache.keys) == {1100: 4, 600: 3, 400: 2}[slots]
        everything = jnp.concatenate([valid, jnp.ones((B, steps), bool)], axis=1)
        for t in range(length, length + steps):
            live = jnp.ones((B, 1), bool).at[0, 0].set(t < length + 2)
            tokens, position, index = count_tokens((B, 1), live, None, position, index)
            one = jax.tree.map(lambda field: field[:, 0], tokens)
            y, cache = jit(op.step_attention, static_argnums=5)(q[:, t], k[:, t], v[:, t], cache, one, window)
            found.append(y)
        tokens = count_tokens(everything.shape, everything, None, None, None)[0]
        heads_first = (a.transpose(0, 2, 1, 3) for a in (k, v))
        want = op.attend(q, *heads_first, op.visibility(tokens, min(window or slots, slots)))[:, length:]
        got = jnp.stack(found, axis=1)
        assert error(np.asarray(got[1:]), np.asarray(want[1:])) < 1e-12
        assert error(np.asarray(got[0, :2]), np.asarray(want[0, :2])) < 1e-12


def test_a_cache_without_slots_is_read_as_empty() -> None:
    x = jnp.ones((B, 3, 2, 4))
    tokens = count_tokens((B, 3), None, None, None, None)[0]
    y, cache = op.extend_attention(x, x, x, Cache.init(B, 2, 0, 4, x.dtype), tokens, None)
    assert y.shape == x.shape and np.isfinite(np.asarray(y)).all() and cache.slots == 0


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("kept", [True, False], ids=["weights kept", "weights computed again"])
def test_attentions_own_backward_pass(kept: bool, rate: float) -> None:
    """Against differentiating the same blocks written with `attend`: three blocks, the last one short, grouped heads,
    documents and padding, and each block's own dropout."""
    tuning = CPU.attention if kept else dataclasses.replace(CPU.attention, long=1)
    rng = np.random.default_rng(0)
    with precision("float64"):
        t = 2 * tuning.min_block + 5
        q, k, v, dy = (rng.standard_normal((B, t, heads, 4)) for heads in (4, 2, 2, 4))
        valid, starts = (jnp.asarray(rng.random((B, t)) < share) for share in (0.9, 0.05))
        tokens = count_tokens((B, t), valid, starts, None, None)[0]
        dropout = Dropout(jax.random.key(3), rate) if rate else None
        visible = op.visibility(tokens, None)

        def blocks(q: Any, k: Any, v: Any) -> Any:
            k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
            outputs = []
            for number, start in enumerate(range(0, t, tuning.min_block)):
                end = min(start + tuning.min_block, t)
                own = None if dropout is None else dropout.fold(number)
                seen = visible[:, start:end, :end]
                outputs.append(op.attend(q[:, start:end], k[:, :, :end], v[:, :, :end], seen, own))
            return jnp.concatenate(outputs, axis=1)

        def pulled(function: Any) -> Any:
            def run(q: Any, k: Any, v: Any) -> Any:
                y, pull = jax.vjp(function, q, k, v)
                return y, *pull(dy * np.asarray(valid)[..., None, None])

            return jit(run)(q, k, v)

        got = pulled(lambda q, k, v: op.causal_attention(q, k, v, tokens, None, dropout, tuning=tuning))
        want = pulled(blocks)
        seen = np.asarray(valid)
        assert error(np.asarray(got[0])[seen], np.asarray(want[0])[seen]) < 1e-12
        for one, right in zip(got[1:], want[1:], strict=True):
            assert error(np.asarray(one), np.asarray(right)) < 1e-12


@pytest.mark.parametrize("length", [1, 3, 4, 5, 11])
def test_a_ring_holds_the_last_tokens_in_their_slots(length: int) -> None:
    """Four slots, writes of fewer, as many and more tokens than fit, in two calls and with an invalid token at each
    end."""
    slots = 4
    with precision("float32"):
        k = np.arange(1.0, length + 1, dtype=np.float32)
        padded = jnp.asarray(np.concatenate([[-1], k, [-2]]).astype(np.float32)[None, :, None, None])
        valid = jnp.asarray([[False, *[True] * length, False]])
        cache = Cache.init(1, 1, slots, 1, jnp.dtype("float32"))
        count = jnp.zeros(1, jnp.int32)
        for part in (slice(0, 3), slice(3, None)):
            if padded[:, part].size:
                tokens, count, _ = count_tokens(valid[:, part].shape, valid[:, part], None, count, count)
                cache = cache.write(padded[:, part], -padded[:, part], tokens)
        index = np.asarray(cache.index(count))[0]
    for slot in range(slots):
        held = [i for i in range(length) if i % slots == slot]
        assert np.asarray(cache.keys[0])[0, 0, slot, 0] == (k[held[-1]] if held else 0)
        assert np.asarray(cache.values[0])[0, 0, slot, 0] == (-k[held[-1]] if held else 0)
        assert index[slot] == (held[-1] if held else np.iinfo(np.int32).max)


def test_mamba_adds_the_steps_bias_in_float32() -> None:
    """In bfloat16 the bias of a small step would move it by a percent. Inputs of zero leave nothing but the biases."""
    module = dataclasses.replace(MambaConfig().init(16, jax.random.key(0)), conv_bias=jnp.zeros(32))
    tokens = count_tokens((1, 3), None, None, None, None)[0]
    dt = module.look(jnp.zeros((1, 3, 16), jnp.bfloat16), Context(tokens))["dt"]
    np.testing.assert_allclose(dt[0, 0], np.logaddexp(0, np.asarray(module.dt_bias)), rtol=1e-5)


def test_linear_keeps_shapes_and_dtypes() -> None:
    """The product is taken in two dimensions; the bias is not decayed into x's rank or dtype by accident."""
    with precision("float32"):
        weight, bias = jnp.ones((3, 5)), jnp.arange(5.0)
        for shape in ((3,), (2, 3), (2, 4, 3), (0, 3)):
            y = linear(jnp.ones(shape, jnp.bfloat16), weight, bias)
            assert (y.shape, y.dtype) == ((*shape[:-1], 5), jnp.bfloat16)
            np.testing.assert_array_equal(y, np.broadcast_to(3 + np.arange(5.0), y.shape))


@pytest.mark.parametrize(
    ("config", "width", "word"),
    [
        (AttentionConfig(n_head=5), 18, "n_head"),
        (AttentionConfig(n_head=0), 18, "n_head"),
        (AttentionConfig(n_head=6, n_kv_head=4, rope_theta=None), 18, "n_kv_head"),
        (AttentionConfig(n_head=3, n_kv_head=0), 18, "n_kv_head"),
        (AttentionConfig(n_head=6), 18, "Rotary"),
        (AttentionConfig(n_head=3, window=0), 18, "window"),
        (AttentionConfig(n_head=3, rope_size=3), 18, "rope_size"),
        (AttentionConfig(n_head=3, rope_size=8), 18, "rope_size"),
        (AttentionConfig(n_head=3, head_size=5), 18, "5 numbers"),
        (LatentAttentionConfig(n_head=3, rope_size=3), 18, "rope_size"),
        (LatentAttentionConfig(n_head=19), 18, "n_head"),
        (MambaConfig(state_size=0), 18, "state_size"),
        (MambaConfig(conv_size=0), 18, "conv_size"),
        (MambaConfig(expand=0), 18, "expand"),
        (MambaConfig(dt_rank=0), 18, "dt_rank"),
        (Mamba2Config(), 18, "head_size"),
        (Mamba2Config(head_size=12, n_group=2), 18, "n_group"),
        (GLAConfig(n_head=40), 18, "n_head"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(config: Any, width: int, word: str) -> None:
    """Before they become a traceback from inside JAX, or silently another setting (a 0 taken for None)."""
    with pytest.raises(UserError, match=word):
        config.check(width)
