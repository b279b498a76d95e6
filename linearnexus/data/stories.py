"""The default corpus `stories`: short children's stories, told by a small grammar.

There is nothing to download: `generate()` writes about four million characters of simple, coherent stories, and the
same seed gives the same bytes on every machine and every Python from 3.11 on. The language is plain enough for a tiny
character model to learn in minutes: first letters and spaces, then words, then sentences, then little plots.

How it works: a plot is a text with gaps, a "template". Telling a story means filling the gaps from left to right:

    [ran|walked] {place.to}    one of the alternatives; then what this story remembers as `place.to`
    {He} picked {flowers}.     the pronoun of the hero, with a capital; then a fresh word from the list `flowers`

A `Story` remembers who and what is in it, so that Mia stays Mia, and the ring that is lost is the ring that is found.
Pronouns are right by construction: no two characters of a story share one, so "he" can only mean one of them. And the
templates only ever write "a"; a last step over the whole text turns it into "an" where it should.

Three things to look at first: `PLOTS` in story_words.py (what a plot looks like), `Story` (what is remembered), and
`generate` (how the corpus is put together). To read some stories: python -m linearnexus.data.stories
"""

import random
import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from linearnexus.data.story_words import GROUPS, KINDS, PLOTS, PRONOUNS, TABLES, WORDS

SIZE = 4_000_000  # characters in the default corpus

# --- templates: a piece of a template is a plain string or one of these ---


class Sequence(tuple):
    """Pieces said one after the other."""


class Choice(tuple):
    """`[a|b|c]`: one of the alternatives, all equally likely."""


class WordList(tuple):
    """A list of words or phrases, of which none comes twice in a story."""


class Field(NamedTuple):
    """`{name}`: what the story remembers under this name, which may be a list of words. `{Name}`: with a capital."""

    name: str
    capital: bool


Piece = str | Sequence | Choice | WordList | Field


def parse(template: str, several: type[Choice] | type[WordList] = Choice) -> Piece:
    """Turns a template into pieces; alternatives at the top level ("a | b | c") become a `several`."""
    tokens = re.findall(r"\{[^{}]+\}|[\[\]|]|[^\[\]|{}]+", template)
    if "".join(tokens) != template:
        raise ValueError(f"a lone brace in {template!r}")
    position = 0

    def alternatives(several: type[Choice] | type[WordList]) -> Piece:
        nonlocal position
        found: list[list[Piece]] = []
        pieces: list[Piece] = []
        while position < len(tokens) and tokens[position] != "]":
            token = tokens[position]
            position += 1
            if token == "|":
                found.append(pieces)
                pieces = []
            elif token == "[":
                pieces.append(alternatives(Choice))
                position += 1  # the closing bracket
            else:
                pieces.append(Field(token[1].lower() + token[2:-1], token[1].isupper()) if token[0] == "{" else token)
        found.append(pieces)
        options = [pieces[0] if len(pieces) == 1 else Sequence(pieces) for pieces in found]
        return options[0] if len(options) == 1 else several(options)

    tree = alternatives(several)
    if position != len(tokens) or template.count("[") != template.count("]"):
        raise ValueError(f"brackets do not match in {template!r}")
    return tree


def parse_list(text: str) -> Piece:
    """Parses "red | blue | green", which may run over several lines, to a list of words."""
    return parse(re.sub(r" *\| *", "|", " ".join(text.split())), WordList)


def lines_of(text: str) -> list[str]:
    """The lines of an indented text; a line that is indented more than the others goes on with the one above it."""
    return re.sub(r"\n +", " ", textwrap.dedent(text).strip()).split("\n")


def parse_table(text: str) -> list[dict[str, Piece]]:
    """Parses rows such as "ball; what: a big {color} ball; ask: May I play with it" to one dictionary each."""
    rows = [("name: " + row).split("; ") for row in lines_of(text) if row]
    return [{key: parse_list(words) for key, words in (cell.split(": ", 1) for cell in row)} for row in rows]


class Plot:
    """A parsed plot: what to remember (`name: template` lines), then the story, a template with line breaks."""

    def __init__(self, text: str):
        head, body = "\n".join(lines_of(text)).split("\n\n", 1)
        self.head: list[tuple[str, Piece]] = []
        for line in head.split("\n"):
            names, template = line.split(": ", 1)
            self.head += [(name.strip(), parse(template)) for name in names.split(",")]
        steps = []
        for line in body.split("\n"):
            step = f"[|{line[2:]}]" if line.startswith("? ") else line  # a line after "? " is told or left out
            steps.append(step or "\n")  # an empty line in a plot is a line break in the story
        self.body = parse(" ".join(steps))


# --- the grammar, parsed once ---

WORD_LISTS = {name: parse_list(text) for name, text in WORDS.items()}
ROWS = {name: parse_table(text) for name, text in TABLES.items()}
GROUP_FIELDS = {name: {key: parse_list(text) for key, text in fields.items()} for name, fields in GROUPS.items()}
PARSED_PLOTS = [Plot(text) for text in PLOTS.values()]


