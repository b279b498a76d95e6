"""What a token costs as texts grow: every mixer's layer, alone, from 1,024 to 16,384 tokens; and `chunked` against
`recurrent`.

    make lengths
    python -m benchmarks.lengths --write docs      also docs/lengths.md and docs/images/lengths.svg

Times are the least of several rounds, and a round goes through all lengths: other programs can only make a machine
slower. Peak memory is XLA's own account of a compiled program's temporary buffers.
"""

import argparse
import functools
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linearnexus.core.machine import prepare

prepare()  # as the command line does, before JAX is imported

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from linearnexus.core.tokens import count_tokens  # noqa: E402
from linearnexus.generation.slots import CHUNK  # noqa: E402
from linearnexus.mixers.contract import Context  # noqa: E402
from linearnexus.models.presets import preset, presets  # noqa: E402
from linearnexus.ops import delta_rule, linear_attention, selective_scan  # noqa: E402
from linearnexus.teaching.measure import context, least_seconds  # noqa: E402

WIDTH = 128
LENGTHS = (1024, 2048, 4096, 8192, 16384)
ROUNDS, SECONDS = 4, 0.6  # at least so many rounds, and at least so many seconds a length over all of them
STEPS = 256
T = 2048  # of the op families


def mixers() -> dict[str, Any]:
    """The mixers of the small presets that have one, by the preset's name."""
    configs = {name.removesuffix("-nano"): preset(name) for name in presets() if name.endswith("-nano")}
    return {name: config.pattern[0].mixer for name, config in configs.items() if len(config.pattern) == 1}


@jax.jit
def prefill(module: Any, x: Any, state: Any) -> Any:
    """Reads a text as the generator does, in calls of CHUNK tokens."""

    def call(carry: Any, part: Any) -> Any:
        state, *before = carry
        tokens, *after = count_tokens(part.shape[:2], None, None, *before)
        out = module(part, Context(tokens), state)
        return (out.state, *after), out.y

    zero = jnp.zeros(1, jnp.int32)
    parts = x.reshape(-1, 1, CHUNK, x.shape[-1])
    return jax.lax.scan(call, (state, zero, zero), parts)


@jax.jit
def train(module: Any, x: Any, dy: Any) -> Any:
    return jax.grad(lambda module, x: jnp.vdot(module(x, context(x.shape[1])).y, dy), argnums=(0, 1))(module, x)


@functools.partial(jax.jit, donate_argnums=1)
def decode(module: Any, state: Any, x: Any, first: Any) -> Any:
    """STEPS tokens, each the output of the one before."""

    def one(number: Any, carry: Any) -> Any:
        x, state = carry
        counted = count_tokens((1, 1), None, None, (first + number)[None], (first + number)[None])[0]
        out = module.step(x, Context(jax.tree.map(lambda field: field[:, 0], counted)), state)
        return out.y, out.state

    return jax.lax.fori_loop(0, STEPS, one, (x, state))


def layer(config: Any) -> dict[str, list[float]]:
    """Microseconds a token of prefill, of training and of a step, and the state's bytes, for each length."""
    module = jax.jit(lambda key: config.init(WIDTH, key))(jax.random.key(0))
    xs = {t: jax.random.normal(jax.random.key(1), (1, t, WIDTH)) for t in LENGTHS}
    states = {t: module.init_state(1, t + STEPS, jnp.dtype("float32")) for t in LENGTHS}
    first = {t: jnp.asarray(t, jnp.int32) for t in LENGTHS}

    def step(t: int) -> Any:
        x, states[t] = decode(module, states[t], xs[t][:, 0], first[t])
        return x

    forward = least_seconds(
        {t: functools.partial(prefill, module, xs[t], states[t]) for t in LENGTHS}, ROUNDS, SECONDS / ROUNDS
    )
    both = least_seconds({t: functools.partial(train, module, xs[t], xs[t]) for t in LENGTHS}, ROUNDS, SECONDS / ROUNDS)
    steps = least_seconds({t: functools.partial(step, t) for t in LENGTHS}, ROUNDS, SECONDS / ROUNDS)
    return {
        "prefill": [1e6 * forward[t] / t for t in LENGTHS],
        "training": [1e6 * both[t] / t for t in LENGTHS],
        "step": [1e6 * steps[t] / STEPS for t in LENGTHS],
        "bytes": [
            sum(leaf.nbytes for leaf in jax.tree.leaves(module.init_state(1, t, jnp.dtype("float32")))) for t in LENGTHS
        ],
    }


