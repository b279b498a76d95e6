"""Questions about the beginnings of stories, with their answers, as JSON lines for `linearnexus sft`.

    python -m benchmarks.story_questions --write questions.jsonl

The stories are new ones (another seed than the corpus has), and the answers are what the story's own memory says, where
it stands in the two sentences that are shown.

Look first at: `conversation`, `facts`.
"""

import argparse
import json
import random
import re
from pathlib import Path

from linearnexus.data.stories import PARSED_PLOTS, Story, sentences, with_articles

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
        messages.append({"role": "user", "content": question if number else f"{beginning}\n{question}"})
        messages.append({"role": "assistant", "content": answer})
    return messages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the file to write; without it some are printed")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    lines = [json.dumps({"messages": conversation(draw)}) + "\n" for _ in range(chosen.count if chosen.write else 3)]
    if chosen.write:
        chosen.write.write_text("".join(lines))
    else:
        print("".join(lines), end="")


if __name__ == "__main__":
    main()
