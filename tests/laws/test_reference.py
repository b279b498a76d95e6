"""Mixers and operations against the papers' equations (`reference.py`): values in both precisions, gradients by
differences."""

import dataclasses
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import pytest

from linearnexus.core.tokens import TokenLayout, count_tokens
from linearnexus.mixers import configs
from linearnexus.mixers.configs import MixerConfig
from linearnexus.mixers.contract import Context
from linearnexus.models.architectures import rwkv
from linearnexus.models.language_model import LanguageModel
from linearnexus.ops import delta_rule, linear_attention
from linearnexus.ops import selective_scan as scan_op
from tests.laws import reference, subjects
from tests.laws.law import TOLERANCE, error, floats, jit, precision, pulled, with_floats

B, T, PREFIX = 3, 23, 8
EPS = 1e-6  # of central differences in float64: of their errors, one grows with it and one falls, both are below 1e-7


@functools.cache
def text(width: int) -> dict[str, np.ndarray]:
    """Rows with holes and documents: one long, one with a start on its first token, one with two starts in
    succession."""
    rng = np.random.default_rng(5)
    valid = rng.random((B, T)) < 0.8
    starts = np.zeros((B, T), bool)
    starts[1, 0] = starts[1, 12] = starts[2, 9] = starts[2, 10] = True
    valid |= starts
    return {
        "x": rng.standard_normal((B, T, width)),
        "valid": valid,
        "starts": starts,
        "prefix": rng.standard_normal((B, PREFIX, width)),
    }


def weights_of(params: Any) -> reference.Weights:
    """A mixer's weights by the names of its fields; of a norm its scale."""
    fields = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    return {
        name: getattr(part, "scale", part)
        for name, part in fields.items()
        if part is not None and not isinstance(part, MixerConfig)
    }


attention_weights = weights_of  # of an attention layer


def official(params: Any) -> reference.Weights:
    """The product's Mamba weights under the official names and in the official layouts."""
    norms = {"dt_layernorm": params.dt_norm, "b_layernorm": params.B_norm, "c_layernorm": params.C_norm}
    return {
        "in_proj.weight": params.w_in.reshape(len(params.w_in), -1).T,
        "conv1d.weight": params.conv[::-1].T,
        "conv1d.bias": params.conv_bias,
        "x_proj.weight": params.x_proj.T,
        "dt_proj.weight": params.w_dt.T,
        "dt_proj.bias": params.dt_bias,
        "A_log": params.A_log.T,
        "D": params.D,
        "out_proj.weight": params.w_out.T,
        **{f"{name}.weight": norm.scale for name, norm in norms.items() if norm is not None},
    }


def official_mamba2(params: Any) -> reference.Weights:
    """The same of Mamba-2."""
    return {
        "in_proj.weight": params.w_in.T,
        "conv1d.weight": params.conv[::-1].T,
        "conv1d.bias": params.conv_bias,
        "dt_bias": params.dt_bias,
        "A_log": params.A_log,
        "D": params.D,
        "norm.weight": params.norm.scale,
        "out_proj.weight": params.w_out.T,
    }


def official_mamba3(params: Any) -> reference.Weights:
    """The same of Mamba-3; with one input and output a head the MIMO weights are one."""
    rank, n_head = params.B_bias.shape[:2]
    one = np.ones((rank, n_head, params.config.head_size))
    mimo = {name: getattr(params, name) for name in ("mimo_x", "mimo_z", "mimo_o")}
    return {
        "in_proj.weight": params.w_in.T,
        "dt_bias": params.dt_bias,
        "B_norm.weight": params.B_norm.scale,
        "C_norm.weight": params.C_norm.scale,
        "B_bias": params.B_bias.swapaxes(0, 1),
        "C_bias": params.C_bias.swapaxes(0, 1),
        "D": params.D,
        **{name: (one if weight is None else weight).swapaxes(0, 1) for name, weight in mimo.items()},
        "out_proj.weight": params.w_out.T,
    }


class Row(NamedTuple):
    """A row's valid tokens x [T,D], the number of each one's document, and the state before them: the mixer's own, and
    how many tokens came before, in the document and in the row."""

    x: np.ndarray
    document: np.ndarray
    state: Any
    position: int
    index: int


