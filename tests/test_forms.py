"""Which form of an op a program has: by its platform and by what the form can do; without forms it is XLA's alone."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linearnexus.core import forms
from linearnexus.core.errors import UserError
from linearnexus.core.forms import Capabilities, forward_mode, register, unregister, xla_form, xla_forms
from linearnexus.core.layers import linear, linear_parts, unembed
from linearnexus.core.tokens import TokenLayout, count_tokens
from linearnexus.core.tuning import CPU, TABLES, ScanTuning
from linearnexus.ops import delta_rule, linear_attention, selective_scan, short_conv, softmax_attention
from linearnexus.ops.kv_cache import Cache

ROOT = Path(__file__).resolve().parents[1]
B, T, H, K, V = 2, 5, 4, 3, 6
TOKENS = count_tokens((B, T), None, None, None, None)[0]
ONE = jax.tree.map(lambda field: field[:, 0], TOKENS)
RNG = np.random.default_rng(0)


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


STATE = draw(B, H, K, V)
CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "layers.linear": (linear, (draw(B, K), draw(K, V), draw(V))),
    "layers.linear_parts": (linear_parts, (draw(B, K), draw(K, 2, V))),
    "layers.unembed": (unembed, (draw(B, K), draw(V, K))),
    "delta_rule.step": (
        delta_rule.step,
        (draw(B, H, K), draw(B, H, K), draw(B, H, V), draw(B, H), draw(B, H, 1), STATE, ONE),
    ),
    "delta_rule.chunked": (
        delta_rule.chunked,
        (draw(B, T, H, K), draw(B, T, H, K), draw(B, T, H, V), draw(B, T, H), None, STATE, TOKENS),
    ),
    "delta_rule.dplr_step": (
        delta_rule.dplr_step,
        (draw(B, H, K), draw(B, H, K), draw(B, H, V), *(draw(B, H, K) for _ in range(3)), STATE, ONE),
    ),
    "delta_rule.dplr_chunked": (
        delta_rule.dplr_chunked,
        (draw(B, T, H, K), draw(B, T, H, K), draw(B, T, H, V), *(draw(B, T, H, K) for _ in range(3)), STATE, TOKENS),
    ),
    "linear_attention.step": (
        linear_attention.step,
        (draw(B, H, K), draw(B, H, K), draw(B, H, V), None, STATE, ONE, draw(H, K)),
    ),
    "linear_attention.chunked": (
        linear_attention.chunked,
        (draw(B, T, H, K), draw(B, T, H, K), draw(B, T, H, V), -abs(draw(B, T, H, K)), STATE, TOKENS),
    ),
    "selective_scan.step": (
        selective_scan.step,
        (draw(B, V), draw(B, V), draw(K, V), draw(B, K), draw(B, K), draw(B, K, V), ONE),
    ),
    "selective_scan.chunked": (
        selective_scan.chunked,
        (draw(B, T, V), draw(B, T, V), draw(K, V), draw(B, T, K), draw(B, T, K), draw(B, K, V), TOKENS),
    ),
    "short_conv.call": (short_conv.short_conv, (draw(B, T, V), draw(3, V), draw(B, 2, V), TOKENS)),
    "short_conv.step": (short_conv.short_conv_step, (draw(B, V), draw(3, V), draw(B, 2, V), ONE)),
    "softmax_attention.causal": (
        softmax_attention.causal_attention,
        (draw(B, T, H, K), draw(B, T, 2, K), draw(B, T, 2, V), TOKENS),
    ),
    "softmax_attention.extend": (
        softmax_attention.extend_attention,
        (draw(B, T, H, K), draw(B, T, 2, K), draw(B, T, 2, K), Cache.init(B, 2, 9, K, jnp.float32), TOKENS, None),
    ),
    "softmax_attention.step": (
        softmax_attention.step_attention,
        (draw(B, H, K), draw(B, 2, K), draw(B, 2, K), Cache.init(B, 2, 9, K, jnp.float32), ONE, None),
    ),
}


class Counted:
    """A form of `selective_scan.step` in NumPy, which counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def host(self, x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any) -> Any:
        self.calls += 1
        x, dt, A, B, C, state = map(np.asarray, (x, dt, A, B, C, state))
        state = np.exp(dt[:, None, :] * A[None]) * state + (dt * x)[:, None, :] * B[:, :, None]
        return np.sum(state * C[:, :, None], axis=1), state

    def __call__(self, x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any, tokens: TokenLayout) -> Any:
        like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, state)]
        return tuple(jax.pure_callback(self.host, like, x, dt, A, B, C, state))


