from pathlib import Path

import pytest

from taskrobust._files import write_atomically


def test_files_are_replaced_whole_and_readable_by_all(tmp_path):
    path = tmp_path / "ledger.md"
    write_atomically(path, "old")
    write_atomically(path, "neu ≤ é\n")
    assert path.read_bytes() == "neu ≤ é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "ledger.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")  # a lone surrogate has no encoding

    def full(*_):
        raise OSError("no space left")

    for step in ("replace", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, full)
            with pytest.raises(OSError, match="no space left"):
                write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_trace(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "ledger.md", "text")
    assert list(tmp_path.iterdir()) == []