def attention(config: configs.AttentionConfig, params: Any, row: Row) -> np.ndarray:
    keys, values = (np.concatenate(blocks, axis=1) for blocks in (row.state.keys, row.state.own_values))
    slots = keys.shape[1]
    last = [i % slots for i in range(max(0, row.index - slots), row.index)]
    past = [(keys[:, slot], values[:, slot]) for slot in last]
    shape = (config.n_head, config.kv_heads, config.window, config.rope_theta)
    return reference.attention(weights_of(params), row.x, row.document, past, *shape, position=row.position)


def latent_attention(config: configs.LatentAttentionConfig, params: Any, row: Row) -> np.ndarray:
    rank = params.wk.shape[0]
    keys = np.concatenate(row.state.keys, axis=1)
    slots = keys.shape[1]
    last = [keys[0, i % slots] for i in range(max(0, row.index - slots), row.index)]
    past = [(kept[:rank], kept[rank:]) for kept in last]
    shape = (config.n_head, config.rope_theta, row.position)
    return reference.latent_attention(weights_of(params), row.x, row.document, past, *shape)


def mamba(config: configs.MambaConfig, params: Any, row: Row) -> np.ndarray:
    return reference.mamba(official(params), row.x, row.document, row.state.conv_state, row.state.h.T)[0]


def mamba2(config: configs.Mamba2Config, params: Any, row: Row) -> np.ndarray:
    before = (row.document, row.state.conv_state, row.state.S)
    return reference.mamba2(official_mamba2(params), row.x, *before, config.n_group)


def mamba3(config: configs.Mamba3Config, params: Any, row: Row) -> np.ndarray:
    rank, n_head, size = params.B_bias.shape
    ends = np.cumsum([rank * n_head * size, rank * n_head * config.head_size, n_head])
    k, v, log_decay, own = np.split(row.state.conv_state[0], ends)
    k, v = k.reshape(rank, n_head, size), v.reshape(rank, n_head, -1)
    # the official state has the last token's own write in it, ours has not yet
    ssm = np.exp(log_decay)[:, None, None] * row.state.M + own[:, None, None] * np.einsum("rhn,rhp->hnp", k, v)
    state = {"ssm": ssm.swapaxes(1, 2), "angle": row.state.angle, "k": k.swapaxes(0, 1), "v": v.swapaxes(0, 1)}
    return reference.mamba3(official_mamba3(params), row.x, row.document, state, config.n_group, config.turns)


def linear(config: configs.LinearAttentionConfig, params: Any, row: Row) -> np.ndarray:
    S, z = row.state.S[..., :-1], row.state.S[..., -1]
    return reference.linear_attention(weights_of(params), row.x, row.document, S, z, config.n_head)


def retnet(config: configs.RetNetConfig, params: Any, row: Row) -> np.ndarray:
    return reference.retnet(weights_of(params), row.x, row.document, row.state.S, row.position, config.n_head)


def gla(config: configs.GLAConfig, params: Any, row: Row) -> np.ndarray:
    shape = (config.n_head, config.gate_temperature)
    return reference.gla(weights_of(params), row.x, row.document, row.state.S, *shape)


def mlstm(config: configs.MLSTMConfig, params: Any, row: Row) -> np.ndarray:
    memory = row.state.S * np.exp(row.state.m)[:, None, None]
    before = (row.document, memory[..., :-1], memory[..., -1])
    return reference.mlstm(weights_of(params), row.x, *before, config.n_head, config.gate_cap)


def deltanet(config: configs.DeltaNetConfig, params: Any, row: Row) -> np.ndarray:
    shape = (config.n_head, 2.0 if config.negative_eigenvalues else 1.0)
    return reference.deltanet(weights_of(params), row.x, row.document, row.state.conv_state, row.state.S, *shape)


def gated_deltanet(config: configs.GatedDeltaNetConfig, params: Any, row: Row) -> np.ndarray:
    shape = (config.key_heads, config.n_head, 2.0 if config.negative_eigenvalues else 1.0)
    return reference.gated_deltanet(weights_of(params), row.x, row.document, row.state.conv_state, row.state.S, *shape)


def kimi_delta_attention(config: configs.KimiDeltaAttentionConfig, params: Any, row: Row) -> np.ndarray:
    shape = (config.n_head, 2.0 if config.negative_eigenvalues else 1.0)
    before = (row.document, row.state.conv_state, row.state.S)
    return reference.kimi_delta_attention(weights_of(params), row.x, *before, *shape)


