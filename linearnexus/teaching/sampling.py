"""`explain sampling`: one prompt, what each strategy makes of the same scores, and what is then written.

Look first at: `STRATEGIES`, `distributions`.
"""

from rich.text import Text

from linearnexus.api import Run
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.look import Inspection, inspect_prompt
from linearnexus.teaching.explanation import Explanation, shown, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import COLOURS, Box, Row, rows

STRATEGIES = {
    "greedy": SamplingConfig(temperature=0),
    "T = 0.5": SamplingConfig(temperature=0.5),
    "T = 1": SamplingConfig(temperature=1),
    "T = 1.5": SamplingConfig(temperature=1.5),
    "top-k 3": SamplingConfig(temperature=1, top_k=3),
    "top-p 0.9": SamplingConfig(temperature=1, top_p=0.9),
}
SHOWN = 7  # tokens of the table
SAMPLES, PRINTED, LENGTH = 10, 3, 12  # continuations of each strategy, those that are printed, tokens of each
LAST = "min_p"  # the last stage of sampling: what a token is drawn from


def distributions(run: Run, prompt: str) -> dict[str, Inspection]:
    """What the next token is drawn from, by strategy; each has the same tokens in the same order."""
    return {name: inspect_prompt(run.generator, prompt, how, SHOWN) for name, how in STRATEGIES.items()}


def continuations(run: Run, prompt: str) -> dict[str, list[str]]:
    """Ten texts a strategy; greedy writes the same one each time, so it is written once."""
    made = {}
    for name, how in STRATEGIES.items():
        samples = SAMPLES if how.temperature else 1
        made[name] = [
            written.text
            for written in run.generator.generate(
                prompt, run.generator.room(prompt, LENGTH), sampling=how, samples=samples
            )
        ]
    return made


def explain(run: Run, text: str) -> Explanation:
    found = distributions(run, text)
    lines = []
    for place, candidate in enumerate(found["greedy"].candidates):
        chances = (seen.candidates[place].probabilities[LAST] for seen in found.values())
        lines.append((shown(candidate.text), *(f"{p:.1%}" if p else "-" for p in chances)))
    rest = (1 - sum(c.probabilities[LAST] for c in seen.candidates) for seen in found.values())
    lines.append(("all others", *(f"{p:.1%}" if p > 5e-7 else "-" for p in rest)))
    lines.append(("tokens left", *(str(seen.kept[LAST]) for seen in found.values())))
    written = Text().append(f"What is written after {shown(text)}", "bold")
    for name, texts in continuations(run, text).items():
        count = f"{len(set(texts))} different of {len(texts)}" if len(texts) > 1 else "always the same"
        written.append(f"\n{name}: {count}")
        for line in texts[:PRINTED]:
            written.append(f"\n  {shown(line)}", "dim")
    title = f"The next token after {shown(text)}: probability by strategy"
    return Explanation((table(title, ("token", *found), lines), "T: temperature.", written), _picture(text, found))


def _picture(text: str, found: dict[str, Inspection]) -> Picture:
    lines = []
    for name, seen in found.items():
        boxes = [
            Box(100 * c.probabilities[LAST], shown(c.text), COLOURS[place]) for place, c in enumerate(seen.candidates)
        ]
        boxes.append(Box(max(0.0, 100 - sum(box.size for box in boxes)), "others", COLOURS[-1]))
        lines.append(Row(name, boxes, f"{seen.kept[LAST]:,} possible"))
    subtitle = "The same scores of the same model, after each strategy; boxes of one colour are the same token."
    legend = {box.colour: box.label for box in lines[0].boxes}
    return rows(f"The next token after {shown(text)}", subtitle, lines, "probability, percent", legend)
