"""`explain training`: what a training step reads (each token, and the next one as its target), and how wrong it is.

    loss of a token = -ln p(target)        loss = their mean        perplexity = exp(loss)

Look first at: `losses`.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

from linearnexus.api import Run
from linearnexus.teaching.explanation import Explanation, shown, style, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import ORANGE, Box, Row, rows, shade
from linearnexus.teaching.runs import encode

SHOWN = 24  # rows of the table
A_ROW = 12  # tokens of a row of the picture


@dataclass(frozen=True)
class Pair:
    input: str
    target: str
    probability: float  # that the model gave the target

    @property
    def loss(self) -> float:
        """In nats."""
        return -math.log(self.probability) if self.probability else math.inf


def losses(run: Run, text: str) -> list[Pair]:
    """Each token of the text with the one that follows."""
    encode(run, text)
    tokens = run.inspect(text, top=1).tokens
    return [Pair(before.text, after.text, after.probability or 0.0) for before, after in pairwise(tokens)]


def explain(run: Run, text: str) -> Explanation:
    pairs = losses(run, text)
    mean = sum(pair.loss for pair in pairs) / len(pairs)
    guess = math.log(run.tokenizer.vocab_size)
    lines = [
        (
            shown(pair.input),
            shown(pair.target),
            f"{pair.probability:.2%}",
            Text(f"{pair.loss:.2f}", style(pair.loss / guess, ORANGE)),
        )
        for pair in pairs[:SHOWN]
    ]
    if len(pairs) > SHOWN:
        lines.append((f"{len(pairs) - SHOWN} more", "", "", Text("")))
    told = table(
        "Input, target, and how wrong the model is", ("input", "target", "probability", "loss (nats)"), lines, left=2
    )
    coloured = Text("The text, coloured by loss: ")
    coloured.append(pairs[0].input)
    for pair in pairs:
        coloured.append(pair.target, style(pair.loss / guess, ORANGE))
    summary = (
        f"Mean loss {mean:.3f} nats: as unsure as between {math.exp(mean):,.1f} equally likely tokens. "
        f"Blind guessing among {run.tokenizer.vocab_size:,} tokens: {guess:.3f}."
    )
    return Explanation((told, coloured, summary), _picture(pairs, mean, guess))


def _picture(pairs: list[Pair], mean: float, guess: float) -> Picture:
    found = []
    for start in range(0, len(pairs), A_ROW):
        part = pairs[start : start + A_ROW]
        boxes = [
            Box(max(len(shown(pair.target)), 5), shown(pair.target), shade(pair.loss / guess, ORANGE)) for pair in part
        ]
        average = sum(pair.loss for pair in part) / len(part)
        found.append(Row(f"tokens {start + 2} to {start + len(part) + 1}", boxes, f"mean loss {average:.2f}"))
    legend = {shade(share, ORANGE): f"{share * guess:.1f}" for share in (0, 0.25, 0.5, 0.75, 1)}
    legend[shade(1, ORANGE)] += " nats or more: blind guessing"
    title = f"The loss of each token, {mean:.2f} nats on the mean"
    subtitle = "Each token as the target after all tokens before it: the darker, the more it surprised the model."
    return rows(title, subtitle, found, "", legend)
