"""The forms of an op: the XLA form, which runs everywhere and is what every other form is tested against, and faster
ones that are registered for a platform with what they can do.

    @op("delta_rule.step")                      the XLA form, in plain JAX
    def step(q, k, v, ...): ...

    register(step, platform="cpu", form=function, can=Capabilities(dtypes=("float32",)))

Which form an op takes follows from the platform that a program is compiled for, never from the default one: a program
for a GPU that is compiled on a CPU has the GPU's form. As long as no form can take a call, and all platforms share one
table of `linearnexus.core.tuning`, the op is its XLA form and the program has nothing more in it.

What a form cannot do, the XLA form does: other dtypes and sizes, `vmap`, several devices, and derivatives. A form
without gradients is called as a `jax.custom_jvp` whose rule differentiates the XLA form, which serves gradients, `jvp`
and one through the other; in a differentiated program the values come from the XLA form too.

Look first at: `Capabilities`, `register`, `_program`.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import mlir

from linearnexus.core.errors import UserError
from linearnexus.core.plugins import run_files
from linearnexus.core.tuning import TABLES

F = TypeVar("F", bound=Callable[..., Any])
VARIABLE = "LINEARNEXUS_FORMS"  # "xla": no form but XLA's; else paths of Python files that register forms
OFF = "xla"


@dataclass(frozen=True)
class Capabilities:
    """What a form can do. The XLA form takes every call that asks for more."""

    dtypes: tuple[str, ...] = ("float32",)  # that the floating-point arrays among the arguments may have
    # called with the op's arguments, says whether the form takes them; it may read shapes, dtypes and settings, never
    # numbers. None: it takes all
    sizes: Callable[..., bool] | None = None
    gradients: bool = False  # does JAX differentiate the form itself? else gradients are the XLA form's
    jvp: bool = False  # forward too? False for a `jax.custom_vjp`
    vmap: bool = False  # may it be called under `vmap`?
    devices: bool = False  # may its arguments be spread over several devices?
    # why the form cannot be used on this machine, such as "there is no C++ compiler"; None: it can
    missing: Callable[[], str | None] = lambda: None
    note: str = ""  # what the sizes are, for people: "1 to 16 rows"

    def __post_init__(self) -> None:
        if self.gradients and not self.vmap:
            raise UserError("A form that has gradients must allow vmap too: JAX cannot replace it under both.")
        if self.jvp and not self.gradients:
            raise UserError("A form with jvp must have gradients too; without them both are the XLA form's.")

    def __str__(self) -> str:
        parts = [", ".join(self.dtypes), *([self.note] if self.note else [])]
        kinds = {"gradients": self.gradients, "jvp": self.jvp, "vmap": self.vmap, "several devices": self.devices}
        parts.append(", ".join(kind for kind, able in kinds.items() if able) or "values alone")
        return "; ".join(parts)


@dataclass(frozen=True)
class Form:
    name: str
    function: Callable[..., Any]
    can: Capabilities


@dataclass(frozen=True, eq=False)
class Op:
    """An op by its name, with its XLA form, the part of the tuning table that it takes ("": none), and the forms
    registered for each platform, those that are tried first in front."""

    name: str
    xla: Callable[..., Any]
    tuned: str
    signature: inspect.Signature
    forms: dict[str, list[Form]] = field(default_factory=dict)

    def tables(self) -> dict[str, Any]:
        """The part of each platform's table."""
        return {platform: getattr(table, self.tuned) for platform, table in TABLES.items()} if self.tuned else {}


OPS: dict[str, Op] = {}
# Both are part of the key under which JAX keeps what it has traced: a program is traced again when they change.
_mode = jax.make_user_context("")  # OFF: no form is taken; "jvp": none that has gradients but no jvp
_changes = jax.make_user_context(0)  # of what is registered
_loaded: set[str] = set()  # values of VARIABLE whose files have been run
_ARRAY = object()  # stands where an array goes


def op(name: str, tuned: str = "") -> Callable[[F], F]:
    """Makes a function the XLA form of an op. `tuned`: the part of the tuning table that is passed to it as `tuning`,
    unless the caller gives it by name."""

    def decorate(xla: F) -> F:
        its = Op(name, xla, tuned, inspect.signature(xla))
        OPS[name] = its

        @functools.wraps(xla)
        def called(*args: Any, **kwargs: Any) -> Any:
            load_forms()
            if "tuning" in kwargs:
                return xla(*args, **kwargs)
            tables = its.tables()
            usual = tables.get("cpu")
            if its.forms or any(table != usual for table in tables.values()):
                return _dispatch(its, tables, args, kwargs)
            return xla(*args, tuning=usual, **kwargs) if tuned else xla(*args, **kwargs)

        called.op = its  # type: ignore[attr-defined]
        return called  # type: ignore[return-value]

    return decorate


