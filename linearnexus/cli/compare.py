"""`linearnexus compare MIXER... --data TASK_OR_CORPUS`: train models of one size on the same data, and compare them.

linearnexus compare attention mamba2 gated_deltanet --data recall:pairs=16
linearnexus compare deltanet "deltanet(negative_eigenvalues=True)" --data parity:length=40 --lengths 64 256
linearnexus compare gpt-nano mamba-nano --data stories --max-minutes 2
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.machine import prepare
from linearnexus.lab.settings import DEFAULTS, CompareSettings, run_settings
from linearnexus.training.config import TrainSettings

DESCRIPTION = """Train models of one size on the same batches, with several learning rates and seeds, and compare them
in a table and a plot. A model is a preset (gpt-nano) or the mixers of its layers (mamba2, or 3*mamba2,1*attention). The
same command again goes on where a comparison was stopped."""


@dataclass(frozen=True)
class Options:
    mixer: tyro.conf.Positional[tuple[str, ...]]  # presets, or patterns of mixers: one or more
    compare: CompareSettings = CompareSettings()
    run: TrainSettings = DEFAULTS


def main(arguments: list[str]) -> None:
    options = parse(Options, arguments, "compare", DESCRIPTION)
    changes: dict[str, Any] = {}
    for given, default in ((options.compare, CompareSettings()), (options.run, DEFAULTS)):
        for field in dataclasses.fields(default):
            if (value := getattr(given, field.name)) != getattr(default, field.name):
                changes[field.name] = value
    run_settings(changes)  # a mistake is told before JAX is imported
    prepare(warn)
    from linearnexus import api
    from linearnexus.training.loop import Interrupted

    try:
        found = api.compare(options.mixer, tell=lambda text: print(text, flush=True), **changes)
    except Interrupted as stopped:
        print("Stopped. The same command goes on from here.", flush=True)
        sys.exit(128 + stopped.number)
    print(f"{found}\n\nRead {found.folder}/results.md; results.csv beside it has every run.")
