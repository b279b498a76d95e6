"""The names of parameters' dimensions. What a name means is said here, once.

A field of a module names its dimensions, `matrix("embed", "heads")`, and rules map the names to the axes of a mesh.
Within a mixer every dimension of one name has one size, and "embed" and "vocab" have one size in the whole model;
"rank" alone differs from product to product. A dimension that nothing should be sharded over is None: the taps of a
convolution, parts of different kinds that are stored side by side.

Look first at: `AXES`.
"""

from collections.abc import Iterable

from linearnexus.core.errors import unknown

Axis = str | None
Axes = tuple[Axis, ...]
Declared = Axis | Axes  # a tuple: dimensions of an array that are one dimension of its matrix

# Where heads lie side by side, a shard should hold whole heads.
AXES: dict[str, str] = {
    "vocab": "The tokens: rows of the embedding and of the output head.",
    "position": "The positions that have a learned vector.",
    "embed": "hidden_size: the residual stream, which every layer reads and writes.",
    "ffn": "The channels inside a feed-forward network, and inside each expert of a mixture.",
    "shared_ffn": "The channels inside the expert of a mixture that every token uses.",
    "expert": "The experts of a mixture.",
    "heads": "What all heads put out, side by side (H*V); the queries of attention too, which are as wide.",
    "query_heads": "The queries of all heads, side by side, where they are wider than what the heads put out.",
    "key_heads": "The keys of all heads, side by side, and the queries of a mixer with a matrix memory.",
    "kv_heads": "The keys or values of attention, side by side: fewer heads than have queries, where some share them.",
    "head": "The heads themselves: one number a head.",
    "key": "The size K of one head's key.",
    "value": "The size V of one head's value.",
    "inner": "The channels of a state-space model or a gated convolution.",
    "state": "The slots N of a state-space model's memory.",
    "rank": "The thin side of a low-rank product.",
    "adapter_rank": "The thin side of what an adapter adds to a matrix.",
    "layer": "Layers of one kind, stacked into one array.",
}
OF_ONE_PRODUCT = frozenset({"rank"})  # names whose size may differ within a mixer


def check_axes(names: Iterable[Axis]) -> Axes:
    """The names as a tuple. Raises UserError for one that is not in AXES, and for one that comes twice."""
    made = tuple(names)
    known = [name for name in made if name is not None]
    for name in known:
        if name not in AXES:
            raise unknown("axis", name, AXES)
        if known.count(name) > 1:
            raise ValueError(f"An array has the axis '{name}' twice; a second one is None.")
    return made
