"""The lessons work as written: each block of Python prints what the page says."""

import re
from pathlib import Path

import pytest

from scripts.lessons import printed

LESSONS = sorted((Path(__file__).resolve().parents[1] / "docs" / "lessons").glob("*.md"))


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)
@pytest.mark.slow
def test_a_lesson(page: Path) -> None:
    """As one program; the same numbers on every machine, to the digits that are printed."""
    text = page.read_text(encoding="utf-8")
    blocks = printed(text)
    assert len(blocks) >= 3
    for output, shown in blocks:
        assert output == shown
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