def named(params: Any, *without: str) -> reference.Weights:
    """A module's arrays by their paths: "norm.scale"."""
    found = jax.tree_util.tree_leaves_with_path(params)
    names = ((jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in found)
    return {name: leaf for name, leaf in names if not name.startswith(without)}


def rwkv6(config: configs.RWKV6Config, params: Any, row: Row) -> np.ndarray:
    before = (row.document, row.state.conv_state[0], row.state.S)
    return reference.rwkv6(named(params), row.x, *before, config.n_head)


def rwkv7(config: configs.RWKV7Config, params: Any, row: Row) -> np.ndarray:
    before = (row.document, row.state.conv_state[0], row.state.S.transpose(0, 2, 1))
    return reference.rwkv7(named(params), row.x, *before, config.n_head)[0]


def gated_conv(config: configs.GatedConvConfig, params: Any, row: Row) -> np.ndarray:
    return reference.gated_conv(weights_of(params), row.x, row.document, row.state.conv_state)


# A mixer that is registered and has a line here is tested in all its `examples()`; one without is not.
REFERENCES: dict[type[MixerConfig], Callable[[Any, Any, Row], np.ndarray]] = {
    configs.AttentionConfig: attention,
    configs.LatentAttentionConfig: latent_attention,
    configs.MambaConfig: mamba,
    configs.Mamba2Config: mamba2,
    configs.Mamba3Config: mamba3,
    configs.LinearAttentionConfig: linear,
    configs.RetNetConfig: retnet,
    configs.GLAConfig: gla,
    configs.MLSTMConfig: mlstm,
    configs.DeltaNetConfig: deltanet,
    configs.GatedDeltaNetConfig: gated_deltanet,
    configs.KimiDeltaAttentionConfig: kimi_delta_attention,
    configs.RWKV6Config: rwkv6,
    configs.RWKV7Config: rwkv7,
    configs.GatedConvConfig: gated_conv,
}
# The options of attention that published models have and the reference lacks are held against transformers
# (`make interop`: qwen3_next, llama-scaled).
EXAMPLES = {
    name: config
    for name, config in subjects.mixer_examples().items()
    if type(config) in REFERENCES and not getattr(config, "gate", False)
}


def by_reference(
    config: MixerConfig, params: Any, x: np.ndarray, state: Any, starts: np.ndarray, valid: np.ndarray
) -> list[np.ndarray]:
    """The outputs at the valid tokens of each row, by the papers' equations from the product's weights and state."""
    out = []
    for b in range(len(x)):
        begins = starts[b][valid[b]]
        before = jax.tree.map(lambda leaf, b=b: leaf[b], state)
        if begins[0]:  # nothing of the older text counts
            before = jax.tree.map(np.zeros_like, before)
        inner, position, index = before
        row = Row(x[b][valid[b]], np.cumsum(begins), inner, int(position), int(index))
        out.append(REFERENCES[type(config)](config, params, row))
    return out


@pytest.mark.parametrize(
    "name",
    [name if name in subjects.first_examples() else pytest.param(name, marks=pytest.mark.slow) for name in EXAMPLES],
)
def test_a_mixer_computes_its_papers_equations(name: str) -> None:
    """Values over documents and padding, from the middle of a text and, the text in one go, from nothing; then autodiff
    against central differences of the reference, along random directions of the parameters, the inputs and the state.
    Catches what the law cannot: a mistake made alike in a call and in a step (a tap in the wrong order, B and C
    exchanged, a missing scale, a rotation the wrong way), and a wrong hand-written or rematerialised backward pass."""
    with precision("float64"):
        config = EXAMPLES[name]
        subject = subjects.mixer(config, "float64")
        given = text(subjects.accepted_width(config))
        valid, starts = given["valid"], given["starts"]
        nothing = jax.tree.map(np.asarray, subject.start(B, PREFIX + T))
        call = jit(subject.call)
        start = jax.tree.map(np.asarray, call(subject.params, given["prefix"], None, None, nothing)[1])
        rng = np.random.default_rng(6)
        weight = np.where(valid[..., None], rng.standard_normal(given["x"].shape), 0)
        point = (jax.tree.map(np.asarray, subject.params), given["x"], start)
        zeros = [np.zeros_like(leaf) for leaf in floats(start)]
        y, _, slopes = pulled(subject.call)(point[0], given["x"], valid, starts, start, weight, zeros)

        want = by_reference(config, *point, starts, valid)
        assert error(np.asarray(y)[valid], np.concatenate(want)) < TOLERANCE["float64"]
        ones = np.ones((B, PREFIX), bool)
        whole = (np.concatenate(pair, axis=1) for pair in ((~ones, starts), (ones, valid)))
        want = by_reference(config, point[0], np.concatenate([given["prefix"], given["x"]], axis=1), nothing, *whole)
        assert error(np.asarray(y)[valid], np.concatenate([row[PREFIX:] for row in want])) < TOLERANCE["float64"]

        for part, what in enumerate(("parameters", "inputs", "state")):
            slope = jax.tree.leaves(slopes[part])
            along = [rng.standard_normal(leaf.shape) for leaf in slope]

            def value(eps: float, part: int = part, along: Any = along) -> float:
                at = list(point)
                at[part] = with_floats(at[part], [a + eps * d for a, d in zip(floats(at[part]), along, strict=True)])
                rows = by_reference(config, *at, starts, valid)
                return float(np.vdot(np.concatenate(rows), weight[valid]))

            want = (value(EPS) - value(-EPS)) / (2 * EPS)
            got = sum(float(np.vdot(a, d)) for a, d in zip(slope, along, strict=True))
            assert abs(got - want) < 1e-6 * abs(want), what


@pytest.mark.slow
def test_rwkv7_is_its_authors_model() -> None:
    """A whole small model against the author's formulation, logits and slopes, over documents: catches a value residual
    that takes another layer's values or document, a channel mix that sees over a border, and a norm left out. Then the
    same in steps, and by the scan of deep models."""
    with precision("float64"):
        mixer = configs.RWKV7Config(n_head=2, decay_rank=3, a_rank=5, v_rank=2, gate_rank=4)
        config = dataclasses.replace(
            rwkv(mixer, n_layer=3, hidden_size=12, width=2.0, gated=False), vocab_size=13, dtype="float64"
        )
        model = subjects.moved(LanguageModel.init(config, jax.random.key(0)), "float64")
        rng = np.random.default_rng(12)
        ids, dy = rng.integers(13, size=(1, T), dtype=np.int32), rng.standard_normal((1, T, 13))
        starts = np.zeros((1, T), bool)
        starts[0, 9] = starts[0, 10] = True
        given, begins = jax.numpy.asarray(ids), jax.numpy.asarray(starts)

        def want(model: Any) -> np.ndarray:
            weights = {"model": named(model, "blocks")}
            for layer, block in enumerate(model.blocks):
                parts = {"time": block.mixer, "channel": block.channel_mixer}
                weights |= {f"{layer}.{name}": named(part) for name, part in parts.items()}
                weights[f"{layer}.norms"] = named(block, "mixer", "channel_mixer")
            return reference.rwkv_model(weights, ids[0], np.cumsum(starts[0]), 2)

        def slopes(model: Any) -> Any:
            logits, pull = jax.vjp(lambda model: model(given, None, begins).logits, model)
            return logits, pull(dy)[0]

        logits, slope = jit(slopes)(model)
        assert error(np.asarray(logits[0]), want(model)) < TOLERANCE["float64"]
        along = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), model)
        up, down = (
            float(np.vdot(want(jax.tree.map(lambda w, d, s=s: w + s * EPS * d, model, along)), dy)) for s in (1, -1)
        )
        got = sum(float(np.vdot(*pair)) for pair in zip(jax.tree.leaves(slope), jax.tree.leaves(along), strict=True))
        assert abs(got - (up - down) / (2 * EPS)) < 1e-6 * abs(got)

        state = model.init_state(1, T)
        step = jit(lambda model, ids, state, starts: model.step(ids, state, None, starts))
        for t in range(T):
            one, state = step(model, given[:, t], state, begins[:, t])
            assert error(np.asarray(one), np.asarray(logits[:, t])) < TOLERANCE["float64"]
        context = Context(count_tokens(ids.shape, None, begins, None, None)[0])

        def both(model: Any) -> Any:
            x = model._embed(given, context.tokens.position)
            return model._scan(x, context)[0], model._run_blocks(x, context, model.blocks, 0)[0]

        assert error(*map(np.asarray, jit(both)(model))) < TOLERANCE["float64"]


