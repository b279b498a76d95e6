"""Prints docs/mixers.md: what every sequence mixer computes, remembers and costs.

    python -m scripts.mixers_table --write docs/mixers.md

The errors of the law come from docs/laws.md as it lies there; everything else comes from the code, from shapes alone.
"""

import argparse
import dataclasses
import math
import re
import textwrap
from pathlib import Path
from typing import Any

import jax

from linearnexus.core.config import config_name, config_types
from linearnexus.core.module import roles
from linearnexus.mixers.configs import MixerConfig
from linearnexus.models.costs import costs, count
from linearnexus.models.presets import PRESETS, preset
from linearnexus.ops.kv_cache import Cache

LAWS = Path(__file__).resolve().parents[1] / "docs" / "laws.md"
HIDDEN_SIZE, CONTEXT, LENGTHS = 128, 1024, (1024, 8192, 65536)
PRECISIONS = ("float32", "float64")
ERROR = re.compile(r"\d+e-?\d+|inf|nan")

# (name, what it does, the mixers): the order of the table's rows.
FAMILIES = (
    (
        "Softmax attention",
        "keeps the key and value of each token and compares each query with all of them. It forgets nothing inside its "
        "window, and its memory and its work a token grow with the text. Latent attention keeps one short vector a "
        "token, from which the keys and values of all heads are made.",
        ("attention", "latent_attention"),
    ),
    (
        "Linear attention",
        "adds: one matrix S a head, to which each token adds `k_t v_t^T`. With a decay the matrix forgets: each head "
        "at a fixed rate (RetNet), or as the token says, for each head (Mamba-2, mLSTM) or each key (GLA, RWKV-6). "
        "mLSTM's token also says how strongly it writes, without a limit; what is read is divided by the sum of those "
        "weights. Mamba-3's keys and queries turn by angles that the tokens add up, so that what it remembers can come "
        "back and not only fade, and what a token has to write is written in two shares, one with the next token.",
        ("linear_attention", "retnet", "gla", "mamba2", "mamba3", "mlstm", "rwkv6"),
    ),
    (
        "The delta rule",
        "corrects: a token first looks up what S answers to its key, and writes the difference to the value, so that a "
        "new value replaces the old one in place of piling up on it. Before that the memory may fade: all of a head "
        "alike (Gated DeltaNet), or each key by itself (Kimi Delta Attention). RWKV-7 "
        "erases along another vector than the one it looks up.",
        ("deltanet", "gated_deltanet", "kimi_delta_attention", "rwkv7"),
    ),
    (
        "The selective scan",
        "gives each channel N numbers of its own, and the token decides how far they decay and what it writes (Mamba). "
        "Mamba-2 lies between it and linear attention: with one decay a head, the numbers are the matrix above.",
        ("mamba",),
    ),
    (
        "Short convolutions",
        "mix a few neighbouring tokens and remember no more; models combine them with attention.",
        ("gated_conv",),
    ),
)

INTRODUCTION = """# Sequence mixers

A sequence mixer carries information from token to token; all else in a model works on each token alone. The table has
each one that `--pattern` knows. `python -m scripts.mixers_table --write docs/mixers.md` makes this page, and
[add_a_mixer.md](add_a_mixer.md) tells how to try one of your own.

{families}

How to read the table:

- The *mixer* is written as `--pattern` takes it, with the settings of its nano preset. All numbers are those of one
  such mixer at hidden size {hidden_size}.
- *State* is what generation remembers of one sequence: the shapes of `init_state`. T grows with the text; S is heads x
  keys x values; conv_state is the last inputs of a short convolution, or of
  three (of queries, keys and values). The *bytes* are the state's in float32, after
  1,024, 8,192 and 65,536 tokens. Attention's is a KV cache: compare the others with the first row.
- *FLOPs* are those of the forward pass for a token, averaged over a text of 1,024: two for each weight of a matrix, and
  the config's `sequence_flops`, what the recurrence does between tokens. Training costs three times as many.
- *Error* is the largest relative one, of values and gradients, that [the law](laws.md) found for the mixer: between a
  call and its steps, any split, padding or packing. The law allows 1e-4 in float32 and 1e-9 in float64.

The letters: x_t is what comes in at token t, y_t what comes out, before the last projection; q_t, k_t and v_t are its
query, key and value; S_t, or h_t, is the memory after it. a_t and g say how much of the memory stays, b_t how strongly
a token writes, K is the length of a key, h the number of a head. f is elu + 1, and z_t a normaliser; i_t is mLSTM's
input gate, and m the logarithm that its state is divided by the exponential of. In RWKV r_t is the query and u weighs
what a token reads of itself; in RWKV-7 w_t is the decay, c_t what is looked up, a_t how much of it is erased. In Mamba,
dt_t is the step size, A the rate of decay, B_t the key, C_t the query, and D what passes by the memory; in Mamba-3 l_t
is the share of its own input that a token writes at once; conv_state keeps the rest for the next one. In the
convolution, w_j is the tap j tokens back, b_t and c_t are gates, and `*` is a product channel by channel. `.` is a dot
product, I the identity. Vectors are rows where they stand left of a matrix.
"""

SMALL = """## The small presets

Each mixer with an MLP, or Mamba alone, at about the size of `gpt-nano`, with a vocabulary of 256; Jamba's mix layers of
both kinds. `linearnexus info NAME` tells what one is made of. The state is of the whole model, after 1,024 tokens.
"""


