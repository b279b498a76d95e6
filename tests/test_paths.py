"""Files and folders that are whole or absent."""

from pathlib import Path

import pytest

from linearnexus.core.paths import atomic_folder


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    """Catches half a folder, a temporary one that stays, and parents that are not made."""
    path = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with atomic_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("whole")
        assert not path.exists()
    assert contents(tmp_path) == {"deep/out/sub/a": "whole"}


def test_a_folder_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an old folder that is deleted before the new one is whole, and one that a failed rename loses."""
    path = tmp_path / "out"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("old")
    with atomic_folder(path) as folder:
        (folder / "b").write_text("new")
        assert contents(path) == {"a": "old"}
    assert contents(tmp_path) == {"out/b": "new"}
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp") and ".old." not in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"), atomic_folder(path) as folder:
        (folder / "c").write_text("newer")
    assert contents(tmp_path) == {"out/b": "new"} and len(list(tmp_path.iterdir())) == 1
