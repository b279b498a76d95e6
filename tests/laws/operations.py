"""The op families at their extremes: `chunked` in both precisions against `recurrent` in float64.

`recurrent` is the specification, and tests/laws/test_reference.py holds it against the papers' equations in NumPy.
Every case has a state that is not zero, and gradients of all inputs and of that state.

Look first at: `CASES`, `measure`.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linearnexus.core.tokens import TokenLayout
from linearnexus.ops import delta_rule, linear_attention, selective_scan
from tests.laws.law import error, jit, precision

B, G, H, K, V, E, N = 2, 2, 4, 6, 5, 7, 3
LENGTHS = (1, 2, 31, 32, 33, 100, 1000, 4097)
CALLS = (1, 2, 3, 5, 8, 13, 31, 32, 33, 64)  # lengths that the hundred calls draw from


@dataclasses.dataclass(frozen=True)
class Case:
    """One drawing of inputs. `valid`, `starts`: the shares of tokens."""

    length: int
    decays: tuple[float, ...] = (0.99, 0.9, 0.5)  # a token draws one of them
    beta: float | None = None  # None: uniform up to 1.9
    same_key: bool = False
    valid: float = 1.0
    starts: float = 0.0
    calls: int = 1


EXTREME = (1e-6, 0.9999)
CASES: dict[str, tuple[Case, ...]] = {
    "T 1 ... 4097": tuple(Case(length) for length in LENGTHS),
    "documents": tuple(Case(length, valid=0.8, starts=0.05) for length in (33, 100, 1000, 4097)),
    "decays 1e-6 and 0.9999": (Case(100, EXTREME), Case(4097, EXTREME), Case(1000, EXTREME, valid=0.8, starts=0.05)),
    "one key": tuple(Case(length, beta=beta, same_key=True) for length in (32, 1000) for beta in (0.5, 0.9, 1.9)),
    "100 calls": (Case(0, calls=100), Case(0, EXTREME, calls=100)),
}


@dataclasses.dataclass(frozen=True)
class Family:
    module: Any
    decay: str  # "none", "head", "key", or "channel"
    kind: str = ""  # "bonus": RWKV-6's, "dplr": RWKV-7's

    @property
    def delta(self) -> bool:
        return self.module is delta_rule and not self.kind

    def draw(self, rng: np.random.Generator, case: Case, length: int) -> list[np.ndarray]:
        """The op's inputs over time, [B, T, ...]; decays as logarithms."""
        if self.decay == "channel":
            keep = rng.choice(case.decays, size=(B, length, E))
            return [rng.standard_normal((B, length, n)) if n else -np.log(keep) for n in (E, 0, N, N)]
        groups = H if self.decay == "key" else G
        q, k = (rng.standard_normal((B, length, groups, K)) for _ in range(2))
        if case.same_key:
            k = np.broadcast_to(k[:, :1, :1], k.shape)
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
        inputs = [q, k, rng.standard_normal((B, length, H, V))]
        if self.delta:
            beta = rng.uniform(0, 1.9, (B, length, H))
            inputs.append(beta if case.beta is None else np.full_like(beta, case.beta))
        if self.kind == "dplr":
            inputs += [k, -rng.uniform(0, 1, k.shape) * k]
        if self.decay != "none":
            inputs.append(np.log(rng.choice(case.decays, size=(B, length, H, K if self.decay == "key" else 1))))
        return inputs

    def state(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((B, N, E) if self.decay == "channel" else (B, H, K, V))

    def form(self, name: str) -> Callable[..., Any]:
        """(inputs, state, valid, starts) -> y, state."""
        function = getattr(self.module, f"dplr_{name}" if self.kind == "dplr" else name)

        def run(inputs: list[Any], state: Any, valid: Any, starts: Any) -> Any:
            zeros = np.zeros(inputs[0].shape[:2], np.int32)
            tokens = TokenLayout(valid, starts, zeros, zeros)
            if self.decay == "channel":
                x, dt, b, c = inputs
                return function(x, dt, -np.ones((N, E), x.dtype), b, c, state, tokens)
            decay = (None,) if self.decay == "none" else ()
            bonus = (np.full((H, K), 0.7, inputs[0].dtype),) if self.kind == "bonus" else ()
            return function(*inputs, *decay, state, tokens, *map(jax.numpy.asarray, bonus))

        return run


FAMILIES = {
    "selective_scan": Family(selective_scan, "channel"),
    "linear_attention": Family(linear_attention, "none"),
    "linear_attention, decay a head": Family(linear_attention, "head"),
    "linear_attention, decay a key": Family(linear_attention, "key"),
    "delta_rule": Family(delta_rule, "none"),
    "delta_rule, decay a head": Family(delta_rule, "head"),
    "linear_attention, decay a key and bonus": Family(linear_attention, "key", "bonus"),
    "delta_rule, decay a key": Family(delta_rule, "key"),
    "delta_rule, diagonal plus rank 1": Family(delta_rule, "key", "dplr"),
}


def measure(name: str, dtype: str) -> tuple[dict[str, tuple[float, float] | None], float]:
    """The largest errors (values and final state; gradients) of a family in each case, and the seconds that it took."""
    begin = time.perf_counter()
    family = FAMILIES[name]
    pull = {form: jit(_pulled(family.form(form))) for form in ("chunked", "recurrent")}
    found: dict[str, tuple[float, float] | None] = {}
    for column, cases in CASES.items():
        if (column == "one key" and not family.delta) or (column.startswith("decays") and family.decay == "none"):
            found[column] = None
            continue
        errors = [_errors(family, pull, case, dtype) for case in cases]
        found[column] = (max(values for values, _ in errors), max(slopes for _, slopes in errors))
    return found, time.perf_counter() - begin


def _pulled(run: Callable[..., Any]) -> Callable[..., Any]:
    def pulled(inputs: Any, state: Any, valid: Any, starts: Any, dy: Any, dstate: Any) -> Any:
        out, pull = jax.vjp(lambda inputs, state: run(inputs, state, valid, starts), inputs, state)
        return out, pull((dy, dstate))

    return pulled


def _errors(family: Family, pull: dict[str, Any], case: Case, dtype: str) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    lengths = [case.length] if case.calls == 1 else [int(n) for n in rng.choice(CALLS, size=case.calls)]
    t = sum(lengths)
    inputs, state = family.draw(rng, case, t), family.state(rng)
    valid = rng.random((B, t)) < case.valid if case.valid < 1 else None
    starts = rng.random((B, t)) < case.starts if case.starts else None
    y_shape = (B, t, E) if family.decay == "channel" else (B, t, H, V)
    dy, dstate = rng.standard_normal(y_shape), rng.standard_normal(state.shape)
    seen = np.ones((B, t), bool) if valid is None else valid
    dy[~seen] = 0
    # both from the same numbers: what float32 does to the inputs is no error of the op
    arrays = [np.asarray(a, dtype) for a in (*inputs, state, dy, dstate)]
    wide = [a.astype(np.float64) for a in arrays]
    with precision("float64"):
        want = pull["recurrent"](wide[:-3], wide[-3], valid, starts, *wide[-2:])
    with precision(dtype):
        got = _in_calls(pull["chunked"], arrays, valid, starts, lengths)
    (y, after), slopes = jax.tree.map(np.asarray, got)
    (want_y, want_after), want_slopes = jax.tree.map(np.asarray, want)
    values = max(error(y[seen], want_y[seen]), error(after, want_after))
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(want_slopes), strict=True)
    return values, max(error(*pair) for pair in pairs)


def _in_calls(pull: Any, arrays: list[np.ndarray], valid: Any, starts: Any, lengths: list[int]) -> Any:
    """One call after another from the state that the last one left; gradients through all of them, last call first."""
    *inputs, state, dy, dstate = arrays
    bounds = list(itertools.pairwise(np.cumsum([0, *lengths])))

    def part(array: Any, begin: int, end: int) -> Any:
        return None if array is None else array[:, begin:end]

    def call(number: int, state: Any, dstate: Any) -> Any:
        at = bounds[number]
        given = ([part(a, *at) for a in inputs], state, part(valid, *at), part(starts, *at), part(dy, *at), dstate)
        return jax.tree.map(np.asarray, pull(*given))

    states, outputs = [state], []
    for number in range(len(lengths)):
        (y, after), _ = call(number, states[-1], dstate)
        outputs.append(y)
        states.append(after)
    slopes: list[Any] = []
    for number in reversed(range(len(lengths))):
        _, (dinputs, dstate) = call(number, states[number], dstate)
        slopes.append(dinputs)
    dinputs = [np.concatenate(parts, axis=1) for parts in zip(*reversed(slopes), strict=True)]
    return (np.concatenate(outputs, axis=1), states[-1]), (dinputs, dstate)