def chosen() -> list[MixerConfig]:
    """The package's sequence mixers as their nano presets have them, and attention with a window; by family."""
    known = {name: cls for name, cls in config_types(MixerConfig).items() if cls.__module__.startswith("linearnexus.")}
    order = [name for _, _, names in FAMILIES for name in names]
    found = []
    for name in sorted(known, key=lambda name: order.index(name) if name in order else len(order)):
        small = {"attention": "gpt-nano"}.get(name, f"{name.replace('_', '-')}-nano")
        found.append(preset(small).pattern[0].mixer if small in PRESETS else known[name]())
        if name == "attention":
            found.append(preset("sliding-window-nano").pattern[0].mixer)
    return found


def written(config: MixerConfig) -> str:
    """A mixer as `--pattern` takes it: its name and the settings that are not the defaults."""
    values = ((field.name, getattr(config, field.name), field.default) for field in dataclasses.fields(config))  # type: ignore[arg-type]
    options = ",".join(f"{name}={value!r}" for name, value, default in values if value != default)
    return config_name(type(config)) + (f"({options})" if options else "")


def state(config: MixerConfig, length: int) -> list[tuple[str, Any]]:
    """What is remembered of one sequence of that length: the name and shape of each array."""
    shapes = jax.eval_shape(lambda: config.init(HIDDEN_SIZE, jax.random.key(0)).init_state(1, length, "float32"))
    shapes = jax.tree.map(
        lambda part: part.whole() if isinstance(part, Cache) else part,
        shapes,
        is_leaf=lambda part: isinstance(part, Cache),
    )
    named = jax.tree_util.tree_leaves_with_path(shapes)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in named]


def state_text(config: MixerConfig) -> str:
    """`S 4 x 32 x 32`: each array's shape, without the batch; + between those of one field. T: it grows with the text,
    maybe up to a number."""

    def text(size: int, short: int, long: int) -> str:
        if short == long:
            return str(size)
        return "T" if size == LENGTHS[-1] else f"(T up to {size})"

    lengths = (LENGTHS[-1], 2, 3)
    named: dict[str, list[str]] = {}
    for (name, leaf), (_, short), (_, long) in zip(*(state(config, length) for length in lengths), strict=True):
        shape = " x ".join(map(text, leaf.shape[1:], short.shape[1:], long.shape[1:]))
        named.setdefault(name.partition(".")[0], []).append(shape)
    return ", ".join(f"{name} {' + '.join(shapes)}" for name, shapes in named.items())


def state_bytes(config: MixerConfig, length: int) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for _, leaf in state(config, length))


def flops(config: MixerConfig) -> float:
    """Forward FLOPs a token."""
    shapes = jax.eval_shape(lambda: config.init(HIDDEN_SIZE, jax.random.key(0)))
    sizes = zip(jax.tree.leaves(shapes), jax.tree.leaves(roles(shapes)), strict=True)
    matrices = sum(math.prod(leaf.shape) for leaf, role in sizes if role == "matrix")
    return 2 * matrices + config.sequence_flops(HIDDEN_SIZE, CONTEXT)


def law_errors(laws: str) -> dict[tuple[str, bool, str], str]:
    """The largest error in the rows of (mixer, has it a window?, precision) of docs/laws.md."""
    largest: dict[tuple[str, bool, str], str] = {}
    precision = ""
    for line in laws.splitlines():
        if line.startswith("## "):
            precision = line.split()[1].rstrip(",")
        elif line.startswith("| ") and precision in PRECISIONS:
            label, _, cells = line[2:].partition(" |")
            found = ERROR.findall(cells)
            if label and found:
                key = (label.split()[0], "window=" in label, precision)
                largest[key] = max([*found, largest.get(key, "0")], key=float)
    return largest


def page(laws: str) -> str:
    """The whole page. `laws`: the text of docs/laws.md."""
    errors = law_errors(laws)
    families = "\n".join(
        _wrapped(f"- **{name}** {text} ({', '.join(f'`{mixer}`' for mixer in mixers)})")
        for name, text, mixers in FAMILIES
    )
    head = ["mixer", "equation", "decay", "correction", "paper", "state", "parameters", "FLOPs"]
    head += [*(f"bytes, {length:,}" for length in LENGTHS), *(f"error, {precision}" for precision in PRECISIONS)]
    rows = []
    for config in chosen():
        shapes = jax.eval_shape(lambda config=config: config.init(HIDDEN_SIZE, jax.random.key(0)))
        window = getattr(config, "window", None) is not None
        rows.append(
            [
                f"`{written(config)}`",
                f"`{config.equation}`",
                config.decay,
                config.correction,
                config.paper,
                state_text(config),
                f"{count(shapes):,}",
                f"{flops(config):,.0f}",
                *(_bytes(state_bytes(config, length)) for length in LENGTHS),
                *(errors.get((config_name(type(config)), window, precision), "") for precision in PRECISIONS),
            ]
        )
    small = [
        [f"`{name}`", str(preset(name).n_layer), f"{one.parameters:,}", _bytes(one.state_bytes(CONTEXT))]
        for name in PRESETS
        if name.endswith("-nano")
        for one in [costs(preset(name))]
    ]
    parts = [
        INTRODUCTION.format(families=families, hidden_size=HIDDEN_SIZE),
        _table(head, rows, right=6),
        SMALL,
        _table(["preset", "layers", "parameters", "state"], small, right=1),
    ]
    return "\n".join(parts)


def _table(head: list[str], rows: list[list[str]], right: int) -> str:
    """A Markdown table; columns from number `right` on stand to the right."""
    rule = ["---" if number < right else "---:" for number in range(len(head))]
    cells = [head, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024 or unit == "MiB":
            return f"{value:.4g} {unit}"
        value /= 1024
    raise AssertionError


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.mixers_table", description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there, in place of printing it")
    options = parser.parse_args()
    text = page(LAWS.read_text(encoding="utf-8") if LAWS.exists() else "")
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