def register(
    op: Callable[..., Any], platform: str, form: Callable[..., Any], can: Capabilities, name: str = ""
) -> None:
    """Adds a form of an op, `linearnexus.ops.delta_rule.step` say, for a platform: cpu, cuda, rocm or tpu.

    The form has the XLA form's parameters, without `tuning`, and gives the same shapes and dtypes. Of several forms the
    one that was registered last is asked first; one of the same name is replaced. Raises UserError for what is not an
    op, and for an unknown platform.
    """
    its = getattr(op, "op", None)
    if not isinstance(its, Op):
        raise UserError(f"{getattr(op, '__name__', op)} is not an op; `linearnexus doctor` lists them.")
    if platform not in TABLES:
        raise UserError(f"There is no platform named '{platform}'; give one of: {', '.join(TABLES)}.")
    name = name or getattr(form, "__name__", "a form without a name")
    others = [one for one in its.forms.get(platform, []) if one.name != name]
    its.forms[platform] = [Form(name, form, can), *others]
    _changes.set_global(_changes.value + 1)


def unregister(op: Callable[..., Any], platform: str, name: str) -> None:
    """Takes a form back."""
    forms = op.op.forms  # type: ignore[attr-defined]
    forms[platform] = [one for one in forms[platform] if one.name != name]
    if not forms[platform]:
        del forms[platform]
    _changes.set_global(_changes.value + 1)


def xla_form(op: Callable[..., Any]) -> Callable[..., Any]:
    """An op's XLA form, whatever is registered: a specification is made of it."""
    return op.op.xla  # type: ignore[attr-defined]


@contextlib.contextmanager
def xla_forms() -> Iterator[None]:
    """What is traced inside takes XLA forms only."""
    with _mode(OFF):
        yield


@contextlib.contextmanager
def forward_mode() -> Iterator[None]:
    """What is traced inside may be differentiated forwards, as second derivatives are: a form that has gradients but no
    `jvp` is left out. (A form without gradients needs no such care.)"""
    forms = [form for its in OPS.values() for forms in its.forms.values() for form in forms]
    able = all(form.can.jvp or not form.can.gradients for form in forms)
    with contextlib.nullcontext() if able else _mode("jvp"):
        yield


def load_forms() -> None:
    """Runs the files that LINEARNEXUS_FORMS names, unless they were run before. Raises UserError for an error in
    one."""
    paths = os.environ.get(VARIABLE, "")
    if paths not in _loaded:
        _loaded.add(paths)
        if paths != OFF:
            with jax.ensure_compile_time_eval():  # the first op may be called while a program is being traced
                for _ in run_files(VARIABLE, paths):
                    pass


def refusal(form: Form) -> str | None:
    """Why a form is not taken on this machine, whatever the arguments; None: it is taken where it can be."""
    if os.environ.get(VARIABLE) == OFF:
        return f"{VARIABLE}={OFF} turns it off"
    return form.can.missing()


def _takes(form: Form, arrays: list[Any], bound: inspect.BoundArguments) -> bool:
    """Is a form taken for these arguments?"""
    can = form.can
    floating = (array.dtype for array in arrays if jax.dtypes.issubdtype(array.dtype, np.floating))
    return (
        _mode.value != OFF
        and (can.jvp or not can.gradients or _mode.value != "jvp")
        and refusal(form) is None
        and (can.devices or not _over_several_devices())
        and all(dtype.name in can.dtypes for dtype in floating)
        and (can.sizes is None or can.sizes(*bound.args, **bound.kwargs))
    )


