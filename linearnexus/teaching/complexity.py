"""`explain complexity`: attention and Mamba alone, measured on longer and longer texts, beside the guide's table.

One layer of each at the same width, float32, reads one text as before writing on. Memory: temporary buffers of the
compiled program (XLA's own account), and what is kept to go on.

Look first at: `measured`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MixerConfig
from linearnexus.teaching.explanation import Explanation, bytes_text, table
from linearnexus.teaching.measure import context, least_seconds, nbytes
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import curves

LENGTHS = (128, 512, 2048, 4096, 8192)
DOUBLING = 2048  # from here on, what a doubling costs is told
WIDTH, ROUNDS = 128, 12
SUBJECTS: dict[str, MixerConfig] = {"attention": AttentionConfig(), "Mamba": MambaConfig()}


@dataclass(frozen=True)
class ComplexityMeasurement:
    """By length."""

    seconds: dict[int, float]
    working: dict[int, int]  # bytes of the program's temporary buffers
    kept: dict[int, int]  # bytes of the state afterwards


def measured(lengths: Sequence[int], rounds: int) -> dict[str, ComplexityMeasurement]:
    """Every length of both mixers in turns."""
    runs, working, kept = {}, {}, {}
    for name, config in SUBJECTS.items():
        mixer = config.init(WIDTH, jax.random.key(0))
        for length in lengths:
            x = jax.random.normal(jax.random.key(1), (1, length, WIDTH))
            state = mixer.init_state(1, length, x.dtype)
            program = jax.jit(_read).lower(mixer, x, state).compile()
            runs[name, length] = partial(program, mixer, x, state)
            memory = program.memory_analysis()
            assert memory is not None
            working[name, length] = memory.temp_size_in_bytes
            kept[name, length] = nbytes(state)
    seconds = least_seconds(runs, rounds)

    def of(name: str, part: dict[tuple[str, int], Any]) -> dict[int, Any]:
        return {length: part[name, length] for length in lengths}

    return {name: ComplexityMeasurement(of(name, seconds), of(name, working), of(name, kept)) for name in SUBJECTS}


def _read(mixer: Any, x: Any, state: Any) -> Any:
    return mixer(x, context(x.shape[1]), state)


def doublings(found: ComplexityMeasurement) -> list[tuple[int, float]]:
    """(length, how many times the time of half that length), from DOUBLING tokens up."""
    return [
        (length, found.seconds[length] / found.seconds[length // 2])
        for length in found.seconds
        if length // 2 in found.seconds and length > DOUBLING
    ]


def explain() -> Explanation:
    found = measured(LENGTHS, ROUNDS)
    attention, mamba = found["attention"], found["Mamba"]
    first, heads = LENGTHS[0], AttentionConfig().n_head
    times = table(
        f"Time to read a text with one layer, width {WIDTH}, measured here; the guide's n^2 beside it",
        ("tokens", "guide: n^2", "attention", "Mamba", "attention", "Mamba"),
        [
            (
                f"{length:,}",
                f"{(length / first) ** 2:,.0f}x",
                *(f"{its.seconds[length] / its.seconds[first]:,.0f}x" for its in found.values()),
                *(f"{1e3 * its.seconds[length]:,.1f} ms" for its in found.values()),
            )
            for length in LENGTHS
        ],
        left=0,
    )
    memory = table(
        f"Memory: the n^2 scores of {heads} heads were they kept at once, what both use, what both keep",
        ("tokens", "all scores", "attention uses", "Mamba uses", "KV cache", "Mamba's state"),
        [
            (
                f"{length:,}",
                bytes_text(4 * heads * length**2),  # float32
                *(bytes_text(its.working[length]) for its in found.values()),
                bytes_text(attention.kept[length]),
                bytes_text(mamba.kept[length]),
            )
            for length in LENGTHS
        ],
        left=0,
    )
    rises = (
        f"{name}: " + ", ".join(f"{length // 2:,} to {length:,} tokens {rise:.1f} times" for length, rise in rising)
        for name, its in found.items()
        if (rising := doublings(its))
    )
    return Explanation((times, memory, "The time, when the text doubles. " + "; ".join(rises) + "."), _picture(found))


def _picture(found: dict[str, ComplexityMeasurement]) -> Picture:
    times = {name: [(length, 1e3 * s) for length, s in its.seconds.items()] for name, its in found.items()}
    kept = {
        f"{name}: {words}": [(length, size / 1024) for length, size in its.kept.items()]
        for (name, its), words in zip(found.items(), ("keys and values", "its state"), strict=True)
    }
    subtitle = f"One layer alone, width {WIDTH}, one text, measured on this machine; both axes are logarithmic."
    panels = {"time to read the text, ms": times, "memory kept of the text, KiB": kept}
    return curves("What a longer text costs: attention and Mamba", subtitle, panels, "tokens of text")
