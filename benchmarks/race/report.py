"""The results as a table and a picture.

Look first at: `write`.
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.race.works import WORKS, Work

OURS = "LinearNexus"
TEXT = """# LinearNexus against its peers

Tokens a second on the same machine in the same minutes, in float32 (where weights are int8, ours alone are). Each side
is a process of its own, and they work in turns; a ratio is the median over pairs of turns, with the lowest and the
highest in brackets. Above 1, LinearNexus is ahead. `nanoGPT` is its model written plainly in PyTorch, with fused
attention and fused AdamW, and is run as it is and through `torch.compile`; transformers and mamba.py are as installed
(neither has kernels for a CPU).

Training is whole steps (forward, backward, clipping, AdamW), waiting for each loss. Generation samples with temperature
0.8, top-k 50 and top-p 0.95 through the product's own `generate`. Memory is what the process held at most, beyond what
it held before the work; "first" is the first unit of work, compilation included, with empty caches. Wide brackets:
other programs ran in some of the turns.
"""


def flops(work: Work) -> float:
    """Training FLOPs a token of a GPT: three times those of the forward pass, attention's causal half included."""
    weights = 12 * work.n_layer * work.width**2 + work.vocab_size * work.width
    return 3 * (2 * weights + 2 * work.n_layer * work.width * (work.length + 1))


def weight_bytes(work: Work) -> float:
    """Bytes of weights that a GPT reads for a token (its learned positions and embedding rows aside)."""
    size = {"float32": 4, "bfloat16": 2, "int8": 1}[work.weights]
    return size * (12 * work.n_layer * work.width**2 + work.vocab_size * work.width)


def pairs(found: dict[str, Any], peer: str) -> list[float]:
    """Our tokens a second over the peer's, round by round."""
    return [a / b for a, b in zip(found[OURS]["speeds"], found[peer]["speeds"], strict=True)]


def write(folder: Path, results: dict[str, Any]) -> None:
    lines = [TEXT, f"`make bench`, {results['machine']}.", ""]
    lines += ["| work | tokens/s | peer | ratio | memory, MiB | peer's | first, s | peer's | of the machine |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    bars = []
    for work in WORKS:
        found = results["works"].get(work.name)
        if found is None:
            continue
        ours = found[OURS]
        speed = statistics.median(ours["speeds"])
        for place, peer in enumerate(work.peers):
            ratios = pairs(found, peer)
            bars.append((f"{work.name}: {peer}", statistics.median(ratios), min(ratios), max(ratios)))
            cells = [
                "" if place else work.name,
                "" if place else f"{speed:,.0f}",
                peer,
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                "" if place else f"{ours['peak'] - ours['base']:,.0f}",
                f"{found[peer]['peak'] - found[peer]['base']:,.0f}",
                "" if place else f"{ours['first']:.1f}",
                f"{found[peer]['first']:.1f}",
                "" if place else share(work, speed, found["limits"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    absent = [work.name for work in WORKS if work.name not in results["works"]]
    lines += ["", f"Not raced this time: {'; '.join(absent)}."] if absent else []
    lines += ["", "![ratios](race.svg)", ""]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    draw(folder / "race.svg", bars)


def share(work: Work, speed: float, limits: dict[str, float]) -> str:
    """What part of the machine's measured limit that is."""
    if work.architecture != "gpt":
        return ""
    if work.kind == "training":
        return f"{speed * flops(work) / limits['products']:.2f} of {limits['products'] / 1e9:,.0f} GFLOP/s"
    if work.batch > 1:
        return ""
    return f"{speed * weight_bytes(work) / limits['reading']:.2f} of {limits['reading'] / 1e9:,.0f} GB/s"


def draw(path: Path, bars: list[tuple[str, float, float, float]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "race"
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(bars) + 1), layout="constrained")
    names, middle, low, high = zip(*reversed(bars), strict=True)
    errors = [[m - x for m, x in zip(middle, low, strict=True)], [x - m for m, x in zip(middle, high, strict=True)]]
    axes.barh(names, middle, xerr=errors, color=["#4c78a8" if m >= 1 else "#e45756" for m in middle], height=0.6)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("tokens a second, times the peer's (log scale)")
    axes.tick_params(axis="y", labelsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
