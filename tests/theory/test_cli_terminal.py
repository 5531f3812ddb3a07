"""The command line as a person meets it: narrow terminals, Ctrl-C."""

import pytest
from rich.console import Console

from theory import terminal
from theory.__main__ import main

QUICK = ("--claim", "A4", "--effort", "quick")


def test_ctrl_c_ends_without_a_traceback(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("theory.terminal.watch", interrupted)
    assert main([*QUICK, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [60, 80, 99])
def test_narrow_terminals_lose_no_number(width, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(terminal, "_console", lambda: Console(width=width))
    assert main([*QUICK, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4.421 = 4.421  holds as corrected" in said
    assert max(map(len, said.splitlines())) <= width
