"""Mixers and operations against the papers' equations (`reference.py`): values in both precisions, gradients by
differences."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from linearnexus.core.tokens import Tokens
from linearnexus.mixers.config import MixerConfig
from linearnexus.mixers.configs import AttentionConfig, MambaConfig
from linearnexus.ops import selective_scan as scan_op
from tests.laws import reference, subjects
from tests.laws.law import TOLERANCE, error, floats, jit, precision, pulled, with_floats

B, T, PREFIX = 3, 23, 8
EPS = 1e-5  # of central differences in float64: both of its errors are then near 1e-10
REFERENCES = (AttentionConfig, MambaConfig)
EXAMPLES = {name: config for name, config in subjects.mixer_examples().items() if isinstance(config, REFERENCES)}


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


def prefixed(subject: Any, dtype: str, prefix: np.ndarray) -> Any:
    """The state after `prefix`."""
    return jax.tree.map(
        np.asarray, jit(subject.call)(subject.params, prefix.astype(dtype), None, None, subject.start(B, PREFIX + T))[1]
    )


def documents(valid: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.cumsum(starts)[valid] - int(starts[valid][0])


def by_reference(
    config: MixerConfig, params: Any, x: np.ndarray, state: Any, starts: np.ndarray, valid: np.ndarray
) -> list[np.ndarray]:
    """The outputs at the valid tokens of each row, by the papers' equations from the product's weights and state."""
    inner, position, index = state
    out = []
    for b in range(len(x)):
        document = documents(valid[b], starts[b])
        fresh = bool(starts[b][valid[b]][0])
        row = x[b][valid[b]]
        if isinstance(config, MambaConfig):
            tail, h = (
                np.zeros_like(inner.tail[b]) if fresh else inner.tail[b],
                np.zeros_like(inner.h[b]) if fresh else inner.h[b],
            )
            out.append(reference.mamba(official(params), row, document, tail, h.T)[0])
        else:
            weights = attention_weights(params)
            slots = inner.k.shape[2]
            last = [] if fresh else [i % slots for i in range(max(0, index[b] - slots), index[b])]
            past = [(inner.k[b, :, slot], inner.v[b, :, slot]) for slot in last]
            shape = (config.n_head, config.kv_heads, config.window, config.rope_theta)
            out.append(
                reference.attention(weights, row, document, past, *shape, position=0 if fresh else int(position[b]))
            )
    return out


def attention_weights(params: Any) -> dict[str, np.ndarray]:
    """The weights that an attention layer has, by name."""
    weights = {name: getattr(params, name) for name in ("wq", "wk", "wv", "wo", "bq", "bk", "bv", "bo")}
    weights |= {name: getattr(params, name).scale for name in ("q_norm", "k_norm") if getattr(params, name) is not None}
    return {name: array for name, array in weights.items() if array is not None}


def official(params: Any) -> dict[str, np.ndarray]:
    """The product's Mamba weights under the official names and in the official layouts."""
    return {
        "in_proj.weight": params.w_in.T,
        "conv1d.weight": params.conv[::-1].T,
        "conv1d.bias": params.conv_bias,
        "x_proj.weight": params.w_select.T,
        "dt_proj.weight": params.w_dt.T,
        "dt_proj.bias": params.dt_bias,
        "A_log": params.A_log.T,
        "D": params.D,
        "out_proj.weight": params.w_out.T,
    }


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_mixer_computes_its_papers_equations(name: str, dtype: str) -> None:
    """Values over documents and padding, from nothing and from the middle of a text. Catches what the law cannot: a
    mistake made alike in a call and in a step (a tap in the wrong order, B and C exchanged, a missing scale, a rotation
    the wrong way)."""
    with precision(dtype):
        subject = subjects.mixer(EXAMPLES[name], dtype)
        given = text(subjects.accepted_width(EXAMPLES[name]))
        start = prefixed(subject, dtype, given["prefix"])
        call = jit(subject.call)
        y, _ = call(subject.params, given["x"].astype(dtype), given["valid"], given["starts"], start)
        wide = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, (subject.params, start))
        want = by_reference(EXAMPLES[name], wide[0], given["x"], wide[1], given["starts"], given["valid"])
        assert error(np.asarray(y)[given["valid"]], np.concatenate(want)) < TOLERANCE[dtype]
        # the prefix itself, from nothing: state by state the same text in one go
        whole = np.concatenate([given["prefix"], given["x"]], axis=1)
        ones = np.ones((B, PREFIX), bool)
        valid = np.concatenate([ones, given["valid"]], axis=1)
        starts = np.concatenate([~ones, given["starts"]], axis=1)
        nothing = jax.tree.map(np.asarray, subject.start(B, PREFIX + T))
        want = by_reference(EXAMPLES[name], wide[0], whole, nothing, starts, valid)
        after = [row[PREFIX:] for row in want]
        assert error(np.asarray(y)[given["valid"]], np.concatenate(after)) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_mixers_gradients_are_the_equations_slopes(name: str) -> None:
    """Autodiff of the product against central differences of the reference, along random directions of the parameters,
    the inputs and the state. Catches a wrong hand-written or rematerialised backward pass."""
    with precision("float64"):
        config = EXAMPLES[name]
        subject = subjects.mixer(config, "float64")
        given = text(subjects.accepted_width(EXAMPLES[name]))
        start = prefixed(subject, "float64", given["prefix"])
        rng = np.random.default_rng(6)
        weight = np.where(given["valid"][..., None], rng.standard_normal(given["x"].shape), 0)
        point = (jax.tree.map(np.asarray, subject.params), given["x"], start)
        zeros = [np.zeros_like(leaf) for leaf in floats(start)]
        y, _, slopes = pulled(subject.call)(point[0], given["x"], given["valid"], given["starts"], start, weight, zeros)
        assert np.isfinite(y).all()
        for part, what in enumerate(("parameters", "inputs", "state")):
            slope = jax.tree.leaves(slopes[part])
            along = [rng.standard_normal(leaf.shape) for leaf in slope]

            def value(eps: float, part: int = part, along: Any = along) -> float:
                at = list(point)
                at[part] = with_floats(at[part], [a + eps * d for a, d in zip(floats(at[part]), along, strict=True)])
                rows = by_reference(config, *at, given["starts"], given["valid"])
                return float(np.vdot(np.concatenate(rows), weight[given["valid"]]))

            want = (value(EPS) - value(-EPS)) / (2 * EPS)
            got = sum(float(np.vdot(a, d)) for a, d in zip(slope, along, strict=True))
            assert abs(got - want) < 1e-6 * abs(want), what


def scan_inputs(dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, Tokens]:
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
    return [p.astype(dtype) for p in parts], h.astype(dtype), starts, Tokens(None, starts, zeros, zeros)


def stepped(x: Any, dt: Any, A: Any, B: Any, C: Any, h: Any, tokens: Tokens) -> Any:
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
