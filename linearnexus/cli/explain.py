"""`linearnexus explain TOPIC [TEXT]`: a concept of the guide, computed on your model or measured on your machine.

linearnexus explain
linearnexus explain attention "Once upon a time there was a dog. It" --save attention.png
linearnexus explain size gpt2-medium
"""

import dataclasses
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from linearnexus.cli.info import model_config
from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.machine import prepare
from linearnexus.teaching.topics import ALSO, TOPICS

if TYPE_CHECKING:
    from linearnexus.teaching.explanation import Explanation

DESCRIPTION = f"""Explain a concept: {", ".join(TOPICS)}. Without a topic: the list, a sentence each."""


@dataclass(frozen=True)
class ExplainOptions:
    topic: tyro.conf.Positional[str] = ""  # what to explain
    text: tyro.conf.Positional[str] = ""  # a text of yours; for hybrid, cache and size a preset or a run
    run: str | None = None  # the trained model to look into: a run folder; None: the latest
    save: str | None = None  # also save a picture: FILE.svg, or FILE.png (needs matplotlib)


def main(arguments: list[str]) -> None:
    options = parse(ExplainOptions, arguments, "explain", DESCRIPTION)
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)  # texts and paths are no markup
    if not options.topic:
        listed = Table(box=None, show_header=False, pad_edge=False)
        for name, topic in TOPICS.items():
            listed.add_row(Text(name, "bold"), topic.sentence)
        console.print(listed)
        console.print("\nIn the order of the guide, docs/concepts.md. Try: linearnexus explain tokens")
        return
    word = options.topic.lower().replace(" ", "-").replace("_", "-")
    options = dataclasses.replace(options, topic=ALSO.get(word, word))
    if options.topic not in TOPICS:
        raise unknown("topic", word, TOPICS)
    if options.save is not None:
        from linearnexus.teaching import picture

        picture.check(options.save)
    topic, explanation = TOPICS[options.topic], made(options)
    for part in explanation.parts:
        console.print(part)
        console.print()
    if options.save is not None:
        picture.save(explanation.picture, options.save)
        console.print(f"Saved the picture as {options.save}.", soft_wrap=True)
    console.print(Text.assemble(("Look for: ", "bold"), topic.look_for))
    console.print(Text.assemble(("Next: ", "bold"), topic.command), soft_wrap=True)  # to copy


def made(options: ExplainOptions) -> "Explanation":
    """What the topic says of what it was given. Raises UserError for what it has no use for."""
    name, text = options.topic, options.text
    topic = TOPICS[name]
    if options.run is not None and topic.about in ("text", "machine"):
        raise UserError(f"{name} looks into no run; leave --run out.")
    if text and topic.about == "machine":
        raise UserError(f"{name} takes no text, it measures this machine; leave '{text}' out.")
    if topic.about == "model" and text and options.run is not None:
        raise UserError(f"{name} looks at one model; give '{text}' or --run {options.run}, not both.")
    if topic.about == "model":
        text = text or options.run or topic.example
        config = model_config(text)
    if topic.about != "text":  # the others compute
        prepare(warn)
    explain = importlib.import_module(f"linearnexus.teaching.{name}").explain
    if topic.about == "machine":
        return explain()
    if topic.about == "text":
        return explain(text or topic.example)
    if topic.about == "model":
        return explain(text, config)
    from linearnexus.teaching import runs

    run = runs.open_run(options.run, topic.mixer, warn)
    return explain(run, text or runs.example(run, topic.example))