class Story(dict[str, Piece]):
    """What one story remembers: a name such as "hero", "hero.home" or "place.spot", and what it stands for."""

    def __init__(self, draw: Callable[[], float]):
        super().__init__(WORD_LISTS)  # a name that is not given a meaning is a list of words
        self.draw = draw  # gives the next random number between 0 and 1
        self.used: set[tuple[int, int]] = set()  # the words already said, by (list, index)
        self.taken: list[str] = []  # the pronoun and the kind of every character so far: no two alike

    def say(self, piece: Piece) -> str:
        """Turns a piece into text, from left to right."""
        said, capital, waiting = [], False, [piece]
        while waiting:
            piece = waiting.pop()
            if isinstance(piece, str):
                said.append(piece[:1].upper() + piece[1:] if capital else piece)
                capital = capital and not piece
            elif isinstance(piece, Sequence):
                waiting.extend(reversed(piece))
            elif isinstance(piece, Choice):
                waiting.append(piece[int(self.draw() * len(piece))])
            elif isinstance(piece, WordList):
                waiting.append(self.pick(piece))
            else:
                waiting.append(self[piece.name])
                capital = capital or piece.capital
        return "".join(said)

    def pick(self, words: WordList) -> Piece:
        """A word not yet said in this story. The first ones of a long list are common, the last ones rare."""
        u = self.draw()
        index = int((u * u if len(words) > 20 else u) * len(words))  # squaring favors the small indices
        for _ in words:
            if (id(words), index) not in self.used:
                break
            index = (index + 1) % len(words)
        self.used.add((id(words), index))
        return words[index]

    def remember(self, name: str, source: str) -> None:
        """Binds a name to a character (source "CHILD"), a row of a table (source "PLACE"), or to the text itself."""
        if source in KINDS:
            self.cast(name, source)
        elif source in ROWS:
            rows = ROWS[source]
            row = rows[int(self.draw() * len(rows))]
            self[name] = row["name"]
            for key, piece in row.items():
                self[f"{name}.{key}"] = piece
        else:
            self[name] = source

    def cast(self, role: str, group: str) -> None:
        """Brings in a character of a kind and with a pronoun that nobody else in this story has."""
        kinds = KINDS[group]
        while True:
            u = self.draw()
            kind, pronoun, home = kinds[int(u * u * len(kinds))]
            if pronoun == "any":
                pronoun = "she" if self.draw() < 0.5 else "he"
            if pronoun not in self.taken and kind not in self.taken:
                break
        self.taken += [pronoun, kind]
        person: dict[str, Piece] = {"kind": kind, "home": home, **PRONOUNS[pronoun]}
        if pronoun == "it":
            self[role] = "the " + kind
        else:
            name = self.say(WORD_LISTS["girl" if pronoun == "she" else "boy"])
            person["name"] = name
            person["who"] = Choice((f"{kind} called {name}", f"{kind} called {name}", f"{kind} named {name}"))
            self[role] = Choice((name, name, name, name, "the " + kind))
        if role == "hero":
            self.update(person)  # the hero's own fields need no prefix: {he}, {his}, {home}
        for key, piece in (person | GROUP_FIELDS[group]).items():
            self[f"{role}.{key}"] = piece

    def tell(self, plot: Plot) -> str:
        """Remembers what the plot asks for, then tells it."""
        self.remember("season", "SEASON")
        self.remember("start", "START")
        for name, template in plot.head:
            self.remember(name, self.say(template))
        lines = self.say(plot.body).split("\n")
        return "\n".join([" ".join(line.split()) for line in lines])  # no double spaces where something was left out


def generate(size: int = SIZE, seed: int = 0) -> str:
    """Writes about `size` characters of stories (it stops with the story that reaches them), one blank line between."""
    draw = random.Random(seed).random  # the only source of chance: its sequence is the same on every Python 3
    stories, length = [], 0
    while length < size:
        plot = PARSED_PLOTS[int(draw() * len(PARSED_PLOTS))]
        stories.append(Story(draw).tell(plot))
        length += len(stories[-1]) + 2
    return with_articles("\n\n".join(stories))


def with_articles(text: str) -> str:
    """Turns "a" to "an" where the next word starts with a vowel sound; the templates only ever write "a"."""
    return re.sub(r"\b([Aa]) (?=[aeiou]|hour|honest)(?!uni|use|one)", r"\1n ", text)


# --- measuring ---

SENTENCE_END = re.compile(r"""[.!?]+["']? +(?=["'A-Z0-9])""")


def sentences(text: str) -> list[str]:
    """Splits text into sentences: at the end of a line, and after . ! or ? outside of "quoted speech"."""
    found = []
    for line in text.splitlines():
        start = 0
        for end in SENTENCE_END.finditer(line):
            if line.count('"', start, end.end()) % 2 == 0:
                found.append(line[start : end.end()].strip())
                start = end.end()
        found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


def verbatim_share(generated: str, corpus: str) -> float:
    """The share of the complete sentences of `generated` that stand word for word in `corpus` (0.0 if it has none)."""
    known = set(sentences(corpus))
    complete = [sentence for sentence in sentences(generated) if sentence.rstrip("\"'")[-1:] in (".", "!", "?")]
    return sum(sentence in known for sentence in complete) / len(complete) if complete else 0.0


if __name__ == "__main__":
    print(generate(size=5_000, seed=random.randrange(1_000_000)))
