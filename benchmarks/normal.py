"""Are runs that go wrong named? One trains as it should, others are spoilt; prints what each report says.

    python -m benchmarks.normal [--presets gpt-nano] [--steps 1200]   # eight minutes on two cores

Spoilt: ten times the learning rate, 2 KB of text, the text's characters in random order.
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from linearnexus import api
from linearnexus.core.errors import UserError
from linearnexus.core.machine import prepare
from linearnexus.data.corpora import load_corpus
from linearnexus.training.optimizers import MuonConfig
from linearnexus.training.report import read_metrics, standing

USUAL = {
    "learning_rate": MuonConfig.usual_rate,
    "matrix_learning_rate": MuonConfig().matrix_learning_rate,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="*", default=["gpt-nano"])
    parser.add_argument("--steps", type=int, default=1200)
    arguments = parser.parse_args()
    prepare()
    text = load_corpus("stories").text
    characters = list(text)
    random.Random(0).shuffle(characters)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "little.txt").write_text(text[:2048])
        (place / "shuffled.txt").write_text("".join(characters))
        spoilt: dict[str, dict[str, Any]] = {
            "as it should": {},
            "ten times the learning rate": {name: 10 * rate for name, rate in USUAL.items()},
            "2 KB of text": {"data": str(place / "little.txt")},
            "the text's characters shuffled": {"data": str(place / "shuffled.txt")},
        }
        for preset in arguments.presets:
            for number, (what, options) in enumerate(spoilt.items()):
                run = place / f"{preset}-{number}"
                options = {"data": "stories", "max_steps": arguments.steps, **options}
                try:
                    api.train(preset, name=str(run), quiet=True, **options)
                    verdict = standing(run)
                    said = verdict and f"{verdict.name}: {verdict.words}"
                except UserError as error:  # it stopped by itself
                    said = str(error)
                loss = min(
                    (row["validation_loss"] for row in read_metrics(run / "metrics.jsonl") if "validation_loss" in row),
                    default=float("nan"),
                )
                print(f"{preset}, {what} (lowest validation loss {loss:.3f})\n    {said}", flush=True)


if __name__ == "__main__":
    main()
