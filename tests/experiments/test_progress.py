import io

import datasets
import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import Stages, without_other_bars


@pytest.fixture
def clock(monkeypatch):
    """Time that only moves when told to."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def stages(terminal):
    return Stages(Console(file=io.StringIO(), force_terminal=terminal, width=120))


def test_a_stage_ends_with_a_line_of_amount_time_and_speed(clock):
    shown = stages(False)
    with shown.stage("tag", "words", 3000) as advance:
        clock[0] = 2.0
        advance(1000, False)
        clock[0] = 4.0
        advance(2000, False)
    assert shown.console.file.getvalue() == "tag: 3,000 words in 4.0 s (750 words/s)\n"


def test_what_was_done_before_does_not_count_for_the_speed(clock):
    shown = stages(False)
    with shown.stage("tag", "words", 3000) as advance:
        advance(2000, True)
        clock[0] = 4.0
        advance(1000, False)
    assert shown.console.file.getvalue() == (
        "tag: 3,000 words in 4.0 s (250 words/s), 2,000 of them done before\n"
    )


def test_on_a_terminal_the_bar_shows_words_a_second_and_the_time_left(clock):
    shown = stages(True)
    with shown.stage("tag", "words", 10_000) as advance:
        clock[0] = 10.0
        advance(4000, True)
        advance(1000, False)
        during = shown.console.file.getvalue()
    assert "5,000/10,000 words 100/s, 0:00:50 left" in during


def test_without_a_total_the_bar_shows_amount_and_speed(clock):
    shown = stages(True)
    with shown.stage("read", "words") as advance:
        clock[0] = 2.0
        advance(500, False)
        assert "500 words 250/s" in shown.console.file.getvalue()


def test_a_failed_stage_has_no_line():
    shown = stages(False)
    with pytest.raises(KeyError), shown.stage("tag", "words"):
        raise KeyError
    assert shown.console.file.getvalue() == ""


@pytest.mark.parametrize("silent", [True, False])
def test_the_bars_of_datasets_are_silenced_and_restored(silent):
    before = datasets.utils.are_progress_bars_disabled()
    switch = datasets.disable_progress_bars if silent else datasets.enable_progress_bars
    try:
        switch()
        with without_other_bars():
            assert datasets.utils.are_progress_bars_disabled()
        assert datasets.utils.are_progress_bars_disabled() == silent
    finally:
        (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
