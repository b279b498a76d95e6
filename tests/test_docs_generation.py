"""docs/generation.md works as written."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "generation.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_programs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(program, "generation.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 4 * 20 and Path("talk.session").is_file()