def scan_inputs(dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, TokenLayout]:
    """Step sizes so mixed that one token keeps 0.9999 of a channel and the next 1e-6."""
    rng = np.random.default_rng(7)
    e, n = 7, 5
    A = -np.exp(rng.standard_normal((n, e)))
    keep = rng.choice([0.9999, 0.9, 1e-6], size=(B, T, e))
    dt = -np.log(keep) / np.abs(A).mean()
    parts = [rng.standard_normal((B, T, e)), dt, A, rng.standard_normal((B, T, n)), rng.standard_normal((B, T, n))]
    h = rng.standard_normal((B, n, e))
    starts = np.zeros((B, T), bool)
    starts[1, 12] = starts[2, 9] = starts[2, 10] = True
    zeros = np.zeros((B, T), np.int32)
    return [p.astype(dtype) for p in parts], h.astype(dtype), starts, TokenLayout(None, starts, zeros, zeros)


def stepped(x: Any, dt: Any, A: Any, B: Any, C: Any, h: Any, tokens: TokenLayout) -> Any:
    """T steps in the form of one call."""
    outputs = []
    for t in range(x.shape[1]):
        at = jax.tree.map(lambda field, t=t: field[:, t], tokens)
        y, h = scan_op.step(x[:, t], dt[:, t], A, B[:, t], C[:, t], h, at)
        outputs.append(y)
    return jax.numpy.stack(outputs, 1), h


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("form", [scan_op.chunked, scan_op.recurrent, stepped], ids=["chunked", "recurrent", "step"])
def test_the_selective_scan_with_extreme_steps(form: Callable[..., Any], dtype: str) -> None:
    """Catches a form that loses digits, overflows or divides by a decay where step sizes are very large and very
    small."""
    with precision(dtype):
        parts, h, starts, tokens = scan_inputs(dtype)
        y, after = jit(form)(*parts, h, tokens)
    wide = [p.astype(np.float64) for p in parts]
    for b in range(B):
        row = (wide[0][b], wide[1][b], wide[2].T, wide[3][b], wide[4][b])
        want, end = reference.selective_scan(*row, np.cumsum(starts[b]), h[b].astype(np.float64).T)
        assert error(np.asarray(y[b]), want) < TOLERANCE[dtype]
        assert error(np.asarray(after[b]), end.T) < TOLERANCE[dtype]


