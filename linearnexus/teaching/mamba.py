"""`explain mamba`: the state over time. What does each token write into it, and how much of that remains later?

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        so        h_t = sum over s <= t of (product of decays) x write_s

The recurrence is linear in what was written, so the state is a sum with one part a token, and each part only decays.

Look first at: `parts`, `remains`.
"""

from dataclasses import dataclass

import numpy as np
from jax import Array

from linearnexus.api import Run
from linearnexus.mixers.configs import MambaConfig
from linearnexus.teaching.explanation import SHOWN, Explanation, bytes_text, plain, shown, table, token_map
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import Map, maps
from linearnexus.teaching.runs import encode, layers, seen

DRAWN, PANELS = 40, 6  # tokens and layers of a picture


@dataclass(frozen=True)
class MambaLayer:
    layer: int  # counted from 1
    step: np.ndarray  # [T] the mean step size dt of a token: how strongly it writes and forgets
    written: np.ndarray  # [T] the length of what it writes, as a vector
    remains: np.ndarray  # [T, T] row t, column s: the share of what s wrote that the state holds after t; NaN: s > t
    numbers: int  # of the state

    @property
    def kept(self) -> float:
        """The share that is left at the end of the text, on the mean over its tokens."""
        return float(np.mean(self.remains[-1]))


def parts(look: dict[str, Array]) -> np.ndarray:
    """[T, T, N, E]: row t, column s: what is left after token t of what token s wrote. A row sums to the state."""
    decay, signal, dt, B = (np.asarray(look[name]) for name in ("decay", "signal", "dt", "B"))
    writes = (dt * signal)[:, None, :] * B[:, :, None]  # [T, N, E]
    state, after = np.zeros_like(writes), []
    for t in range(len(writes)):
        state = state * decay[t]  # [T, N, E]: one part a token
        state[t] = writes[t]
        after.append(state)
    return np.stack(after)


def layers_of(run: Run, ids: list[int]) -> list[MambaLayer]:
    found, looks = [], seen(run, ids)
    place = np.arange(len(ids))
    for layer in layers(run.config.model, MambaConfig):
        lengths = np.sqrt(np.square(parts(looks[layer])).sum((-2, -1)))  # [T, T]
        written = np.diagonal(lengths)
        remains = np.where(place <= place[:, None], lengths / np.maximum(written, 1e-30), np.nan)
        step = np.asarray(looks[layer]["dt"]).mean(-1)
        found.append(MambaLayer(layer + 1, step, written, remains, looks[layer]["decay"][0].size))
    return found


def explain(run: Run, text: str) -> Explanation:
    ids = encode(run, text)[:DRAWN]
    pieces = [run.tokenizer.decode([token]) for token in ids]
    tokens = [shown(piece) for piece in pieces]
    found = layers_of(run, ids)
    longest = max(found, key=lambda layer: layer.kept)
    each = [
        (f"layer {layer.layer}", f"{layer.numbers:,}", bytes_text(4 * layer.numbers), f"{layer.kept:.0%}")
        for layer in found
    ]
    overview = table(
        "The state of each Mamba layer: of one size, however long the text",
        ("", "numbers", "bytes", f"left of a token's write after all {len(ids)}, mean"),
        each,
    )
    largest = longest.written.max()
    lines = [
        (
            str(place + 1),
            token,
            f"{longest.step[place]:.3f}",
            f"{longest.written[place] / largest:.0%}",
            f"{longest.remains[min(place + 1, len(ids) - 1), place]:.0%}" if place + 1 < len(ids) else "",
            f"{longest.remains[-1, place]:.0%}",
        )
        for place, token in enumerate(tokens[:SHOWN])
    ]
    columns = ("", "token", "dt", "written", "left after 1", "left at end")
    told = table(f"Layer {longest.layer}, which remembers longest, token by token", columns, lines, left=2)
    meaning = (
        "dt: the mean step size, how strongly a token writes and forgets. Written: the length of its write (100%: the "
        "largest). Left: of its write, after one more token and at the end."
    )
    title = f"Layer {longest.layer}: percent left of what each token (column) wrote, after each token (row)"
    return Explanation(
        (overview, told, meaning, token_map(title, tokens, longest.remains)),
        _picture(run, [plain(piece) for piece in pieces], found),
    )


def _picture(run: Run, tokens: list[str], found: list[MambaLayer]) -> Picture:
    panels = [Map(f"layer {layer.layer}", tokens, layer.remains) for layer in found[:PANELS]]
    subtitle = "Down a column: a token's write fades as later tokens arrive. Compare with attention, which keeps all."
    return maps(
        f"The memory of {run.folder.name}",
        subtitle,
        panels,
        "written by",
        "after the token",
        "left in the state of what a token wrote",
    )
