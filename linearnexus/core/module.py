"""Modules: frozen dataclasses of arrays that are JAX pytrees, and nothing more.

A module's fields are arrays, other modules, tuples and dicts of these, or None. `jit`, `grad`, `scan`, optax and
safetensors work on it with no adapter. Each array declares its role, because optimizers and weight decay go by role,
never by `ndim`:

    matrix     a weight of a matrix product [in, out], or a stack of them [n, in, out]: decayed, orthogonalised by Muon
    embedding  a table of vectors, or the output head [W, D]: decayed, never by Muon
    vector     everything else (biases, norm scales, convolution taps, A_log, D): never decayed

Beside its role an array names its dimensions (`core.axes`), for whoever shards it:

    wq: Array = matrix("embed", "heads")                [D, H*K]
    up: Array = matrix("expert", "embed", "ffn")        [X, D, F]: a stack of matrices, one an expert
    w_in: Array = matrix("embed", (None, "inner"))      [D, 2, E]: one matrix [D, 2E], of two parts of E columns
    norm: RMSNorm = part(embed="value")                 a module whose "embed" is here the size of a head's value

The last two things named are the rows and the columns of the matrix. A field that names nothing has no named
dimensions, and its last two are its matrix.

Look first at: `module`, `matrix`, `roles`, `axes`.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from linearnexus.core.axes import Axes, Axis, Declared, check_axes
from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.renames import forward, rename_arguments

if TYPE_CHECKING:
    import jax
else:
    jax = LazyPackage("jax")

T = TypeVar("T")


def matrix(*axes: Declared | Callable[[Any], Axes], residual: bool = False, **options: Any) -> Any:
    """A field that holds a matrix [in, out] or a stack of them. `axes`: the name of each dimension, or one function
    from the module to the names where they depend on its config. `residual`: it writes into the residual stream, so
    the model scales its initial value down by the square root of the number of residual branches (GPT-2, section 2.3).
    """
    return _field(axes, {"role": "matrix", "residual": residual}, options)


def table(*axes: Declared | Callable[[Any], Axes], **options: Any) -> Any:
    """A field that holds a table [rows, D]. `axes`: as of a matrix."""
    return _field(axes, {"role": "embedding"}, options)


def vector(*axes: Declared | Callable[[Any], Axes], lr_multiplier: float = 1.0, **options: Any) -> Any:
    """A field that holds any other parameter: it is never decayed. `axes`: as of a matrix. `lr_multiplier`: its
    learning rate over that of the model."""
    options = rename_arguments("vector", {"lr_multiplier": lr_multiplier, **options})
    return _field(axes, {"role": "vector", "lr_multiplier": options.pop("lr_multiplier")}, options)


def part(**renamed: Axis) -> Any:
    """A field that holds a module, some of whose axes have other names here: part(embed="inner") for a norm of E
    channels."""
    check_axes(renamed)
    for name in renamed.values():
        check_axes((name,))
    return dataclasses.field(metadata={"renamed": renamed})


def stack_of(name: Axis) -> Any:
    """A field that holds modules whose arrays are stacked, each with one dimension more in front, of this name."""
    return dataclasses.field(metadata={"stack": check_axes((name,))})


def _field(axes: tuple[Any, ...], metadata: dict[str, Any], options: dict[str, Any]) -> Any:
    if len(axes) == 1 and callable(axes[0]):
        return dataclasses.field(metadata={**metadata, "axes": axes[0]}, **options)
    groups = [group if isinstance(group, tuple) else (group,) for group in axes]
    metadata = {**metadata, "axes": check_axes(name for group in groups for name in group) if axes else None}
    if metadata["role"] == "matrix" and len(groups) >= 2:
        metadata["sizes"] = (len(groups[-2]), len(groups[-1]))
    return dataclasses.field(metadata=metadata, **options)


def static(**options: Any) -> Any:
    """A field that is not an array: part of the tree's structure."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(
    frozen_default=True, field_specifiers=(matrix, table, vector, part, stack_of, static, dataclasses.field)
)
def module(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass and a JAX pytree."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    meta = [field.name for field in fields if field.metadata.get("static")]
    data = [field.name for field in fields if not field.metadata.get("static")]
    return jax.tree_util.register_dataclass(cls, data, meta)


def roles(tree: T) -> T:
    """The same tree with each array replaced by its role, "matrix", "embedding" or "vector"."""
    return _map_fields(tree, lambda field, _: field.metadata["role"])


def axes(tree: T) -> T:
    """The same tree with each array replaced by the names of its dimensions, a tuple of `core.axes.AXES` and None. So
    that the tuples are not taken for parts of the tree, map over the arrays first: `jax.tree.map(f, model,
    axes(model))`. An optimizer's state is such a tree too: what it keeps of a parameter has the parameter's names.

    Raises UserError for a field that names more or fewer dimensions than its array has.
    """
    return _map_fields(tree, lambda field, array: field.axes(array), bare=lambda array: (None,) * len(array.shape))


@dataclasses.dataclass(frozen=True)
class MatrixDims:
    """Which dimensions of an array are the rows and which the columns of its matrix, counted from the last one; those
    before them are a stack of matrices."""

    rows: tuple[int, ...] = (-2,)
    columns: tuple[int, ...] = (-1,)

    def matrix(self, array: Any) -> Any:
        """An array, or the shape of one, as [..., rows, columns]."""
        stack = len(array.shape) - len(self.rows) - len(self.columns)
        sizes = [math.prod(array.shape[dim] for dim in dims) for dims in (self.rows, self.columns)]
        shape = (*array.shape[:stack], *sizes)
        return array.update(shape=shape) if isinstance(array, jax.ShapeDtypeStruct) else array.reshape(shape)

    def axes(self, axes: Axes) -> Axes:
        """The names of the dimensions of `matrix`: None where several make one."""
        stack = len(axes) - len(self.rows) - len(self.columns)
        return axes[:stack] + tuple(axes[dims[0]] if len(dims) == 1 else None for dims in (self.rows, self.columns))


def matrix_dims(tree: T) -> T:
    """The same tree with each array that is a matrix replaced by its MatrixDims; other leaves stay."""
    return _map_fields(tree, lambda field, array: field.dims(array))


def scale_residual(tree: T, factor: float) -> T:
    """Multiplies every matrix declared `residual` by `factor`."""
    return _map_fields(tree, lambda field, array: array * factor if field.metadata.get("residual") else array)


def apply_lr_multipliers(updates: T) -> T:
    """An optimizer's updates of a module, each times the multiplier of its field."""
    return _map_fields(updates, lambda field, array: array * field.metadata.get("lr_multiplier", 1.0))


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their places: blocks.7.mixer.wq."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(keys): leaf for keys, leaf in leaves}


def name_of(keys: Any) -> str:
    """blocks.7.mixer.wq for the path of an array in a tree."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a module, as what `_map_fields` maps sees it."""

    owner: Any
    name: str
    metadata: Mapping[str, Any]
    renamed: Mapping[str, Axis]  # by the modules around
    stack: Axes  # dimensions in front of the declared ones

    def axes(self, array: Any) -> Any:
        """The names of its dimensions; what is not an array (optax masks a parameter with a node of its own) stays."""
        if not hasattr(array, "shape"):
            return array
        declared, ndim = self.metadata["axes"], len(array.shape)
        if declared is None:
            return (None,) * ndim
        names = (*self.stack, *(check_axes(declared(self.owner)) if callable(declared) else declared))
        if len(names) != ndim:
            raise UserError(
                f"{type(self.owner).__name__}.{self.name} names {len(names)} dimensions and has {ndim}; name each one."
            )
        return tuple(None if name is None else self.renamed.get(name, name) for name in names)

    def dims(self, array: Any) -> Any:
        """The dimensions of its matrix; what is not a matrix stays."""
        if self.metadata["role"] != "matrix" or not hasattr(array, "shape"):
            return array
        rows, columns = self.metadata.get("sizes", (1, 1))
        return MatrixDims(tuple(range(-rows - columns, -columns)), tuple(range(-columns, 0)))


def _map_fields(
    tree: Any,
    function: Callable[[_Field, Any], Any],
    renamed: Mapping[str, Axis] = types.MappingProxyType({}),
    bare: Callable[[Any], Any] = lambda array: array,
    stack: Axes = (),
) -> Any:
    """Maps (field, array) over the arrays of modules, and `bare` over those that are no field of one."""
    within = partial(_map_fields, function=function, bare=bare, stack=stack)
    if isinstance(tree, tuple):
        made = (within(item, renamed=renamed) for item in tree)
        return type(tree)(*made) if hasattr(tree, "_fields") else tuple(made)
    if isinstance(tree, dict):
        return {key: within(item, renamed=renamed) for key, item in tree.items()}
    if hasattr(tree, "shape"):
        return bare(tree)
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        return tree
    changed = {}
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if "role" in field.metadata and value is not None:
            changed[field.name] = function(_Field(tree, field.name, field.metadata, renamed, stack), value)
        elif isinstance(value, jax.Array | jax.ShapeDtypeStruct):
            raise UserError(
                f"{type(tree).__name__}.{field.name} is an array without a role; give it matrix(), table() or vector()."
            )
        elif not field.metadata.get("static"):
            own = field.metadata.get("renamed", {})
            inner = {name: None if new is None else renamed.get(new, new) for name, new in own.items()}
            inside = stack + field.metadata.get("stack", ())
            changed[field.name] = within(value, renamed={**renamed, **inner}, stack=inside)
    return dataclasses.replace(tree, **changed)


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