@pytest.mark.parametrize("form", [scan_op.chunked, scan_op.recurrent], ids=["chunked", "recurrent"])
def test_the_selective_scans_slopes_with_extreme_steps(form: Callable[..., Any]) -> None:
    """Every gradient, at step sizes where a careless backward pass gives NaN (0 * inf) or loses the small ones."""
    rng = np.random.default_rng(8)
    with precision("float64"):
        parts, h, starts, tokens = scan_inputs("float64")
        point = [*parts, h]
        dy, dh = rng.standard_normal(parts[0].shape), rng.standard_normal(h.shape)

        def pull(*point: Any) -> Any:
            return jax.vjp(lambda *point: form(*point, tokens), *point)[1]((dy, dh))

        slopes = jit(pull)(*point)
    for place, slope in enumerate(slopes):
        along = rng.standard_normal(slope.shape)

        def value(eps: float, place: int = place, along: np.ndarray = along) -> float:
            x, dt, A, B_, C, h = (p + eps * along if i == place else p for i, p in enumerate(point))
            total = 0.0
            for b in range(B):
                y, end = reference.selective_scan(x[b], dt[b], A.T, B_[b], C[b], np.cumsum(starts[b]), h[b].T)
                total += float(np.vdot(y, dy[b]) + np.vdot(end.T, dh[b]))
            return total

        want = (value(EPS) - value(-EPS)) / (2 * EPS)
        assert abs(float(np.vdot(slope, along)) - want) < 1e-6 * abs(want)


class Case(NamedTuple):
    """A call of an operation with a matrix state. `decay`: none, one a head or one a key. `beta`, for the delta rule:
    all keys of a head are one unit vector and every write has this strength; None: unit keys and strengths at random.
    `masks`: with padding and documents, or with neither."""

    length: int
    decay: Literal["none", "head", "key"]
    heads: int
    groups: int
    beta: float | None = None
    masks: bool = True


BONUS = np.array([[0.7, -0.3, 1.2, 0.1], [-1.1, 0.4, 0.2, 0.9]])


