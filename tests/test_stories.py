"""The embedded corpus: always the same bytes, correct in form, and pronouns that fit."""

import hashlib
import random
import re
from collections import Counter

import pytest

from linearnexus.data import stories
from linearnexus.data.story_words import PLOTS, WORDS

# It changes whenever a word, a plot or the mechanism does; the failing test shows the new one.
DIGEST = "d4918e72f9e3a2bf3b605b697da54e78f740ab3325ca414a9ef0c73f3d6f6da3"


@pytest.fixture(scope="module")
def text() -> str:
    return stories.generate()


def test_the_same_bytes_everywhere(text):
    assert hashlib.sha256(text.encode("ascii")).hexdigest() == DIGEST
    assert stories.SIZE <= len(text) < stories.SIZE + 2_000


def test_size_and_seed():
    small = stories.generate(size=3_000, seed=1)
    assert 3_000 <= len(small) < 5_000
    assert small == stories.generate(size=3_000, seed=1)
    assert small != stories.generate(size=3_000, seed=2)
    assert stories.generate(size=0) == ""


def test_many_words_and_none_of_them_too_rare(text):
    counts = Counter(re.findall(r"[a-z']+", text.lower()))
    assert len(counts) >= 1_500
    assert sum(count < 20 for count in counts.values()) < 0.06 * len(counts)
    assert min(counts.values()) >= 5


def test_plain_characters_and_all_of_the_common_ones(text):
    assert text.isascii()
    wanted = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:; \n"
    assert set(text) == set(wanted)


def test_openings(text):
    documents = text.split("\n\n")
    for opening in ("Once upon a time there was a princess", "One day", "Long ago", "In a small village"):
        assert sum(document.startswith(opening) for document in documents) > 100, opening


def test_no_story_comes_twice(text):
    documents = text.split("\n\n")
    assert len(documents) > 4_000
    assert len(set(documents)) == len(documents)
    assert all(300 < len(document) < 1_300 for document in documents)


@pytest.mark.parametrize(
    "mistake",
    [
        r"\b[Aa] [aeiou]",  # a owl
        r"\b[Aa]n (?!hour)[^aeiou]",  # an fox
        r"[{}\[\]|]",  # a gap that was not filled
        r"  | \n|\n ",
        r" [.,!?;:]|[.,!?;:][.,!?;:]",
        r"[.!?] [a-z]",  # a sentence without a capital
        r"\b(\w+) \1\b",  # the the
        r"[^.!?\"\n]\n",  # a line that does not end like a sentence
    ],
)
def test_form(text, mistake):
    found = re.search(mistake, text)
    assert found is None, text[max(0, found.start() - 40) : found.end() + 40]


def test_every_line_closes_its_quotes(text):
    assert all(line.count('"') % 2 == 0 for line in text.split("\n"))


def test_plots():
    assert len(PLOTS) >= 20


@pytest.mark.parametrize("name", PLOTS)
def test_pronouns_and_names_belong_to_the_cast(name):
    """No two characters share a pronoun or a kind, and no pronoun or name appears without its character."""
    plot = stories.PARSED_PLOTS[list(PLOTS).index(name)]
    draw = random.Random(0).random
    told = set()
    for _ in range(50):
        story = stories.Story(draw)
        text = story.tell(plot)
        told.add(text)
        assert len(story.taken) == len(set(story.taken))
        words = set(re.findall(r"\w+", text))
        for pronoun, forms, names in (
            ("he", "he him his himself He His", WORDS["boy"]),
            ("she", "she her herself She Her", WORDS["girl"]),
        ):
            present = pronoun in story.taken
            assert len(words & set(names.split())) == (1 if present else 0), text
            assert present or not words & set(forms.split()), text
    assert len(told) == 50


def test_sentences():
    text = 'Mia ran. "Stop! Where are you going?" asked Tom. He was 7 years old!\n"Home," said Mia. And'
    assert stories.sentences(text) == [
        "Mia ran.",
        '"Stop! Where are you going?" asked Tom.',
        "He was 7 years old!",
        '"Home," said Mia.',
        "And",
    ]


def test_verbatim_share():
    corpus = 'Mia ran home. "Oh no!" cried Tom. It was late.'
    # the last sentence is not complete, so it does not count
    assert stories.verbatim_share('Mia ran home. "Oh no!" cried Ben. It was', corpus) == 0.5
    assert stories.verbatim_share(corpus, corpus) == 1.0
    assert stories.verbatim_share("and", corpus) == 0.0


def test_templates_with_mistakes_are_refused():
    for template in ("{a", "a}", "[a|b", "a]"):
        with pytest.raises(ValueError):
            stories.parse(template)
