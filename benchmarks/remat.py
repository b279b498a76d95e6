"""What each value of --remat costs and saves: memory, time and compilation of a training step, shallow and deep.

    make remat
    make remat ARGS="--before FOLDER"              also an older LinearNexus, checked out in FOLDER, in the same turns
    python -m benchmarks.remat --write docs        also docs/remat.md
    python -m benchmarks.remat --turns 1 --models gpt-micro:24        one model, with 24 layers
    python -m benchmarks.remat --compile-only      no step is run, so nothing of the size of the model is allocated

Every measurement is a process of its own: the first of a kind compiles with an empty cache, later ones with what it
left there. They take turns, and of step times the least counts: other programs can only make a machine slower.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

HERE = Path(__file__).resolve()
MODELS = ("gpt2-small", "gpt2-medium", "mamba2-130m")
BATCH, LENGTH = 2, 256
STEPS, TURNS = 2, 2  # steps of a process after its first, and processes of a kind
BEFORE = "before"
MIB = 2**20


def measure(name: str, remat: str, steps: int) -> dict[str, float | None]:
    """One kind, in this process. name: a preset, or preset:layers. remat: a policy, or "before" for a LinearNexus that
    knows of none. steps: those that are measured after a first one; 0: the program is only compiled."""
    from linearnexus.core.machine import prepare

    prepare()
    import resource

    import jax
    import jax.numpy as jnp
    import numpy as np

    from linearnexus.data.batches import Batch
    from linearnexus.models.presets import preset
    from linearnexus.training.config import TrainConfig
    from linearnexus.training.job import state_shapes
    from linearnexus.training.objective import CrossEntropy
    from linearnexus.training.optimizer import Optimizer
    from linearnexus.training.optimizers import AdamWConfig
    from linearnexus.training.step import random_state, train_step

    base, _, layers = name.partition(":")
    model = dataclasses.replace(preset(base), vocab_size=50_257)
    if layers:
        model = dataclasses.replace(model, n_layer=int(layers))
    config = TrainConfig(model=model, batch_size=BATCH, sequence_length=LENGTH, optimizer=AdamWConfig())
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (1, BATCH, LENGTH + 1)).astype(np.int32)
    batch = jax.tree.map(jnp.asarray, Batch(ids[:, :, :-1], ids[:, :, 1:]))
    state = random_state(config) if steps else state_shapes(config)
    rest = batch, jnp.float32(1e-4), jnp.uint32(0), CrossEntropy(), Optimizer.of(config)
    known: dict[str, Any] = {} if remat == BEFORE else {"remat": remat}
    began = time.monotonic()
    compiled = train_step.lower(state, *rest, **known).compile()
    compiling, times = time.monotonic() - began, []
    loss = None
    for _ in range(1 + steps if steps else 0):
        began = time.monotonic()
        state, metrics = compiled(state, *rest)
        loss = float(metrics["loss"])
        times.append(time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    account = compiled.memory_analysis()
    temporary = 0 if account is None else account.temp_size_in_bytes
    ran = {"step": min(times[1:]), "peak": peak} if steps else {"step": None, "peak": None}
    return {"compile": compiling, "temporary": temporary, **ran, "loss": loss}


def in_a_child(name: str, remat: str, steps: int, root: Path, cache: Path) -> dict[str, Any]:
    """`measure` in a new process that imports the LinearNexus in `root`."""
    environment = os.environ | {"PYTHONPATH": str(root), "LINEARNEXUS_CACHE": str(cache)}
    command = [sys.executable, str(HERE), "--child", name, remat, str(steps)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(models: list[str], turns: int, steps: int, before: Path | None, results: Path | None) -> dict[str, Any]:
    """All measurements: {model: {policy: values}}."""
    from linearnexus.models.config import Remat

    kinds = [*([BEFORE] if before else []), *get_args(Remat)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in models:
            for turn in range(turns):
                for kind in kinds:
                    root = before if before is not None and kind == BEFORE else HERE.parents[1]
                    new = in_a_child(name, kind, steps, root, Path(scratch, kind))
                    old = found.setdefault(name, {}).setdefault(kind, new)
                    if steps:
                        old |= {"step": min(old["step"], new["step"]), "peak": max(old["peak"], new["peak"])}
                    print(f"{name}, {kind}, turn {turn + 1}: {new}", file=sys.stderr, flush=True)
                    if results is not None:
                        results.write_text(json.dumps(found, indent=1) + "\n")
    return found


def table(found: dict[str, Any]) -> str:
    """In Markdown. Times are over those of `norms`."""
    lines = ["| model | --remat | temporary, MiB | process, MiB | step | compile, s | last loss |", "|" + "---|" * 7]
    for name, kinds in found.items():
        usual = kinds["norms"]["step"]
        for kind, row in kinds.items():
            step, peak, loss = "", "", ""
            if row["step"] is not None:
                step = f"{row['step'] / usual:.2f}" + (f" ({row['step']:.1f} s)" if kind == "norms" else "")
                peak, loss = f"{row['peak'] / MIB:,.0f}", f"{row['loss']:.6f}"
            temporary = f"{row['temporary'] / MIB:,.0f}"
            lines.append(f"| {name} | {kind} | {temporary} | {peak} | {step} | {row['compile']:.0f} | {loss} |")
    return "\n".join(lines)


def page(found: dict[str, Any], turns: int, command: str) -> str:
    """docs/remat.md."""
    lines = Path("/proc/meminfo").read_text() if Path("/proc/meminfo").exists() else ""
    memory = f", {int(lines.split()[1]) / 2**20:.0f} GiB" if lines else ""
    return f"""# What --remat costs and saves

One training step of {BATCH} texts of {LENGTH} tokens with AdamW, float32, vocabulary 50,257. "Temporary" is XLA's own
account of what the step's program needs beside the training state; "process" is the most that the whole process held,
with drawing the weights and compiling; "step" is the time over that of `norms`: the least of {STEPS} steps after the
first in each process, over up to {turns} processes a kind, which took turns; "compile" is once, with an empty cache.
Where the last columns are empty, the program was compiled and not run. [training.md](training.md) says what each value
does.

Where other programs ran meanwhile, step and compile times are upper bounds and their ratios may be noise: `before` and
`norms` of gpt2-small, where nothing changed, show by how much. Memory does not depend on them.

`{command}`, {date.today()}, {os.cpu_count()} cores ({platform.machine()}{memory}), Python {platform.python_version()},
JAX {version("jax")}.

{table(found)}

`before` is the commit in which RMSNorm, LayerNorm and the MLP computed themselves again always, and a step stacked the
weights of a model of more than 12 layers itself.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures --remat.")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--before", type=Path, help="a checkout of an older LinearNexus")
    parser.add_argument("--results", type=Path, help="a JSON file: kept up to date, and printed alone with --print")
    parser.add_argument("--print", action="store_true", help="measure nothing, read --results")
    parser.add_argument("--write", type=Path, help="a folder for remat.md")
    parser.add_argument("--compile-only", action="store_true", help="no step is run: memory and compile times alone")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, remat, steps = options.child
        print(json.dumps(measure(name, remat, int(steps))))
        return
    if options.print:
        found = json.loads(options.results.read_text())
    else:
        found = run(
            options.models, options.turns, 0 if options.compile_only else STEPS, options.before, options.results
        )
    print(table(found))
    if options.write is not None:
        command = "make remat" + (' ARGS="--before FOLDER"' if any(BEFORE in kinds for kinds in found.values()) else "")
        (options.write / "remat.md").write_text(page(found, options.turns, command))


if __name__ == "__main__":
    main()
