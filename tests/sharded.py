"""A training step on eight devices that a CPU pretends to be, against the same step on one.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.sharded gpt-nano muon

prints the losses of a few steps as JSON: on one device, with the batch sharded, and with parameters and optimizer
sharded too. The arguments alone say what is sharded; the model and the step are those of any run.

Look first at: `FSDP`, `shardings`.
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linearnexus.core.module import axes
from linearnexus.data.batches import Batch
from linearnexus.models.config import ModelConfig
from linearnexus.models.presets import preset
from linearnexus.training.config import TrainConfig
from linearnexus.training.objective import CrossEntropy
from linearnexus.training.optimizer import Optimizer
from linearnexus.training.step import TrainState, random_state, train_step

DEVICES, STEPS, BATCH, LENGTH = 8, 4, 8, 32
# The names that are sharded. Inputs come before outputs in a matrix, so the first one that is named here is its input.
FSDP = ("embed", "heads", "inner", "ffn")


def shardings(tree: Any, mesh: Mesh, sharded: tuple[str, ...]) -> Any:
    """A sharding for each array of a model or an optimizer's state: over the first dimension that has one of the names
    and can be divided evenly."""

    def of(array: Any, names: tuple[str | None, ...]) -> NamedSharding:
        fit = [name in sharded and size % mesh.size == 0 for name, size in zip(names, array.shape, strict=True)]
        first = fit.index(True) if True in fit else None
        return NamedSharding(mesh, PartitionSpec(*("devices" if d == first else None for d in range(len(names)))))

    return jax.tree.map(of, tree, axes(tree))


def batch(model: ModelConfig, step: int) -> Batch:
    """[1, B, T]: ids that follow a rule, so that there is something to learn."""
    rng = np.random.default_rng(step)
    ids = (np.cumsum(rng.integers(1, 4, (BATCH, LENGTH + 1)), axis=1) * 7) % model.vocab_size
    ids = ids.astype(np.int32)[None]
    return Batch(ids[..., :-1], ids[..., 1:])


def losses(config: TrainConfig, mesh: Mesh | None, sharded: tuple[str, ...]) -> list[float]:
    """Of STEPS steps. `mesh` None: on one device."""
    state, optimizer = random_state(config), Optimizer.of(config)
    step, seed, rate = train_step, jnp.uint32(0), jnp.float32(2e-3)
    rows = None
    if mesh is not None:
        whole, rows = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in ((), (None, "devices")))
        wanted = TrainState(whole, shardings(state.model, mesh, sharded), shardings(state.optimizer, mesh, sharded))
        state = jax.device_put(state, wanted)
        seed, rate, optimizer = jax.device_put((seed, rate, optimizer), whole)
    found = []
    for number in range(STEPS):
        given = jax.device_put(batch(config.model, number), rows)
        before = jax.tree.map(lambda array: array.sharding, state)
        state, metrics = step(state, given, rate, seed, CrossEntropy(), optimizer)
        found.append(float(metrics["loss"]))
    if mesh is not None and sharded:
        moved = [
            kept
            for kept, now in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True)
            if not kept.is_equivalent_to(now.sharding, now.ndim)
        ]
        assert not moved, moved
        largest = max(jax.tree.leaves(state.model), key=lambda array: array.size)
        assert largest.addressable_shards[0].data.size * DEVICES == largest.size
    return found


def main() -> None:
    name, optimizer = sys.argv[1:]
    config = TrainConfig(model=preset(name), optimizer=optimizer)
    assert jax.device_count() == DEVICES, jax.devices()
    mesh = jax.make_mesh((DEVICES,), ("devices",), axis_types=(AxisType.Auto,))
    plans: dict[str, tuple[Mesh | None, tuple[str, ...]]] = {
        "one": (None, ()),
        "data": (mesh, ()),
        "fsdp": (mesh, FSDP),
    }
    print(json.dumps({plan: losses(config, *given) for plan, given in plans.items()}))


if __name__ == "__main__":
    main()
