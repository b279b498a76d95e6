"""The links of docs/concepts.md and docs/glossary.md. tests/test_teaching.py runs the commands of the page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [CONCEPTS, GLOSSARY], ids=["concepts", "glossary"])
def test_links_lead_somewhere(page: str) -> None:
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", page, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", page):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / "docs" / target).exists(), target


def test_the_glossary_names_what_the_code_has() -> None:
    """Catches a class, function or field that was renamed."""
    entries = re.findall(r"^- \*\*(.+?)\*\*: .+\]\(\.\./(.+?)\)(?: `(\w+)`)?$", GLOSSARY, re.M)
    assert len(entries) == GLOSSARY.count("\n- ") > 40
    assert [term.lower() for term, _, _ in entries] == sorted(term.lower() for term, _, _ in entries)
    for term, file, name in entries:
        code = (ROOT / file).read_text(encoding="utf-8")
        defined = rf"(?:class|def) {name}\b|^ *{name}\b[^=\n]*[:=]"
        assert not name or re.search(defined, code, re.M), (term, file, name)