def families() -> dict[str, dict[str, tuple[float, float, float, float]]]:
    """For each op family, and each of its forms: seconds forward, seconds with the gradient, MiB of both."""
    batch, heads, size, channels, n = 4, 4, 32, 256, 16

    def array(*shape: int, low: float | None = None) -> Any:
        key = jax.random.key(len(shape) + sum(shape))
        return jax.random.normal(key, shape) if low is None else jax.random.uniform(key, shape, minval=low)

    q = array(batch, T, heads, size) / np.sqrt(size).item()
    k = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    one, many = jnp.log(array(batch, T, heads, 1, low=0.9)), jnp.log(array(batch, T, heads, size, low=0.9))
    S, beta = jnp.zeros((batch, heads, size, size)), array(batch, T, heads, low=0.0)
    scan: tuple[Any, ...] = (
        array(batch, T, channels),
        0.1 * array(batch, T, channels, low=0.0),
        -array(n, channels, low=0.5),
    )
    scan = (*scan, array(batch, T, n), 2 * array(batch, T, n), jnp.zeros((batch, n, channels)))
    subjects: dict[str, tuple[Any, tuple[Any, ...]]] = {
        f"selective_scan, E {channels}, N {n}": (selective_scan, scan),
        f"linear_attention, no decay, H {heads}, K = V = {size}": (linear_attention, (q, k, q, None, S)),
        "linear_attention, decay a head": (linear_attention, (q, k, q, one, S)),
        "linear_attention, decay a key": (linear_attention, (q, k, q, many, S)),
        "delta_rule, no decay": (delta_rule, (q, k, q, beta, None, S)),
        "delta_rule, decay a head": (delta_rule, (q, k, q, beta, one, S)),
        "delta_rule, decay a key": (delta_rule, (q, k, q, beta, many, S)),
    }
    tokens = count_tokens((batch, T), None, None, None, None)[0]
    found = {}
    for name, (module, inputs) in subjects.items():
        runs, memory = {}, {}
        for form in ("chunked", "recurrent"):

            def forward(inputs: Any, module: Any = module, form: str = form) -> Any:
                return getattr(module, form)(*inputs, tokens)

            def backward(inputs: Any, forward: Any = forward) -> Any:
                return jax.grad(lambda inputs: sum(jnp.sum(out) for out in forward(inputs)))(inputs)

            for what, function in (("forward", forward), ("backward", backward)):
                compiled = jax.jit(function).lower(inputs).compile()
                account = compiled.memory_analysis()
                assert account is not None  # a CPU has one
                memory[form, what] = account.temp_size_in_bytes / 2**20
                runs[form, what] = functools.partial(compiled, inputs)
        seconds = least_seconds(runs, ROUNDS, SECONDS / ROUNDS)
        found[name] = {
            form: (
                seconds[form, "forward"],
                seconds[form, "backward"],
                memory[form, "forward"],
                memory[form, "backward"],
            )
            for form in ("chunked", "recurrent")
        }
    return found


def report(layers: dict[str, dict[str, list[float]]], forms: dict[str, Any]) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        "# What a token costs as texts grow",
        "",
        f"`python -m benchmarks.lengths`, {date.today()}, Python {platform.python_version()}, JAX {version('jax')}, "
        f"{jax.devices()[0].device_kind} ({platform.machine()}), {cores} cores, {memory:.0f} GiB.",
        "",
        f"One layer of each mixer of the nano presets at width {WIDTH}, one text, float32. Times are the least of",
        'several rounds through all lengths. "Rise" is the largest of a row over its smallest. What training on a long',
        "text touches no longer fits the processor's cache, which shows in the cheapest layers.",
    ]
    titles = {
        "training": "Training: microseconds a token, forward and backward",
        "prefill": f"Prefill, in calls of {CHUNK} tokens as the generator makes: microseconds a token",
        "step": "Generation: microseconds a step, after so many tokens",
        "bytes": "State: bytes of one text after so many tokens",
    }
    for part, title in titles.items():
        lines += ["", f"## {title}", "", f"| mixer | {' | '.join(f'{t:,}' for t in LENGTHS)} | rise |"]
        lines.append("|---|" + "---:|" * (len(LENGTHS) + 1))
        for name, row in layers.items():
            cells = [f"{value:,}" if part == "bytes" else f"{value:.2f}" for value in row[part]]
            lines.append(f"| {name} | {' | '.join(cells)} | {max(row[part]) / min(row[part]):.2f} |")
    lines += ["", "![Time of a token in training, by length](images/lengths.svg)", ""]
    lines += [f"## `chunked` against `recurrent`, {T:,} tokens, 4 texts", ""]
    lines.append(
        "`recurrent` is the specification, a scan over tokens. Memory: temporary buffers of the compiled program."
    )
    lines += ["", "| family | forward | speed-up | forward and backward | speed-up | MiB forward | MiB both |"]
    lines.append("|---|" + "---:|" * 6)
    for name, form in forms.items():
        fast, slow = form["chunked"], form["recurrent"]
        cells = []
        for what in (0, 1):
            cells += [f"{1e3 * fast[what]:.1f} ms against {1e3 * slow[what]:.1f}", f"{slow[what] / fast[what]:.2f}"]
        cells += [f"{fast[what]:.0f} against {slow[what]:.0f}" for what in (2, 3)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(layers: dict[str, dict[str, list[float]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "linearnexus"  # the same picture, the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, constrained_layout=True)
    for axis, part, title in zip(axes, ("training", "prefill"), ("training", "prefill"), strict=True):
        for number, (name, row) in enumerate(layers.items()):
            style: dict[str, Any] = {"linewidth": 1.4, "linestyle": "-" if number < 10 else "--"}  # ten colors, twice
            if name == "gpt":
                style = {"color": "black", "linewidth": 2.5}
            label = "attention" if name == "gpt" else name
            axis.plot(LENGTHS, row[part], marker="o", markersize=3, label=label, **style)
        axis.set(xscale="log", yscale="log", xlabel="tokens of text", title=f"{title}: microseconds a token")
        axis.set_xticks(LENGTHS, [f"{t // 1024}K" for t in LENGTHS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[1].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lengths", description="Cost of a token by length.")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write lengths.md and images/lengths.svg there")
    parser.add_argument("--only", nargs="*", metavar="MIXER", help="these mixers")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep rows there; measure those that it lacks")
    options = parser.parse_args()
    known = json.loads(options.results.read_text()) if options.results and options.results.exists() else {}
    layers = {}
    for name, config in mixers().items():
        if not options.only or name in options.only:
            layers[name] = known[name] if name in known else layer(config)
            print(name, {part: [round(value, 2) for value in row] for part, row in layers[name].items()}, flush=True)
            if options.results:
                options.results.write_text(json.dumps(known | layers))
    text = report(layers, families())
    print(text)
    if options.write:
        (options.write / "lengths.md").write_text(text, encoding="utf-8")
        plot(layers, options.write / "images" / "lengths.svg")


if __name__ == "__main__":
    main()
