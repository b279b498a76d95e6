"""The errors of one mixer or preset, measured in a process of its own, and the table of them."""

import time

LARGE = ("steps", "packed", "training")  # of the presets larger than the nano ones
COLUMNS = ("steps", "split", "pad left", "pad right", "pad holes", "batch", "packed", "training", "ring", "rounding")
ROUNDS = 2  # random arrangements of a mixer's documents
LONG, LONG_ATTENTION = 4097, 500  # tokens of a long training call; attention's weights grow with the square
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
| training | calls without a state: padded, packed, and long: mixers 4,097 tokens, attention 500 |
| ring | a cache shorter than the text, so that it wraps |
| alone | "exact": changing a token changes, to the last bit, no earlier output and no other document's |

A preset larger than the nano ones has its own width, one period of its layers and one more, and a vocabulary of 97; of
it, the three columns that imply most of the others are measured. Of presets, whose programs take long to compile, the
document alone stands beside copies of itself.

A bold number is above the tolerance, which every mixer keeps. Where a preset, a whole model, has one in float32,
"rounding" tells what rounding alone does to the documents alone, in one call: how far they are from the same function
of the same numbers in float64, or how far that function itself moves, in float64, when each parameter moves by at most
half a unit in its last float32 place (six times at random), whichever is more. Two ways to feed the tokens, each so far
off, may differ by twice that; the command fails where it is more. A norm over a head's output (RetNet, GLA, RWKV-6) or
a state's input (Jamba with experts) can multiply rounding by 1 / sqrt(eps) = 300 where what it normalises is nearly
zero, as at the first token of a document.
"""


def measure(kind: str, name: str, dtype: str) -> tuple[str, dict[str, tuple[float, float] | None], list[str], float]:
    """One row in one precision, in a process of its own."""
    from linearnexus.models.presets import preset
    from tests.laws import subjects
    from tests.laws.law import TOLERANCE

    begin = time.perf_counter()
    columns: tuple[str, ...] = COLUMNS[:-2]
    if kind == "mixer":
        config, label, rounds = subjects.mixer_examples()[name], name, ROUNDS
        ring = subjects.ring_law(config, dtype)
        laws = subjects.mixer_law(config, dtype, long=LONG if ring is None else LONG_ATTENTION)
    else:
        laws, ring, rounds = subjects.model_law(name, dtype), None, 1
        used, whole = subjects.shortened(preset(name), subjects.SMALL).n_layer, preset(name).n_layer
        label = name if used == whole else f"{name}, {used} of {whole} layers"
        if not name.endswith("-nano"):
            columns = LARGE
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(COLUMNS)
    for column in columns:
        errors = [laws.measure(column) for _ in range(1 if column == "training" else rounds)]
        found[column] = tuple(max(one[part] for one in errors) for part in ("values", "gradients"))
    if ring is not None:
        errors = [ring.measure(column) for column in ("steps", "split", "packed") for _ in range(rounds)]
        found["ring"] = tuple(max(one[part] for one in errors) for part in ("values", "gradients"))
    worst = max(max(errors) for errors in found.values() if errors)
    leaks = laws.leaks()
    if kind == "preset" and dtype == "float32" and worst > TOLERANCE[dtype]:
        rounding = laws.rounding(subjects.model_law(name, "float64"))
        found["rounding"] = rounding["values"], rounding["gradients"]
    return label, found, leaks, time.perf_counter() - begin


def keeps(found: dict[str, tuple[float, float] | None], dtype: str) -> bool:
    """Are the errors of a row within the tolerance, or of a preset in float32 within twice what rounding does to it?"""
    from tests.laws.law import TOLERANCE

    rounding = found["rounding"] or (0.0, 0.0)
    return all(
        error < max(TOLERANCE[dtype], 2 * limit)
        for column, errors in found.items()
        if errors and column != "rounding"
        for error, limit in zip(errors, rounding, strict=True)
    )


OPERATIONS = """
## The op families at their extremes

`chunked` (matrix products) against `recurrent` in float64 (the specification, which the tests hold against the papers'
equations in NumPy): values and final states, then gradients of all inputs and of the initial state, which is not zero.

| column | what is drawn |
|---|---|
| T 1 ... 4097 | texts of 1, 2, 31, 32, 33, 100, 1,000 and 4,097 tokens; a chunk has 32 |
| documents | a fifth of the tokens invalid, starts anywhere, in the middle of chunks |
| decays 1e-6 and 0.9999 | each token, head and key draws one of the two |
| one key | every key of a text the same unit vector, with beta 0.5, 0.9 and 1.9 |
| 100 calls | the state carried over 100 calls of 1 to 64 tokens, gradients through all of them |
"""


def measure_operation(name: str, dtype: str) -> tuple[dict[str, tuple[float, float] | None], float]:
    """One op family in one precision, in a process of its own."""
    from tests.laws import operations

    return operations.measure(name, dtype)


def operations_table(rows: dict[str, dict[str, tuple[float, float] | None]], tolerance: float) -> list[str]:
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, found in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(found[column], tolerance) for column in columns) + " |")
    return lines


def _cell(errors: tuple[float, float] | None, tolerance: float) -> str:
    if errors is None:
        return ""
    text = " / ".join(f"{error:.0e}".replace("e-0", "e-") if error else "0" for error in errors)
    return text if max(errors) < tolerance else f"**{text}**"


def table(rows: list[tuple[str, dict[str, tuple[float, float] | None], list[str]]], tolerance: float) -> list[str]:
    lines = ["| | " + " | ".join((*COLUMNS, "alone")) + " |", "|---|" + "---|" * (len(COLUMNS) + 1)]
    for label, found, leaks in rows:
        cells = [_cell(found[column], tolerance) for column in COLUMNS]
        lines.append(f"| {label} | " + " | ".join((*cells, "**leaks**" if leaks else "exact")) + " |")
    return lines