def with_bonus(form: Callable[..., Any]) -> Callable[..., Any]:
    """RWKV-6's form of linear attention."""
    return lambda *parts: form(*parts, jax.numpy.asarray(BONUS, parts[0].dtype))


bonus_op = SimpleNamespace(
    **{name: with_bonus(getattr(linear_attention, name)) for name in ("step", "recurrent", "chunked")}
)
dplr_op = SimpleNamespace(
    step=delta_rule.dplr_step, recurrent=delta_rule.dplr_recurrent, chunked=delta_rule.dplr_chunked
)
MEMORIES: dict[str, tuple[Any, Case]] = {
    "linear 1 head": (linear_attention, Case(1, "head", 4, 2)),
    "linear 31 none": (linear_attention, Case(31, "none", 3, 1)),
    "linear 32 key plain": (linear_attention, Case(32, "key", 3, 3, masks=False)),
    "linear 33 head": (linear_attention, Case(33, "head", 2, 2)),
    "linear 77 head": (linear_attention, Case(77, "head", 4, 2)),
    "linear 77 key": (linear_attention, Case(77, "key", 2, 2)),
    "delta 1 key": (delta_rule, Case(1, "key", 2, 2)),
    "delta 31 none": (delta_rule, Case(31, "none", 4, 2)),
    "delta 32 none repeated 1.9 plain": (delta_rule, Case(32, "none", 3, 1, beta=1.9, masks=False)),
    "delta 33 head": (delta_rule, Case(33, "head", 4, 2)),
    "delta 33 none repeated 0.5": (delta_rule, Case(33, "none", 2, 2, beta=0.5)),
    "delta 77 none repeated 0.9": (delta_rule, Case(77, "none", 2, 1, beta=0.9)),
    "delta 77 head repeated 1.9": (delta_rule, Case(77, "head", 2, 1, beta=1.9)),
    "delta 77 key": (delta_rule, Case(77, "key", 2, 2)),
    "bonus 77 key": (bonus_op, Case(77, "key", 2, 2)),
    "dplr 77 key": (dplr_op, Case(77, "key", 2, 2)),
}


def recurrence(op: Any) -> Callable[..., Any]:
    if op is bonus_op:
        return functools.partial(reference.bonus_recurrence, bonus=BONUS)
    if op is dplr_op:
        return reference.dplr_recurrence
    return reference.delta_recurrence if op is delta_rule else reference.linear_recurrence


