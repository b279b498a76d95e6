"""Modules: frozen dataclasses of arrays that are JAX pytrees, and nothing more.

A module's fields are arrays, other modules, tuples and dicts of these, or None. `jit`, `grad`, `scan`, optax and
safetensors work on it with no adapter. Each array declares its role, because optimizers and weight decay go by role,
never by `ndim`:

    matrix     a weight of a matrix product [in, out], or a stack of them [n, in, out]: decayed, orthogonalised by Muon
    embedding  a table of vectors, or the output head [W, D]: decayed, never by Muon
    vector     everything else (biases, norm scales, convolution taps, A_log, D): never decayed

Look first at: `module`, `matrix`, `roles`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.renames import forward, rename_arguments

if TYPE_CHECKING:
    import jax
else:
    jax = LazyPackage("jax")

T = TypeVar("T")


def matrix(*, residual: bool = False, **options: Any) -> Any:
    """A field that holds a matrix [in, out] or a stack of them. `residual`: it writes into the residual stream, so the
    model scales its initial value down by the square root of the number of residual branches (GPT-2, section 2.3)."""
    return dataclasses.field(metadata={"role": "matrix", "residual": residual}, **options)


def table(**options: Any) -> Any:
    """A field that holds a table [rows, D]."""
    return dataclasses.field(metadata={"role": "embedding"}, **options)


def vector(*, lr_multiplier: float = 1.0, **options: Any) -> Any:
    """A field that holds any other parameter: it is never decayed. `lr_multiplier`: its learning rate over that of the
    model."""
    options = rename_arguments("vector", {"lr_multiplier": lr_multiplier, **options})
    metadata = {"role": "vector", "lr_multiplier": options.pop("lr_multiplier")}
    return dataclasses.field(metadata=metadata, **options)


def static(**options: Any) -> Any:
    """A field that is not an array: part of the tree's structure."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(matrix, table, vector, static, dataclasses.field))
def module(cls: type[T]) -> type[T]:
    """Makes a class a frozen dataclass and a JAX pytree."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    meta = [field.name for field in fields if field.metadata.get("static")]
    data = [field.name for field in fields if not field.metadata.get("static")]
    return jax.tree_util.register_dataclass(cls, data, meta)


def roles(tree: T) -> T:
    """The same tree with each array replaced by its role, "matrix", "embedding" or "vector"."""
    return _map_fields(tree, lambda metadata, _: metadata["role"])


def scale_residual(tree: T, factor: float) -> T:
    """Multiplies every matrix declared `residual` by `factor`."""
    return _map_fields(tree, lambda metadata, array: array * factor if metadata.get("residual") else array)


def apply_lr_multipliers(updates: T) -> T:
    """An optimizer's updates of a module, each times the multiplier of its field."""
    return _map_fields(updates, lambda metadata, array: array * metadata.get("lr_multiplier", 1.0))


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their places: blocks.7.mixer.wq."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {name_of(keys): leaf for keys, leaf in leaves}


def name_of(keys: Any) -> str:
    """blocks.7.mixer.wq for the path of an array in a tree."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def _map_fields(tree: Any, function: Any) -> Any:
    """Maps (metadata of the field, array) over the arrays of a module."""
    if isinstance(tree, tuple):
        return tuple(_map_fields(item, function) for item in tree)
    if isinstance(tree, dict):
        return {key: _map_fields(item, function) for key, item in tree.items()}
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        return tree
    changed = {}
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if "role" in field.metadata and value is not None:
            changed[field.name] = function(field.metadata, value)
        elif isinstance(value, jax.Array | jax.ShapeDtypeStruct):
            raise UserError(
                f"{type(tree).__name__}.{field.name} is an array without a role; give it matrix(), table() or vector()."
            )
        elif not field.metadata.get("static"):
            changed[field.name] = _map_fields(value, function)
    return dataclasses.replace(tree, **changed)


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
