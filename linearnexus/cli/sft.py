"""`linearnexus sft RUN --data FILE.jsonl`: teach a trained model to answer.

linearnexus sft storyteller --data story-questions --method full
linearnexus sft runs/latest --data questions.jsonl --method dora --rank 16 --targets mixer
linearnexus chat runs/latest
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import tyro

from linearnexus.cli.options import OptimizerOptions, train_with
from linearnexus.cli.parse import changed, parse
from linearnexus.models.presets import preset
from linearnexus.posttraining.config import SFTSettings
from linearnexus.posttraining.conversations import read
from linearnexus.posttraining.recipes import default_sft_config, sft_config
from linearnexus.training.config import TrainConfig, TrainSettings
from linearnexus.training.run_folder import find, read_config

DESCRIPTION = """Teach a trained model to answer: a new run that begins with its weights and learns the answers in a
file of JSON lines: messages (OpenAI); instruction, input and output (Alpaca); or prompt and completion. story-questions
is a bundled set. `linearnexus train --resume` resumes such a run, `linearnexus chat` talks with it."""


@dataclass(frozen=True)
class SFTOptions:
    run: tyro.conf.Positional[str]  # the run to begin with: a folder, or runs/latest
    settings: TrainSettings
    tuning: SFTSettings = SFTSettings()
    optimizer_options: OptimizerOptions = OptimizerOptions()
    dropout: float | None = None  # share of activations set to zero in training
    name: str | None = None  # the new run's folder below runs/ (or a path); default: PRESET-DATA-N


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        nothing = default_sft_config(TrainConfig(model=preset("gpt-nano")))
        parse(SFTOptions, arguments, "sft", DESCRIPTION, default=SFTOptions(tyro.MISSING, _settings(nothing)))
        return  # --help; without it RUN is missing, which parse has told
    folder = find(arguments[0])
    base = read_config(folder)[0]
    settings = _settings(default_sft_config(base))
    options = parse(SFTOptions, arguments, "sft", DESCRIPTION, default=SFTOptions("", settings))
    changes = changed(options.settings, settings) | changed(options.tuning, SFTSettings())
    changes |= changed(options.optimizer_options, OptimizerOptions())
    if options.dropout is not None:
        changes["dropout"] = options.dropout
    read(Path(sft_config(base, changes, folder).data).expanduser())  # a mistake is reported before JAX is imported

    def call() -> None:
        from linearnexus import api

        api.sft(folder, name=options.name, **changes)

    train_with(call)


def _settings(config: TrainConfig) -> TrainSettings:
    return TrainSettings(**{field.name: getattr(config, field.name) for field in dataclasses.fields(TrainSettings)})
