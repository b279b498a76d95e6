"""`linearnexus compare MIXER... --data TASK_OR_CORPUS`: train models of one size on the same data, and compare them.

linearnexus compare attention mamba2 gated_deltanet --data recall:pairs=16
linearnexus compare deltanet "deltanet(negative_eigenvalues=True)" --data parity:length=40 --lengths 64 256
linearnexus compare gpt-nano mamba-nano --data stories --max-minutes 2
"""

from dataclasses import dataclass

import tyro

from linearnexus.cli.options import OptimizerOptions, train_with
from linearnexus.cli.parse import changed, parse
from linearnexus.lab.settings import DEFAULTS, CompareSettings, run_settings
from linearnexus.training.config import TrainSettings

DESCRIPTION = """Train models of one size on the same batches, with several learning rates and seeds, and compare them
in a table and a plot. A model is a preset (gpt-nano) or the mixers of its layers (mamba2, or 3*mamba2,1*attention). The
same command again resumes a comparison that was stopped."""


@dataclass(frozen=True)
class CompareOptions:
    mixer: tyro.conf.Positional[tuple[str, ...]]  # presets, or patterns of mixers: one or more
    compare: CompareSettings = CompareSettings()
    run: TrainSettings = DEFAULTS
    optimizer_options: OptimizerOptions = OptimizerOptions()


def main(arguments: list[str]) -> None:
    options = parse(CompareOptions, arguments, "compare", DESCRIPTION)
    changes = changed(options.compare, CompareSettings()) | changed(options.run, DEFAULTS)
    changes |= changed(options.optimizer_options, OptimizerOptions())
    run_settings(changes)  # a mistake is reported before JAX is imported

    def call() -> str:
        from linearnexus import api

        found = api.compare(options.mixer, on_message=lambda text: print(text, flush=True), **changes)
        return f"{found}\n\nRead {found.folder}/results.md; results.csv beside it has every run."

    print(train_with(call, "Stopped. The same command resumes the comparison."))