SCAN, INPUTS = CALLS["selective_scan.step"]


def all_valid(*args: Any, **kwargs: Any) -> bool:
    return args[-1].valid is None and args[-1].starts is None


@pytest.fixture
def counted() -> Iterator[Counted]:
    form = Counted()
    register(
        SCAN, platform="cpu", form=form, can=Capabilities(sizes=all_valid, note="all tokens valid"), name="counted"
    )
    yield form
    unregister(SCAN, "cpu", "counted")


def scan(*changed: Any) -> Any:
    """The op of its first arguments, the others as they are."""
    return SCAN(*changed, *INPUTS[len(changed) :])


def close(got: Any, want: Any) -> None:
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_every_op_is_called_here() -> None:
    assert set(CALLS) == set(forms.OPS)


@pytest.mark.parametrize("name", CALLS)
def test_without_forms_an_op_is_its_xla_form(name: str) -> None:
    """Catches an operation, a call or a branch that the choice leaves in a program."""
    op, args = CALLS[name]
    assert str(jax.make_jaxpr(op)(*args)) == str(jax.make_jaxpr(xla_form(op))(*args))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if "chunked" in name or "extend" in name else ()) for name in CALLS],
)
def test_every_op_takes_a_form(name: str) -> None:
    """Through every kind of argument: None, settings, caches, tokens. The XLA form itself stands in for a form, which
    is recognised by an operation."""
    op, args = CALLS[name]
    form = jax.named_call(lambda *args, **kwargs: jax.lax.optimization_barrier(xla_form(op)(*args, **kwargs)))
    register(op, platform="cpu", form=form, can=Capabilities(), name="a copy")
    try:
        close(jax.jit(lambda: op(*args))(), xla_form(op)(*args))
        floats = [i for i, a in enumerate(args) if hasattr(a, "dtype")]

        def of_floats(op: Any) -> Any:
            def total(*some: Any) -> Any:
                given = dict(zip(floats, some, strict=True))
                out = op(*(given.get(i, a) for i, a in enumerate(args)))
                return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(out))

            return jax.jit(jax.grad(total, tuple(range(len(floats)))))(*(args[i] for i in floats))

        close(of_floats(op), of_floats(xla_form(op)))
    finally:
        unregister(op, "cpu", "a copy")


def test_a_form_is_taken_in_a_program_for_its_platform(counted: Counted) -> None:
    close(jax.jit(scan)(), xla_form(SCAN)(*INPUTS))
    assert counted.calls == 1
    close(scan(), xla_form(SCAN)(*INPUTS))
    close(jax.lax.scan(lambda state, _: (SCAN(*INPUTS[:5], state, ONE)[1], None), INPUTS[5], length=3), _three())
    assert counted.calls == 5


def _three() -> Any:
    state = INPUTS[5]
    for _ in range(3):
        _, state = xla_form(SCAN)(*INPUTS[:5], state, ONE)
    return state, None


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_platform_lowered_for_decides(counted: Counted, platform: str) -> None:
    """Compiled here for a chip that is not here: the XLA form. Catches a choice by the default platform."""
    program = jax.export.export(jax.jit(scan), platforms=[platform])(*INPUTS[:2]).mlir_module()
    assert "callback" not in program and "exponential" in program
    assert "callback" in jax.jit(scan).lower(*INPUTS[:2]).as_text()
    assert counted.calls == 0


def test_a_form_of_another_platform_is_not_taken_here() -> None:
    form = lambda x, *rest: jax.tree.map(jnp.cos, xla_form(SCAN)(x, *rest))  # noqa: E731
    register(SCAN, platform="tpu", form=form, can=Capabilities(), name="for a TPU")
    try:
        close(jax.jit(scan)(), xla_form(SCAN)(*INPUTS))
        programs = [
            jax.export.export(jax.jit(scan), platforms=[one])(*INPUTS[:1]).mlir_module() for one in ("tpu", "cuda")
        ]
        assert ["cosine" in program for program in programs] == [True, False]
    finally:
        unregister(SCAN, "tpu", "for a TPU")


