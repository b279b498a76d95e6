"""What --help says, and how options are read; what a mistake hears is in test_mistakes.py."""

import pytest

from linearnexus.cli import explain
from linearnexus.cli.main import VERBS, main
from linearnexus.cli.parse import parse

HELPS = [*(verb for verb in VERBS if verb not in ("data", "tokenizer")), "data prepare", "tokenizer train"]


@pytest.mark.parametrize("verb", HELPS)
def test_help_speaks_of_the_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a type or a nameless place where a word would do, and a note for programmers."""
    with pytest.raises(SystemExit) as end:
        main([*verb.split(), "--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0 and told.startswith(f"usage: linearnexus {verb} ")
    assert not [word for word in ("{None}|", "comments", "│ STR", " [STR] ") if word in told]


def test_an_option_may_be_given_as_none() -> None:
    options = parse(explain.ExplainOptions, ["attention", "--run", "None", "--save", "a.svg"], "explain", "")
    assert options == explain.ExplainOptions("attention", run=None, save="a.svg")
