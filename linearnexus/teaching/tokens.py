"""`explain tokens`: the same text as characters, words and pieces of words, and how large each vocabulary is.

Look first at: `cuts`, `pieces`.
"""

from dataclasses import dataclass

from rich.text import Text

from linearnexus.core.errors import UserError
from linearnexus.data.corpora import load_corpus
from linearnexus.teaching.explanation import Explanation, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import COLOURS, Box, Row, rows
from linearnexus.tokenizers import Tokenizer, build
from linearnexus.tokenizers.byte_pieces import BytePieces

CORPUS = "stories"
SAMPLE = 2_000_000  # characters of a corpus that a tokenizer learns from here: a second
KINDS = {  # the guide's, and what they are built with
    "character": "char",
    "byte": "byte",
    "BPE learned here": "bpe",
    "BPE of GPT-2": "gpt2",
    "word": "word",
}
TERMINAL = ("black on bright_cyan", "black on bright_yellow", "black on bright_green", "black on bright_magenta")


@dataclass(frozen=True)
class Cut:
    kind: str
    vocab_size: int
    tokens: list[tuple[str, str]]  # each in quotes, and its id
    unknown: str = ""  # why the text cannot be cut


def cuts(text: str) -> list[Cut]:
    """The text by every kind of tokenizer; those that learn have read the stories."""
    corpus = load_corpus(CORPUS).text[:SAMPLE]
    found = []
    for kind, spec in KINDS.items():
        tokenizer = build(spec, corpus)
        try:
            found.append(Cut(kind, tokenizer.vocab_size, pieces(tokenizer, text)))
        except UserError as error:  # a character that the tokenizer has not learned
            found.append(Cut(kind, tokenizer.vocab_size, [], str(error).split(": ")[0]))
    return found


def pieces(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    """Each token in quotes and its id; half a character as its bytes."""
    found = []
    for token in tokenizer.encode(text):
        shown = repr(tokenizer.decode([token]))
        if "\ufffd" in shown and isinstance(tokenizer, BytePieces):
            shown = repr(tokenizer.pieces[token])[1:]
        found.append((shown, str(token)))
    return found


def coloured(tokens: list[tuple[str, str]], width: int) -> Text:
    """The tokens in lines of at most `width` characters: a token has spaces, at which rich would break it."""
    lines = Text()
    used = 0
    for place, (shown, token) in enumerate(tokens):
        size = Text(shown).cell_len + len(token) + 3
        if used and used + size > width + 2:  # the last two spaces may stand out
            lines.rstrip()
            lines.append("\n")
            used = 0
        lines.append(shown, TERMINAL[place % len(TERMINAL)] if token else "").append(f" {token}  ", "dim")
        used += size
    lines.rstrip()
    return lines


def explain(text: str) -> Explanation:
    found = cuts(text)
    width = 34  # of the last column, in a terminal of 80
    lines = [
        (
            cut.kind,
            f"{cut.vocab_size:,}",
            str(len(cut.tokens)) if not cut.unknown else "-",
            coloured(cut.tokens or [(cut.unknown, "")], width),
        )
        for cut in found
    ]
    made = table("One text, cut in several ways", ("a token is a", "vocabulary", "tokens", "tokens and their ids"), [])
    made.columns[3].justify = "left"
    for line in lines:
        made.add_row(*line)
    note = f"Character, word and the first BPE have learned their vocabulary from {CORPUS} ({SAMPLE:,} characters)."
    return Explanation((made, note), _picture(text, found))


def _picture(text: str, found: list[Cut]) -> Picture:
    lines = []
    for cut in found:
        boxes = [
            Box(max(len(token), len(number)) + 1, token, COLOURS[place % 4])
            for place, (token, number) in enumerate(cut.tokens)
        ]
        note = cut.unknown or f"{len(cut.tokens)} tokens of {cut.vocab_size:,}"
        lines.append(Row(cut.kind, boxes or [Box(0, "", COLOURS[0])], note))
    return rows(f"{text!r} as tokens", "Each box is a token, one number for the model.", lines, "")
