"""Sweeps that are killed and restarted, and the points and table that they are made for."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from theory.claims import Effort
from theory.sampling import __main__ as command
from theory.sampling import points as points_module
from theory.sampling.points import Point, evaluate
from theory.sampling.sweep import generator, key, sweep
from theory.sampling.table import measure_rows, points

ROOT = Path(__file__).resolve().parents[2]
POINTS = [
    Point("skewed", "0.05", delta=0.2, dim=2, replicates=400, start=e, seed=s)
    for e in (0.5, 1.0)
    for s in range(8)
]
CONFIGURATIONS = [point.configuration() for point in POINTS]

# The pauses stand for long measurements; the last points never end, so that however slow this
# machine is the sweep is not over when it is killed.
CHILD = """
import sys, time
from pathlib import Path
from tests.theory.test_sampling_sweep import CONFIGURATIONS, evaluate
from theory.sampling.sweep import sweep

def slowly(configuration, rng):
    result = evaluate(configuration, rng)
    time.sleep(0.05 if CONFIGURATIONS.index(configuration) < 12 else 3600)
    return result

sweep(CONFIGURATIONS, slowly, Path(sys.argv[1]))
"""


def finished(directory):
    return sorted(directory.glob("*.json"))


def test_a_killed_and_restarted_sweep_gives_the_uninterrupted_numbers(tmp_path):
    chance = random.Random()
    for least in (1, 7):  # two kills, each after a few more points, at a random moment
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], env=environment)
        while len(finished(tmp_path)) < least:
            assert child.poll() is None, "the sweep ended before it could be killed"
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.2))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    kept = {path: path.read_bytes() for path in finished(tmp_path)}
    assert 7 <= len(kept) < len(CONFIGURATIONS)
    measured = []

    def counted(configuration, rng):
        measured.append(key(configuration))
        return evaluate(configuration, rng)

    resumed = sweep(CONFIGURATIONS, counted, tmp_path)
    assert len(measured) == len(CONFIGURATIONS) - len(kept)
    assert all(path.read_bytes() == text for path, text in kept.items())
    assert resumed == sweep(CONFIGURATIONS, evaluate)  # uninterrupted, nothing kept
    assert len({json.dumps(r["lower"]) + json.dumps(r["quantile"]) for r in resumed}) > 1


def test_results_do_not_depend_on_the_order_or_the_company_of_points():
    backwards = sweep(CONFIGURATIONS[::-1][:3], evaluate)
    assert backwards[0] == sweep(CONFIGURATIONS[-1:], evaluate)[0]


def test_a_key_depends_on_every_field_and_not_on_their_order():
    base = Point("shifted", "0.1").configuration()
    assert key(base) == key(dict(reversed(base.items())))
    others = {
        "family": "linear",
        "epsilon": "0.2",
        "delta": 0.1,
        "tasks": 2,
        "dim": 2,
        "start": 2.0,
        "mixture": "uniform",
        "replicates": 7,
        "seed": 1,
    }
    assert set(others) == set(base)
    keys = {key({**base, name: value}) for name, value in others.items()}
    assert len(keys | {key(base)}) == len(others) + 1
    first, second = (generator(base).random() for _ in range(2))
    assert first == second != generator({**base, "seed": 1}).random()


def test_failures_of_a_measurement_keep_what_was_finished(tmp_path):
    def fails_on_third(configuration, rng):
        if configuration is CONFIGURATIONS[2]:
            raise KeyboardInterrupt
        return {"value": float(rng.random())}

    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIGURATIONS[:5], fails_on_third, tmp_path)
    assert len(finished(tmp_path)) == 2
    assert [p for p in tmp_path.iterdir() if p.suffix != ".json"] == []


@pytest.mark.parametrize("text", ["", "[]", '{"configuration": {}, "result": {}}', "{}"])
def test_a_file_that_is_not_the_points_result_is_an_error(tmp_path, text):
    (tmp_path / f"{key(CONFIGURATIONS[0])}.json").write_text(text)
    with pytest.raises(ValueError, match="remove it to measure again"):
        sweep(CONFIGURATIONS[:1], evaluate, tmp_path)


def test_progress_is_reported_after_every_point(tmp_path):
    seen = []
    sweep(CONFIGURATIONS[:3], lambda c, rng: {}, tmp_path, seen.append)
    sweep(CONFIGURATIONS[:3], lambda c, rng: {}, tmp_path, seen.append)
    assert seen == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("what", ["family", "mixture", "start"])
def test_unknown_names_are_rejected(what):
    point = {**Point("two-point", "0.1", tasks=2).configuration(), what: "nonsense"}
    with pytest.raises(ValueError, match=f"unknown {what}.*'nonsense'"):
        evaluate(point, np.random.default_rng(0))


def test_starts_and_mixtures_of_a_point():
    def at(**changes):
        point = Point("two-point", "0.03", tasks=2, **changes)
        return evaluate(point.configuration(), np.random.default_rng(0))

    average, uniform = at(start="average"), at(start="average", mixture="uniform")
    assert uniform["weights"] == [0.5, 0.5]
    assert average["lower"] >= uniform["lower"]
    vertex = at(start="average", mixture="vertex", replicates=500)
    assert vertex["lower"] == vertex["upper"] == 1
    line = points_module.LINE
    assert uniform["start_risk"] == pytest.approx(float(line.risk(line.average_point, 0.5)))
    tied = at(start="minimax", mixture="vertex", replicates=500)["start_risk"]
    assert tied == pytest.approx(float(line.risk(line.minimax_point, 1.0)), rel=1e-6)


@pytest.mark.parametrize("start", [0.01, 1.0])
def test_constants_of_a_point_are_those_of_its_search_set(start):
    point = Point("linear", "0.03", dim=2, start=start)
    found = evaluate(point.configuration(), np.random.default_rng(0))
    assert found["lipschitz"] == pytest.approx(1 + np.sqrt(2 * start))
    assert found["near_lipschitz"] == pytest.approx(1 + np.sqrt(2 * min(start, 0.03)))
    assert found["start_risk"] == start
    assert found["noise"] == pytest.approx(1)
    assert found["steepness"] == pytest.approx(1)


def test_command_prints_the_table_and_resumes(tmp_path, monkeypatch, capsys):
    effort = Effort("tiny", 1, 2, 2, (1,), 10, 2, 1)
    few = [p for p in points(effort) if p.family in ("linear", "two-point")]
    monkeypatch.setattr(command, "points", lambda *_: few)
    assert command.main(["--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert "(13)/N" in first
    assert first.count("│ linear") == 9
    assert len(finished(tmp_path)) == len(few)
    monkeypatch.setattr("theory.sampling.table.evaluate", None)  # nothing is measured again
    assert command.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == first
    rows = measure_rows(few, tmp_path)
    assert {row.upper for row in rows if row.point.start == 100.0} == {31}
