"""`linearnexus tokenizer train CORPUS` and `linearnexus tokenizer show TEXT`: make a vocabulary, look at tokens.

linearnexus tokenizer train stories --kind bpe --vocab-size 4096 --output stories.json
linearnexus tokenizer show "Hello, world!" --tokenizers char bpe gpt2
linearnexus tokenizer show

Look first at: `train`, `show`.
"""

import os
import time
from dataclasses import dataclass
from typing import Literal

import tyro

from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError, unknown
from linearnexus.data.corpora import load_corpus
from linearnexus.teaching.tokens import SAMPLE, coloured, pieces
from linearnexus.tokenizers import NAMES, TRAINED, CharTokenizer, Tokenizer, build, check, is_path, save

HELP = """\
linearnexus tokenizer train CORPUS   train a tokenizer on a text, and save it
linearnexus tokenizer show [TEXT]    see how tokenizers cut a text

linearnexus tokenizer train --help and show --help tell their options.
"""
TRAIN = (
    "Train a tokenizer on a corpus (stories, python-docs, shakespeare, or a text file, a folder, a glob) and save it."
)
SHOW = """Show how tokenizers cut a text: tokens with their ids, vocabulary sizes, bytes per token. Without a text: the
concept guide's examples."""
GUIDE = "Hello, world!"
LETTERS = CharTokenizer("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class TokenizerTrainOptions:
    corpus: tyro.conf.Positional[str]  # stories, python-docs, shakespeare, or a text file, a folder, a glob
    kind: Literal["bpe", "word", "char"] = "bpe"  # what a token is: a piece of a word, a word, a character
    vocab_size: int | None = None  # tokens to learn at most; None: 4,096 (bpe) or 20,000 (word)
    output: str = "tokenizer.json"  # the new file


@dataclass(frozen=True)
class TokenizerShowOptions:
    text: tyro.conf.Positional[str] = ""  # the text to cut
    tokenizers: tuple[str, ...] = ("char", "byte", "word", "bpe", "gpt2")  # also cl100k, o200k, bpe:1024, files
    data: str = "stories"  # what char, word and bpe are trained on


def main(arguments: list[str]) -> None:
    verb = arguments[0] if arguments else "--help"
    if verb in ("--help", "-h", "help"):
        print(HELP, end="")
    elif verb == "train":
        train(parse(TokenizerTrainOptions, arguments[1:], "tokenizer train", TRAIN))
    elif verb == "show":
        show(parse(TokenizerShowOptions, arguments[1:], "tokenizer show", SHOW))
    else:
        raise unknown("command of tokenizer", verb, ("train", "show"))


def train(options: TokenizerTrainOptions) -> None:
    spec = options.kind if options.vocab_size is None else f"{options.kind}:{options.vocab_size}"
    check(spec)
    if os.path.lexists(options.output):
        raise UserError(f"{options.output} exists; choose another --output, or delete it.")
    corpus = load_corpus(options.corpus)
    began = time.perf_counter()
    tokenizer = build(spec, corpus.text)
    seconds = time.perf_counter() - began
    save(tokenizer, options.output)
    ids, size = tokenizer.encode_array(corpus.text), len(corpus.text.encode())
    print(
        f"{options.kind}: {tokenizer.vocab_size:,} tokens, learned from {size:,} bytes in {seconds:.1f} s. "
        f"{corpus.name} is {len(ids):,} of these tokens, {size / len(ids):.2f} bytes a token."
    )
    path = options.output if is_path(options.output) else f"./{options.output}"
    print(f"Saved as {options.output}. Train with it: linearnexus train --tokenizer {path} --data {options.corpus}")


def show(options: TokenizerShowOptions) -> None:
    from rich.console import Console
    from rich.table import Table

    if not options.tokenizers:
        raise UserError(f"--tokenizers names none; give one or more of: {', '.join(NAMES)}, or the path of a file.")
    learning = [spec for spec in options.tokenizers if check(spec)[0] in TRAINED]
    corpus = load_corpus(options.data).text[:SAMPLE] if learning else ""
    rows: list[tuple[str, Tokenizer, str]] = [] if options.text else [("char (a to z)", LETTERS, "hello")]
    rows += [(spec, build(spec, corpus), options.text or GUIDE) for spec in options.tokenizers]
    console = Console(highlight=False)
    table = Table(show_lines=True) if console.is_terminal else Table(box=None)
    table.add_column("tokenizer")
    for column in ("vocabulary", "tokens", "bytes per token"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("tokens and their ids")
    width = console.width - max(9, *(len(name) for name, _, _ in rows)) - len("vocabularytokensbytes per token") - 16
    for name, tokenizer, text in rows:
        try:
            tokens = pieces(tokenizer, text)
        except UserError as error:  # a character that the tokenizer has not learned
            table.add_row(name, f"{tokenizer.vocab_size:,}", "-", "-", coloured([(str(error).split(": ")[0], "")], 0))
            continue
        rate = f"{len(text.encode()) / len(tokens):.2f}" if tokens else "-"
        table.add_row(name, f"{tokenizer.vocab_size:,}", str(len(tokens)), rate, coloured(tokens, width))
    console.print(table)
    if learning:
        console.print(f"{', '.join(learning)}: vocabulary learned from {options.data} ({len(corpus):,} characters).")
    if not options.text:
        console.print('See your own text: linearnexus tokenizer show "..."')