@pytest.mark.parametrize(
    "inputs",
    [
        [a.astype(jnp.bfloat16) if hasattr(a, "dtype") else a for a in INPUTS],
        [*INPUTS[:-1], dataclasses.replace(ONE, valid=jnp.array([True, False]))],
    ],
    ids=["dtype", "sizes"],
)
def test_other_dtypes_and_sizes_are_the_xla_form(counted: Counted, inputs: list[Any]) -> None:
    """The program has nothing more in it either."""
    arrays, tree = jax.tree.flatten(inputs)

    def of(op: Any) -> str:
        return str(jax.make_jaxpr(lambda *arrays: op(*jax.tree.unflatten(tree, arrays)))(*arrays))

    assert of(SCAN) == of(xla_form(SCAN))


def test_float64_is_the_xla_form(counted: Counted) -> None:
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a), "float64") for a in INPUTS[:-1]]
        y, _ = jax.jit(lambda: SCAN(*wide, ONE))()
    assert y.dtype == "float64" and counted.calls == 0


@pytest.mark.slow
def test_derivatives_are_the_xla_forms(counted: Counted) -> None:
    """Backwards, forwards, forwards through backwards, in and around compiled functions, and of some arguments only."""

    def loss(op: Any) -> Any:
        def run(x: Any, state: Any) -> Any:
            y, after = jax.jit(op)(x, *INPUTS[1:5], state, ONE)
            return jnp.sum(y**2) + jnp.sum(after**3)

        return run

    x, state = INPUTS[0], INPUTS[5]
    ways = (
        lambda f: jax.grad(f, (0, 1))(x, state),
        lambda f: jax.jit(jax.grad(f))(x, state),
        lambda f: jax.jvp(f, (x, state), (x, state)),
        lambda f: jax.jvp(jax.grad(f), (x, state), (state[:, 0], state)),
        lambda f: jax.grad(lambda x: jax.checkpoint(f)(x, state))(x),
        lambda f: jax.vmap(jax.grad(f), (0, None))(jnp.stack([x, 2 * x]), state),
        lambda f: jax.grad(lambda x: jnp.sum(jax.vmap(f, (None, 0))(x, jnp.stack([state, state]))))(x),
    )
    for way in ways:
        close(way(loss(SCAN)), way(loss(xla_form(SCAN))))
    assert counted.calls == 0


def test_vmap_is_the_xla_form(counted: Counted) -> None:
    two = jnp.stack([INPUTS[0], 2 * INPUTS[0]])
    close(jax.jit(jax.vmap(scan))(two), jax.vmap(lambda x: xla_form(SCAN)(x, *INPUTS[1:]))(two))
    assert counted.calls == 0


@pytest.mark.slow
def test_a_form_with_gradients_and_vmap_keeps_them() -> None:
    """Its own backward pass is used, which doubles here. Inside `forward_mode` it is left out, for it has no jvp."""

    @jax.custom_vjp
    def form(x: Any, *rest: Any) -> Any:
        return xla_form(SCAN)(x, *rest)

    form.defvjp(
        lambda x, *rest: jax.vjp(lambda x: xla_form(SCAN)(x, *rest), x),
        lambda pull, dy: (2 * pull(dy)[0], *[None] * 6),
    )
    register(SCAN, platform="cpu", form=form, can=Capabilities(gradients=True, vmap=True), name="doubled")
    try:

        def total(x: Any) -> Any:
            return jnp.sum(scan(x)[0])

        def plain(x: Any) -> Any:
            return jnp.sum(xla_form(SCAN)(x, *INPUTS[1:])[0])

        x = INPUTS[0]
        close(jax.jit(jax.grad(total))(x), 2 * jax.grad(plain)(x))
        close(jax.vmap(jax.grad(total))(x[None]), 2 * jax.grad(plain)(x)[None])
        with forward_mode():
            close(jax.jvp(total, (x,), (x,)), jax.jvp(plain, (x,), (x,)))
            close(jax.jvp(jax.grad(total), (x,), (x,)), jax.jvp(jax.grad(plain), (x,), (x,)))
        close(jax.jit(jax.grad(total))(x), 2 * jax.grad(plain)(x))
    finally:
        unregister(SCAN, "cpu", "doubled")


