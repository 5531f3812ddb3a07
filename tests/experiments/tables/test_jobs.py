import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.tables.jobs import Chain, Shard, chains, plan, run_all
from experiments.tables.store import Store

QUIET = Console(quiet=True)


class Recorder:
    """Runs that say only that they were made."""

    study, preset = "bert", "own"

    def __init__(self, failing=(), stop_after=None):
        self.made, self.failing, self.stop_after = [], failing, stop_after
        self.has_data = True

    def parts(self):
        return ["pretrain", "rte-0", "cola-0"]

    def recipe(self, arm, part):
        return f"arm: {arm}\npart: {part}\n"

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
        self.made.append((arm, seed, part))
        return {"arm": arm, "seed": seed}


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
    assert not set(first.made) & set(second.made)
    assert len(first.made) + len(second.made) == 12
    third = Recorder()
    assert run(third, tmp_path).known == 12
    assert third.made == []


def test_a_failure_ends_its_chain_and_is_tried_again(tmp_path):
    failing = Recorder(failing={("minimax", 0, "rte-0")})
    outcome = run(failing, tmp_path)
    assert outcome.failed == ("minimax, seed 0: rte-0: diverged minimax",)
    assert outcome.made == 10
    assert ("minimax", 0, "cola-0") not in failing.made
    again = Recorder()
    assert run(again, tmp_path).failed == ()
    assert again.made == [("minimax", 0, "rte-0"), ("minimax", 0, "cola-0")]


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