def memory_inputs(name: str, dtype: str) -> tuple[list[np.ndarray | None], np.ndarray, np.ndarray, TokenLayout]:
    """The operation's arrays up to the state, both masks, and its tokens. Row 0 is one text; row 1 has holes and
    documents in its middle; row 2 begins a document and another one near its end. A start at a hole does not count."""
    op, case = MEMORIES[name]
    rng = np.random.default_rng(9)
    t, size_k, size_v = case.length, 4, 3
    q, k = rng.standard_normal((2, B, t, case.groups, size_k))
    if op is delta_rule:
        k = k if case.beta is None else k[:, :1] + np.zeros_like(k)
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    beta = rng.uniform(0, 2, (B, t, case.heads)) if case.beta is None else np.full((B, t, case.heads), case.beta)
    size = {"none": 0, "head": 1, "key": size_k}[case.decay]
    choices = [np.log(0.9999), np.log(0.9), np.log(1e-6), -1e5]  # the last: nothing is left
    log_decay = rng.choice(choices, size=(B, t, case.heads, size), p=[0.6, 0.2, 0.1, 0.1])
    parts = [q, k, rng.standard_normal((B, t, case.heads, size_v)), *([beta] if op is delta_rule else [])]
    if op is dplr_op:
        a = k / np.linalg.norm(k, axis=-1, keepdims=True)
        parts += [a, -rng.uniform(0, 1, a.shape) * a]
    parts += [log_decay if size else None, rng.standard_normal((B, case.heads, size_k, size_v))]
    valid = rng.random((B, t)) < 0.8
    starts = rng.random((B, t)) < 0.3
    starts &= ~valid
    valid[0], starts[0] = True, False
    if t > 1:
        begin = [(1, t // 3), (1, t // 3 + 1), (1, t // 2), (2, 0), (2, t - 3)]
        for place in begin:
            valid[place] = starts[place] = True
    else:
        valid[1:, 0], starts[1:, 0] = (True, False), True
    zeros = np.zeros((B, t), np.int32)
    tokens = TokenLayout(valid, starts, zeros, zeros)
    if not case.masks:
        valid, starts, tokens = np.ones_like(valid), np.zeros_like(starts), TokenLayout(None, None, zeros, zeros)
    return [None if part is None else part.astype(dtype) for part in parts], valid, starts, tokens


def remembered(name: str, parts: list[Any], valid: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs (zero at invalid tokens) and the states after, by the paper's recurrence."""
    op, case = MEMORIES[name]
    *inputs, log_decay, state = (None if part is None else part.astype(np.float64) for part in parts)
    decay = np.ones((B, case.length, case.heads, 1)) if log_decay is None else np.exp(log_decay)
    y, after = np.zeros_like(inputs[2]), np.zeros_like(state)
    for b in range(B):
        real, begins = valid[b], starts[b][valid[b]]
        S = np.zeros_like(state[b]) if begins[:1].any() else state[b]
        row = (a[b][real] for a in (*inputs, decay))
        y[b][real], after[b] = recurrence(op)(*row, np.cumsum(begins), S)
    return y, after


def by_steps(op: Any, parts: list[Any], tokens: TokenLayout) -> tuple[np.ndarray, np.ndarray]:
    """T steps in the form of one call; the step is compiled once."""
    step, (*inputs, state), outputs = jit(op.step), parts, []
    for t in range(inputs[0].shape[1]):
        given, at = jax.tree.map(lambda a, t=t: a[:, t], (inputs, tokens))
        y, state = step(*given, state, at)
        outputs.append(np.asarray(y))
    return np.stack(outputs, 1), np.asarray(state)


@pytest.mark.parametrize(
    ("form", "dtype"),
    [("chunked", "float64"), ("chunked", "float32"), ("recurrent", "float64"), ("step", "float64")],
)
@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.slow
def test_a_matrix_memory_with_extreme_decays_and_repeated_keys(name: str, form: str, dtype: str) -> None:
    """Outputs and final states. Catches a chunk that divides by a decay or subtracts sums of log-decays, one that
    inverts I + A by a power series (it loses every digit when keys repeat), a token's own decay counted twice or not at
    all, a chunk's end off by one, heads with the wrong group's keys, and a start at padding that clears the state."""
    op, _ = MEMORIES[name]
    with precision(dtype):
        parts, valid, starts, tokens = memory_inputs(name, dtype)
        y, after = by_steps(op, parts, tokens) if form == "step" else jit(getattr(op, form))(*parts, tokens)
    want, end = remembered(name, parts, valid, starts)
    assert np.isfinite(y).all()
    assert error(np.asarray(y)[valid], want[valid]) < TOLERANCE[dtype]
    assert error(np.asarray(after), end) < TOLERANCE[dtype]


@pytest.mark.parametrize("form", ["chunked", "recurrent"])
@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.slow
def test_a_matrix_memorys_slopes_with_extreme_decays_and_repeated_keys(name: str, form: str) -> None:
    """Every gradient against central differences of the recurrence. Catches a backward pass that gives NaN (0 * inf)
    at masked pairs, loses the small decays, or leaks into invalid tokens and other documents."""
    op, _ = MEMORIES[name]
    rng = np.random.default_rng(10)
    with precision("float64"):
        parts, valid, starts, tokens = memory_inputs(name, "float64")
        places = [i for i, part in enumerate(parts) if part is not None]
        dy, dS = rng.standard_normal(parts[2].shape) * valid[..., None, None], rng.standard_normal(parts[-1].shape)

        def pull(parts: Any, tokens: TokenLayout) -> Any:
            return jax.vjp(lambda parts: getattr(op, form)(*parts, tokens), parts)[1]((dy, dS))[0]

        slopes = jit(pull)(parts, tokens)
    for place in places:
        along = rng.standard_normal(parts[place].shape)

        def value(eps: float, place: int = place, along: np.ndarray = along) -> float:
            at = [part + eps * along if i == place else part for i, part in enumerate(parts)]
            y, after = remembered(name, at, valid, starts)
            return float(np.vdot(y, dy) + np.vdot(after, dS))

        want = (value(EPS) - value(-EPS)) / (2 * EPS)
        assert abs(float(np.vdot(slopes[place], along)) - want) < 1e-6 * abs(want), place
