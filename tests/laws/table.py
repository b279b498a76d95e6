"""The errors of one mixer or preset, measured in a process of its own, and the table of them."""

import time

COLUMNS = ("steps", "split", "pad left", "pad right", "pad holes", "batch", "packed", "training", "ring")
ROUNDS = 3  # random arrangements of a mixer's documents
TEXT = """# The law, measured

A mixer and a model compute the same thing whichever way tokens are fed to them: **a call over T tokens = T steps = any
split into calls = the same tokens with any padding, any batch mates, any packing**, from any state. Each number is the
largest error that was found against each document alone in one call: max |a - b| / max |b| of any tensor. First the
error of outputs and final states, then that of the gradients (of parameters, inputs and initial states).

| column | what is compared with the document alone, in one call |
|---|---|
| steps | one token at a time, by the paper's recurrence |
| split | calls of several lengths, one of a single token |
| pad left, right, holes | invalid tokens before, after, anywhere; of large numbers, with gradients exactly zero |
| batch | rows of different lengths together |
| packed | documents behind one another in a row, borders anywhere, whole, in steps, and split with padding |
| training | calls without a state: padded, packed, and (mixers) 150 tokens long |
| ring | a cache shorter than the text, so that it wraps |
| alone | "exact": changing a token changes, to the last bit, no earlier output and no other document's |

A published preset has its own width, one period of its layers and one more, and a vocabulary of 97.
"""


def measure(kind: str, name: str, dtype: str) -> tuple[str, dict[str, tuple[float, float] | None], list[str], float]:
    """One row in one precision, in a process of its own."""
    from linearnexus.models.presets import preset
    from tests.laws import subjects

    begin = time.perf_counter()
    if kind == "mixer":
        config, label, rounds = subjects.mixer_examples()[name], name, ROUNDS
        laws, ring = subjects.mixer_law(config, dtype), subjects.ring_law(config, dtype)
    else:
        laws, ring, rounds = subjects.model_law(name, dtype), None, 1
        used, whole = subjects.shortened(preset(name), subjects.SMALL).n_layer, preset(name).n_layer
        label = name if used == whole else f"{name}, {used} of {whole} layers"
    found: dict[str, tuple[float, float] | None] = {}
    for column in COLUMNS[:-1]:
        errors = [laws.measure(column) for _ in range(rounds)]
        found[column] = tuple(max(one[part] for one in errors) for part in ("values", "gradients"))
    found["ring"] = None
    if ring is not None:
        errors = [ring.measure(column) for column in ("steps", "split", "packed") for _ in range(rounds)]
        found["ring"] = tuple(max(one[part] for one in errors) for part in ("values", "gradients"))
    return label, found, laws.leaks(), time.perf_counter() - begin


def table(rows: list[tuple[str, dict[str, tuple[float, float] | None], list[str]]], tolerance: float) -> list[str]:
    lines = ["| | " + " | ".join((*COLUMNS, "alone")) + " |", "|---|" + "---|" * (len(COLUMNS) + 1)]
    for label, found, leaks in rows:
        cells = []
        for column in COLUMNS:
            errors = found[column]
            text = (
                ""
                if errors is None
                else " / ".join(f"{error:.0e}".replace("e-0", "e-") if error else "0" for error in errors)
            )
            cells.append(f"**{text}**" if errors and not max(errors) < tolerance else text)
        lines.append(f"| {label} | " + " | ".join((*cells, "**leaks**" if leaks else "exact")) + " |")
    return lines
