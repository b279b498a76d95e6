"""`explain attention`: what a token may look at (the causal mask), and what it does look at in a trained model.

    weights[t, s] = softmax over s <= t of (query_t . key_s / sqrt(K)): how much token t reads from token s

Look first at: `maps_of`, `explain`.
"""

from dataclasses import dataclass

import numpy as np
from rich.text import Text

from linearnexus.api import Run
from linearnexus.mixers.configs import AttentionConfig
from linearnexus.ops.softmax_attention import visibility
from linearnexus.teaching.explanation import Explanation, plain, shown, table, token_map
from linearnexus.teaching.measure import context
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import Map, maps
from linearnexus.teaching.runs import encode, layers, seen

DRAWN = 40  # tokens of a picture
MASKED, HEADS = 6, 12  # tokens of the mask that is printed, heads of the table


@dataclass(frozen=True)
class Head:
    layer: int  # counted from 1, as people do
    head: int
    weights: np.ndarray  # [T, T]: rows read, columns are read from; NaN: not visible

    @property
    def name(self) -> str:
        return f"layer {self.layer}, head {self.head}"

    @property
    def distance(self) -> float:
        """How many tokens back the head reads, on the mean over all tokens."""
        place = np.arange(len(self.weights))
        return float(np.nansum(self.weights * (place[:, None] - place)) / len(place))


def maps_of(run: Run, ids: list[int]) -> list[Head]:
    """The attention weights of every head, layer by layer."""
    found, looks = [], seen(run, ids)
    for layer in layers(run.config.model, AttentionConfig):
        config = run.config.model.block(layer).mixer
        assert isinstance(config, AttentionConfig)
        visible = np.asarray(visibility(context(len(ids)).tokens, config.window)[0])
        weights = np.where(visible, np.asarray(looks[layer]["weights"]), np.nan)
        found += [Head(layer + 1, head + 1, of_head) for head, of_head in enumerate(weights)]
    return found


def explain(run: Run, text: str) -> Explanation:
    ids = encode(run, text)
    pieces = [run.tokenizer.decode([token]) for token in ids]
    tokens = [shown(piece) for piece in pieces]
    heads = maps_of(run, ids)
    far = max(heads, key=lambda head: head.distance)
    mask = Text().append("The causal mask: a token sees itself and what came before, never what comes later", "bold")
    for row in range(min(MASKED, len(ids))):
        sees = " ".join(tokens[column] for column in range(row + 1) if not np.isnan(heads[0].weights[row, column]))
        mask.append(f"\ntoken {row + 1} {tokens[row]} sees: {sees}")
    lines = []
    for head in heads[:HEADS]:
        last = np.nan_to_num(head.weights[-1])
        reads = "  ".join(f"{tokens[place]} {last[place]:.0%}" for place in np.argsort(-last, kind="stable")[:3])
        lines.append((head.name, reads, f"{head.distance:.1f}"))
    told = table(f"What the last token, {tokens[-1]}, reads from", ("head", "most", "tokens back, mean"), lines, left=2)
    title = f"Percent that each token (row) reads from each (column): {far.name}, which reads furthest back"
    return Explanation(
        (mask, told, token_map(title, tokens, far.weights)),
        _picture(run, [plain(piece) for piece in pieces], heads, far),
    )


def _picture(run: Run, tokens: list[str], heads: list[Head], far: Head) -> Picture:
    count = min(len(tokens), DRAWN)
    mask = np.where(np.isnan(heads[0].weights), np.nan, 1.0)[:count, :count]
    panels = [Map("what a token may read: the mask", tokens[:count], mask)]
    panels += [
        Map(head.name, tokens[:count], head.weights[:count, :count]) for head in heads if head.layer == far.layer
    ]
    subtitle = "Each row is a token and adds up to 100%; the darker a cell, the more is read from that column's token."
    return maps(
        f"Attention of {run.folder.name}", subtitle, panels, "read from", "the token that reads", "share of attention"
    )