def _dispatch(its: Op, tables: dict[str, Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    """The op for these arguments: its XLA form, or a choice for the program's platform."""
    bound = its.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    bound.arguments.pop("tuning", None)
    leaves, tree = jax.tree.flatten((bound.args, bound.kwargs))
    arrays = [leaf for leaf in leaves if hasattr(leaf, "dtype")]
    chosen = []
    for platform, forms in its.forms.items():
        able = [form for form in forms if _takes(form, arrays, bound)]
        chosen += [(platform, form) for form in able[:1]]
    fixed = tuple(_ARRAY if hasattr(leaf, "dtype") else leaf for leaf in leaves)
    return _program(its, tree, fixed, tuple(chosen), tuple(tables.items()))(*arrays)


@functools.lru_cache(maxsize=1024)
def _program(its: Op, tree: Any, fixed: tuple, chosen: tuple, tables: tuple) -> Callable[..., Any]:
    """The op as a function of its arrays. `tree` and `fixed` hold the rest of its arguments, `chosen` the form of each
    platform that has one, `tables` each platform's part of the tuning table."""

    def of_arrays(function: Callable[..., Any], **more: Any) -> Callable[..., Any]:
        def run(*arrays: Any) -> Any:
            rest = iter(arrays)
            args, kwargs = jax.tree.unflatten(tree, [next(rest) if leaf is _ARRAY else leaf for leaf in fixed])
            return function(*args, **kwargs, **more)

        return run

    if its.tuned:
        by_table = {table: of_arrays(its.xla, tuning=table) for _, table in tables}
        xla = {platform: by_table[table] for platform, table in tables}
        usual = xla["cpu"]
    else:
        usual, xla = of_arrays(its.xla), {}

    def switch(functions: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
        """One function a platform, `usual` for the rest."""
        special = {platform: function for platform, function in functions.items() if function is not usual}
        if not special:
            return usual
        return lambda *arrays: lax.platform_dependent(*arrays, default=usual, **special)

    taken = {
        platform: _guarded(its, form, of_arrays(form.function), xla.get(platform, usual)) for platform, form in chosen
    }
    whole = switch(xla | taken)
    own = {platform: taken[platform] for platform, form in chosen if form.can.gradients}
    if len(own) == len(taken):
        return whole
    differentiated = switch(xla | own)
    called = jax.custom_jvp(whole)

    def rule(primals: tuple, tangents: tuple) -> Any:
        moved = [not isinstance(tangent, SymbolicZero) for tangent in tangents]

        def of_moved(*some: Any) -> Any:
            rest = iter(some)
            return differentiated(*(next(rest) if moves else x for moves, x in zip(moved, primals, strict=True)))

        def only(values: tuple) -> list[Any]:
            return [value for moves, value in zip(moved, values, strict=True) if moves]

        return jax.jvp(of_moved, only(primals), only(tangents))

    called.defjvp(rule, symbolic_zeros=True)
    return called


def _guarded(its: Op, form: Form, function: Callable[..., Any], xla: Callable[..., Any]) -> Callable[..., Any]:
    """A form that leaves to the XLA form what it cannot do, and that says when it gives something else."""

    def checked(*arrays: Any) -> Any:
        got, want = function(*arrays), jax.eval_shape(xla, *arrays)
        kinds = [jax.tree.map(lambda leaf: f"{leaf.dtype.name}{list(leaf.shape)}", out) for out in (got, want)]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"The form '{form.name}' of {its.name} gives {kinds[0]} where the XLA form gives {kinds[1]}; give the "
                "same."
            )
        return got

    one = checked if form.can.vmap else _not_mapped(checked, xla)
    if form.can.devices:
        return one
    return lambda *arrays: lax.cond(_on_one_device.bind(), one, xla, *arrays)


def _not_mapped(function: Callable[..., Any], xla: Callable[..., Any]) -> Callable[..., Any]:
    """The function; under `vmap` the XLA form."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(size: int, batched: list[bool], *arrays: Any) -> Any:
        axes = [0 if one else None for one in batched]
        out = jax.vmap(xla, in_axes=axes, axis_size=size)(*arrays)
        return out, jax.tree.map(lambda _: True, out)

    return mapped


def _over_several_devices() -> bool:
    """Is this traced under a mesh of several devices? (In `shard_map` it is, though a device then has its own part.)"""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1


# Is the program compiled for one device? That is known when it is lowered, so the `cond` that asks is gone from the
# compiled program.
_on_one_device = Primitive("on_one_device")
_on_one_device.def_impl(lambda: True)
_on_one_device.def_abstract_eval(lambda: jax.core.ShapedArray((), np.dtype(bool)))


def _lower_on_one_device(ctx: Any) -> Any:
    return [mlir.ir_constant(np.bool_(getattr(ctx.module_context.axis_context, "num_devices", None) == 1))]


mlir.register_lowering(_on_one_device, _lower_on_one_device)
