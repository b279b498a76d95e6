"""Questions about the beginnings of stories, with their answers: what `linearnexus sft --data story-questions` teaches.

The stories are new ones (another seed than the corpus has), and the answers are what the story's own memory says, where
it stands in the two sentences that are shown.

Look first at: `generate`, `conversation`, `facts`.
"""

import json
import random
import re

from linearnexus.data.stories import PARSED_PLOTS, Story, sentences, with_articles

NAME = "story-questions"  # of the data, for people
LONGEST = 130  # characters of a beginning


def facts(story: Story, text: str) -> list[tuple[str, str]]:
    """(question, answer) for what the text says of its hero."""
    name, kind, home = (str(story[key]) for key in ("name", "kind", "home"))
    found = [("Who is the story about?", name), (f"What is {name}?", with_articles(f"a {kind}"))]
    if re.search(rf"\b{home}\b", text):
        found.append((f"Where does {name} live?", with_articles(f"in a {home}")))
    return found


def conversation(draw: random.Random) -> list[dict[str, str]]:
    """The beginning of a story with the first question, then the others about it, in any order."""
    while True:
        story = Story(draw.random)
        text = with_articles(story.tell(PARSED_PLOTS[int(draw.random() * len(PARSED_PLOTS))]))
        beginning = " ".join(sentences(text)[:2])
        if len(beginning) <= LONGEST:
            break
    asked = facts(story, beginning)
    draw.shuffle(asked)
    messages = []
    for number, (question, answer) in enumerate(asked):
        messages.append({"role": "user", "content": question if number else f"{beginning} {question}"})
        messages.append({"role": "assistant", "content": answer})
    return messages


def generate(count: int = 2000, seed: int = 7) -> str:
    """JSON lines, {"messages": [...]} each, the same for the same count and seed."""
    draw = random.Random(seed)
    return "".join(json.dumps({"messages": conversation(draw)}) + "\n" for _ in range(count))
