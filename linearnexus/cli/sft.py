"""`linearnexus sft RUN --data FILE.jsonl`: teach a trained model to answer.

linearnexus sft storyteller --data story-questions --method full
linearnexus sft runs/latest --data questions.jsonl --method dora --rank 16 --targets mixer
linearnexus chat runs/latest
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import changed, parse
from linearnexus.core.machine import prepare
from linearnexus.models.presets import preset
from linearnexus.posttraining.config import SFTSettings, tuned, usual
from linearnexus.posttraining.conversations import read
from linearnexus.training.config import TrainConfig, TrainSettings
from linearnexus.training.run_folder import find, read_config

DESCRIPTION = """Teach a trained model to answer: a new run that begins with its weights and learns the answers in a
file of JSON lines: messages (OpenAI); instruction, input and output (Alpaca); or prompt and completion. story-questions
is a set that comes along. `linearnexus train --resume` goes on with it, `linearnexus chat` talks with it."""


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[str]  # the run to begin with: a folder, or runs/latest
    settings: TrainSettings
    tuning: SFTSettings = SFTSettings()
    dropout: float | None = None  # share of activations set to zero in training
    name: str | None = None  # the new run's folder below runs/ (or a path); default: PRESET-DATA-N


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        nothing = usual(TrainConfig(model=preset("gpt-nano")))
        parse(Options, arguments, "sft", DESCRIPTION, default=Options(tyro.MISSING, _settings(nothing)))
        return  # --help; without it RUN is missing, which parse has told
    folder = find(arguments[0])
    base = read_config(folder)[0]
    settings = _settings(usual(base))
    options = parse(Options, arguments, "sft", DESCRIPTION, default=Options("", settings))
    changes = changed(options.settings, settings) | changed(options.tuning, SFTSettings())
    if options.dropout is not None:
        changes["dropout"] = options.dropout
    read(Path(tuned(base, changes, folder).data).expanduser())  # a mistake is told before JAX is imported
    prepare(warn)
    from linearnexus import api
    from linearnexus.training.loop import Interrupted

    try:
        api.sft(folder, name=options.name, **changes)
    except Interrupted as stopped:
        sys.exit(128 + stopped.number)


def _settings(config: TrainConfig) -> TrainSettings:
    return TrainSettings(**{field.name: getattr(config, field.name) for field in dataclasses.fields(TrainSettings)})
