"""`explain generate`: the loop that writes. Scores -> probabilities -> a draw -> the token is appended -> again.

It is the engine's loop, slowed down: the same functions, seeds and states, so the same text as `linearnexus generate`.

Look first at: `loop`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from linearnexus.api import Run
from linearnexus.generation.config import DEFAULT, SamplingConfig
from linearnexus.generation.sampling import row, sample, stages
from linearnexus.generation.slots import fresh, read
from linearnexus.models.language_model import LanguageModel
from linearnexus.teaching.explanation import Explanation, shown, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import COLOURS, Box, Row, rows

TOKENS, CANDIDATES = 6, 4

step = jax.jit(LanguageModel.step)  # the model is an argument


@dataclass(frozen=True)
class Step:
    text: str  # what the model has read
    candidates: list[tuple[str, float]]  # the most probable next tokens; probabilities as drawn from
    token: str  # the one drawn
    probability: float  # of that one


def loop(run: Run, prompt: str, tokens: int = TOKENS, sampling: SamplingConfig = DEFAULT) -> list[Step]:
    """`tokens` times around, or until the model ends the text."""
    generator, tokenizer = run.generator, run.tokenizer
    ids = generator.encode(prompt)
    state = read(run.model, ids[:-1], fresh(run.model, 1, generator.slots(len(ids), tokens)))
    one = jax.tree.map(jnp.asarray, row(sampling, tokenizer.vocab_size, prompt=ids))
    written = jnp.zeros((1, tokenizer.vocab_size), jnp.int32)
    steps = []
    for index in range(tokens):
        logits, state = step(run.model, jnp.asarray(ids[-1:]), state)
        logits = logits[:, : tokenizer.vocab_size]
        *_, probabilities = (p[0] for p in stages(logits, sampling).values())
        drawn = int(sample(logits, one, jnp.array([index], jnp.int32), written).token[0])
        best = [int(token) for token in jnp.argsort(-probabilities)[:CANDIDATES]]
        candidates = [(tokenizer.decode([token]), float(probabilities[token])) for token in best]
        steps.append(Step(tokenizer.decode(ids), candidates, tokenizer.decode([drawn]), float(probabilities[drawn])))
        if drawn == tokenizer.end_token:
            break
        ids.append(drawn)
        written = written.at[0, drawn].add(1)
    return steps


def explain(run: Run, text: str) -> Explanation:
    steps = loop(run, text)
    lines = []
    for number, at in enumerate(steps, 1):
        best = "\n".join(f"{shown(token)} {p:.0%}" for token, p in at.candidates[:3])
        before = at.text if len(at.text) <= 32 else "..." + at.text[-29:]
        lines.append((str(number), shown(before)[1:-1], best, f"{shown(at.token)} {at.probability:.0%}"))
    title = f"One token at a time (temperature {DEFAULT.temperature:g}, seed {DEFAULT.seed})"
    columns = ("", "the text so far", "most probable next tokens", "drawn")
    written = f"Written: {text}{''.join(at.token for at in steps)}"
    return Explanation((table(title, columns, lines, left=4), written), _picture(text, steps))


def _picture(prompt: str, steps: list[Step]) -> Picture:
    found = []
    for at in steps:
        choices = list(at.candidates)
        if at.token not in [token for token, _ in choices]:
            choices.append((at.token, at.probability))
        boxes = [
            Box(100 * p, f"{shown(token)} {p:.0%}", COLOURS[place], token == at.token)
            for place, (token, p) in enumerate(choices)
        ]
        boxes.append(Box(max(100 - sum(box.size for box in boxes), 0), "others", COLOURS[-1]))
        found.append(Row(shown("..." + at.text[-17:])[1:-1], boxes, f"drawn: {shown(at.token)}"))
    subtitle = "Each row: the text so far, the probabilities of the next token, and (framed) the one that was drawn."
    return rows(f"Writing after {shown(prompt)}", subtitle, found, "probability of the next token, percent")
