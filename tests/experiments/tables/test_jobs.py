import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.records import RecordError
from experiments.runs import BusyError
from experiments.tables.jobs import Chain, Shard, chains, plan, run_all
from experiments.tables.store import Store

QUIET = Console(quiet=True)


class Recorder:
    """Runs that say only that they were made."""

    study, preset, command = "bert", "own", "python -m experiments table1"

    def __init__(self, failing=(), stop_after=None):
        self.made, self.failing, self.stop_after = [], failing, stop_after
        self.has_data, self.rate, self.model = True, 1, 0

    def parts(self):
        return ["pretrain", "rte-0", "cola-0"]

    @property
    def arms(self):
        return {"average", "minimax"}

    def recipe(self, arm, part):
        return f"arm: {arm}\npart: {part}\nrate: {self.rate}\n"

    def defaults(self, part):
        del part
        return "{}"

    def check(self):
        if not self.has_data:
            raise ConfigurationError("no data")

    def run(self, arm, seed, part):
        if len(self.made) == self.stop_after:
            raise KeyboardInterrupt
        if (arm, seed, part) in self.failing:
            raise ConfigurationError(f"diverged {arm}")
        if part == "pretrain":
            if (arm, seed, part) not in self.made:
                self.made.append((arm, seed, part))
            return {
                "arm": arm, "seed": seed, "configuration": "layers: 2", "device": "cpu",
                "parameters": 3, "held_out": {"worst": self.model},
            }  # fmt: skip
        self.made.append((arm, seed, part))
        return {"arm": arm, "pretraining_seed": seed, "task": part[:-2], "seed": 0}


ALL = chains(["average", "minimax"], 2)


def run(maker, tmp_path, share=ALL):
    store = Store(tmp_path)
    return run_all(maker, plan(maker, share, store), store, QUIET)


def test_every_arm_has_a_seed_before_any_has_the_next():
    assert [
        Chain("average", 0),
        Chain("minimax", 0),
        Chain("average", 1),
        Chain("minimax", 1),
    ] == ALL


@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 9))
def test_shards_are_disjoint_and_together_everything(count, arms, seeds):
    everything = chains([str(arm) for arm in range(arms)], seeds)
    shares = [Shard(number, count).of(everything) for number in range(1, count + 1)]
    assert sorted((c.seed, c.arm) for share in shares for c in share) == sorted(
        (c.seed, c.arm) for c in everything
    )
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_other_shards_are_refused(text):
    with pytest.raises(ValueError, match=r"should be i/n with 1 ≤ i ≤ n"):
        Shard.parse(text)


def test_a_shard_is_read():
    assert Shard.parse("2/3") == Shard(2, 3)


def test_what_was_finished_is_never_made_again(tmp_path):
    first = Recorder(stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path)
    second = Recorder()
    outcome = run(second, tmp_path)
    assert (outcome.made, outcome.known, outcome.failed) == (8, 4, ())
    again = {(*each[:2], "pretrain") for each in second.made}  # read back, in truth
    assert not (set(first.made) - again) & set(second.made)
    third = Recorder()
    assert run(third, tmp_path).known == 12
    assert third.made == []


def test_a_failure_ends_its_chain_and_is_tried_again(tmp_path):
    failing = Recorder(failing={("minimax", 0, "rte-0")})
    outcome = run(failing, tmp_path)
    assert outcome.failed == ("minimax, seed 0: rte-0: diverged minimax",)
    assert outcome.made == 10
    assert ("minimax", 0, "cola-0") not in failing.made
    noted = Store(tmp_path).failures("bert", "own")
    assert {key.title: reason for key, reason in noted.items()} == {
        "minimax, seed 0: rte-0": "diverged minimax"
    }
    again = Recorder()
    assert run(again, tmp_path).failed == ()
    assert Store(tmp_path).failures("bert", "own") == {}
    assert again.made == [
        ("minimax", 0, "pretrain"),  # read back, in truth
        ("minimax", 0, "rte-0"),
        ("minimax", 0, "cola-0"),
    ]


def test_a_number_that_is_not_finite_ends_its_chain_and_no_other(tmp_path):
    class Diverging(Recorder):
        def run(self, arm, seed, part):
            found = super().run(arm, seed, part)
            return {**found, "loss": math.nan} if (arm, seed, part) == first else found

    first = ("average", 0, "pretrain")
    outcome = run(Diverging(), tmp_path)
    assert outcome.made == 9
    assert "a number is not finite" in outcome.failed[0]
    ((key, reason),) = Store(tmp_path).failures("bert", "own").items()
    assert (key.arm, key.seed, key.part) == first
    assert "a number is not finite" in reason


def test_a_run_that_another_process_is_at_is_not_noted_as_failed(tmp_path):
    class Busy(Recorder):
        def run(self, arm, seed, part):
            if arm == "minimax":
                raise BusyError("another process is at this run")
            return super().run(arm, seed, part)

    outcome = run(Busy(), tmp_path)
    assert len(outcome.failed) == 2
    assert Store(tmp_path).failures("bert", "own") == {}


def test_data_are_checked_before_the_first_run_and_not_needed_after_the_last(tmp_path):
    without = Recorder()
    without.has_data = False
    with pytest.raises(ConfigurationError, match="no data"):
        run(without, tmp_path)
    assert without.made == []
    run(Recorder(), tmp_path)
    assert run(without, tmp_path).known == 12


def test_other_processes_than_the_first_write_nothing(tmp_path):
    class Second(Recorder):
        def run(self, arm, seed, part):
            super().run(arm, seed, part)
            return {}

    run(Second(), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_data_are_checked_also_if_only_some_runs_are_there(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Recorder(stop_after=2), tmp_path)
    without = Recorder()
    without.has_data = False
    with pytest.raises(ConfigurationError, match="no data"):
        run(without, tmp_path)


def test_runs_of_other_shares_have_the_same_recipe(tmp_path):
    run(Recorder(), tmp_path, ALL[:1])
    other = Recorder()
    other.rate = 2
    with pytest.raises(ConfigurationError, match="`rate` is 1 there and 2 here"):
        run(other, tmp_path, ALL[1:2])
    assert other.made == []


def test_a_model_that_was_trained_anew_and_differs_is_not_fine_tuned(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Recorder(stop_after=2), tmp_path)  # pretrain and rte-0 of the first chain
    other = Recorder()
    other.model = 7
    outcome = run(other, tmp_path)
    assert "`held_out.worst` is 0 there and 7 in the one trained again" in outcome.failed[0]
    assert ("average", 0, "cola-0") not in other.made


def test_what_another_process_has_made_meanwhile_is_left(tmp_path):
    store, slow, quick = Store(tmp_path), Recorder(), Recorder()
    planned = plan(slow, ALL, store)
    run(quick, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    outcome = run_all(slow, planned, store, QUIET)
    assert (outcome.made, outcome.known, slow.made) == (0, 12, [])
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.json")}


def test_a_rank_that_is_not_the_first_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run(Recorder(), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_damaged_result_fails_its_chain_only(tmp_path):
    class Damaged(Recorder):
        def run(self, arm, seed, part):
            if arm == "average":
                raise RecordError("result.json is not valid JSON")
            return super().run(arm, seed, part)

    outcome = run(Damaged(), tmp_path)
    assert len(outcome.failed) == 2
    assert outcome.made == 6