def test_forms_are_turned_off(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable, and inside `xla_forms`, for functions that JAX has traced before too."""
    compiled = jax.jit(scan)
    compiled()
    with xla_forms():
        compiled()
    assert counted.calls == 1
    compiled()
    assert counted.calls == 2
    monkeypatch.setenv(forms.VARIABLE, "xla")
    jax.jit(lambda: scan())()
    assert counted.calls == 2


def test_a_form_counts_from_when_it_is_registered() -> None:
    """Catches a compiled function that keeps the form which it was traced with."""
    compiled, form = jax.jit(scan), Counted()
    compiled()
    register(SCAN, platform="cpu", form=form, can=Capabilities(), name="late")
    compiled()
    assert form.calls == 1
    register(SCAN, platform="cpu", form=form, can=Capabilities(missing=lambda: "it is not built"), name="late")
    compiled()
    unregister(SCAN, "cpu", "late")
    compiled()
    assert form.calls == 1 and "cpu" not in SCAN.op.forms


DEVICES = """
import jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from linearnexus.core.forms import Capabilities, register
from linearnexus.core.layers import linear

calls = []
def host(x, w):
    calls.append(x.shape)
    return x @ w
def form(x, w, bias):
    return jax.pure_callback(host, jax.ShapeDtypeStruct((*x.shape[:-1], w.shape[1]), x.dtype), x, w)

def taken(mesh, x, **can):
    register(linear, platform="cpu", form=form, can=Capabilities(**can), name="host")
    calls.clear()
    f = jax.jit(lambda x, w: linear(x, w))
    y = f(x, jnp.ones((4, 3)))
    assert (y == 4).all()
    return len(calls)

x = jnp.ones((8, 4))
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    split = jax.device_put(x, NamedSharding(mesh, P("data")))
    print(taken(None, x), taken(mesh, split) if kind == AxisType.Auto else 0)
    with jax.set_mesh(mesh):
        print(taken(mesh, split))
        register(linear, platform="cpu", form=form, can=Capabilities(), name="host")
        calls.clear()
        inside = jax.shard_map(lambda x: linear(x, jnp.ones((4, 3))), in_specs=P("data"), out_specs=P("data"))
        assert (jax.jit(inside)(split) == 4).all()
        print(len(calls))
"""


def test_several_devices_are_the_xla_form() -> None:
    """Whether the mesh is known while tracing, also inside `shard_map`, or the arguments alone are spread."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DEVICES], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == ["1 0", "0", "0"] * 2, done.stdout


def test_each_platform_has_its_own_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """With other constants for a TPU, the program compiled for this CPU has the CPU's alone, and the one for a TPU has
    the TPU's; with the same ones nothing is traced twice."""
    op, inputs = CALLS["selective_scan.chunked"]

    def loss(op: Any) -> Any:
        return lambda x: jnp.sum(op(x, *inputs[1:])[0] ** 2)

    program = jax.jit(jax.grad(loss(op)))
    want, traced = program(inputs[0]), str(jax.make_jaxpr(program)(inputs[0]))
    assert "platform_index" not in traced
    monkeypatch.setitem(TABLES, "tpu", dataclasses.replace(CPU, selective_scan=ScanTuning(chunk=4)))
    program = jax.jit(jax.grad(loss(op)))
    close(program(inputs[0]), want)
    compiled = program.lower(inputs[0]).compile().as_text()
    assert f"f32[1,8,{B},{V}]" in compiled and f"f32[2,4,{B},{V}]" not in compiled
    assert "conditional" not in compiled
    for platform, size in (("tpu", f"2x4x{B}x{V}"), ("cuda", f"1x8x{B}x{V}")):
        lowered = jax.export.export(jax.jit(lambda x: op(x, *inputs[1:])), platforms=[platform])(inputs[0])
        found = [size for size in (f"1x8x{B}x{V}", f"2x4x{B}x{V}") if f"tensor<{size}xf32>" in lowered.mlir_module()]
        assert found == [size]


def test_mistakes_are_sentences() -> None:
    for wrong, said in (
        (lambda: register(jnp.sin, "cpu", jnp.sin, Capabilities()), "sin is not an op"),
        (lambda: register(SCAN, "gpu", jnp.sin, Capabilities()), "no platform named 'gpu'; give one of: cpu, cuda"),
        (lambda: Capabilities(gradients=True), "must allow vmap too"),
        (lambda: Capabilities(jvp=True, vmap=True), "must have gradients too"),
    ):
        with pytest.raises(UserError, match=said):
            wrong()
    register(SCAN, platform="cpu", form=lambda x, *rest: (x, x), can=Capabilities(), name="wrong")
    try:
        with pytest.raises(UserError, match=r"The form 'wrong' of selective_scan.step gives .*; give the same"):
            scan()
    finally:
        unregister(SCAN, "cpu", "wrong")
