import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull import page
from experiments.mechanisms.hull.analysis import (
    gradient_rows,
    joint_rows,
    planted_rows,
    trace_rows,
)
from experiments.mechanisms.hull.heads import Fitted
from experiments.mechanisms.hull.study import Encoder, analyse, measured
from experiments.mechanisms.hull.thetas import Theta
from experiments.records import RecordError

TASKS, SIZE = 3, 2000
LAMBDA = np.array([0.2, 0.5, 0.3])
NAMES = ("a", "b", "c", "inside", "outside", "random direction")
KINDS = ("upstream", "upstream", "upstream", "downstream", "downstream", "random")


def theta(seed=0, noise=0.0, scale=1.0, title="encoder"):
    """Upstream gradients that have a part in common; a risk in their hull, one that is not."""
    rng = np.random.default_rng(seed)
    upstream = rng.normal(size=(TASKS, SIZE)) + rng.normal(size=SIZE)
    inside = scale * LAMBDA @ upstream
    true = np.vstack([upstream, inside, rng.normal(size=SIZE)])
    halves = []
    for _ in range(2):
        sampled = true + noise * rng.normal(size=true.shape)
        halves.append(np.vstack([sampled, np.ones(SIZE)]))
    stacked = np.concatenate(halves)
    products = (stacked @ stacked.T).reshape(2, 6, 2, 6)
    risks = rng.random(TASKS)
    risks = np.array([*risks, scale * LAMBDA @ risks + 4.0, rng.random(), np.nan])
    heads = {"inside": Fitted(2.0, 1.0)}
    return Theta(title, NAMES, KINDS, risks, heads, {"blocks": products, "encoder": products})


def by_name(rows):
    return {row.name: row for row in rows}


def test_a_downstream_risk_in_the_hull_has_no_residual_and_its_own_weights():
    rows = by_name(gradient_rows(theta(), "blocks"))
    row = rows["inside"]
    for constraint in ("simplex", "cone"):
        assert row.fits[constraint].residual < 1e-6
        assert row.true[constraint] == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(row.fits[constraint].weights, LAMBDA, atol=1e-3)
    assert row.reliability == pytest.approx(1)
    assert row.kind == "downstream"
    assert rows["outside"].fits["cone"].residual > 0.99
    assert rows["random direction"].fits["cone"].residual > 0.99


def test_a_task_is_explained_by_the_others_and_never_by_itself():
    for row in gradient_rows(theta(), "blocks"):
        assert row.name not in row.regressors
        assert len(row.regressors) == (2 if row.kind == "upstream" else 3)
    # The common part is half of each gradient: the others' mean leaves 1/2 + 1/4 of 1, i.e. 3/4.
    row = by_name(gradient_rows(theta(), "blocks"))["a"]
    assert row.fits["simplex"].residual == pytest.approx(0.75, abs=0.05)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_noise_is_the_whole_residual_of_a_risk_in_the_hull_and_is_corrected_away(seed):
    rows = by_name(gradient_rows(theta(seed, noise=1.0), "blocks"))
    row = rows["inside"]
    assert row.fits["simplex"].residual > 0.3
    assert row.noise["simplex"] == pytest.approx(row.fits["simplex"].residual, abs=0.15)
    assert row.true["simplex"] == pytest.approx(0, abs=0.15)
    assert rows["outside"].true["cone"] == pytest.approx(1, abs=0.15)
    assert 0.3 < row.reliability < 0.8


def test_the_planted_risk_has_the_noise_of_both_halves_as_its_residual():
    noise = 0.5
    found = planted_rows(theta(noise=noise), "blocks")["simplex"]
    # Mean of three gradients with a common part: squared length 1 + 1/3 an entry, and noise² / 3 of
    # either half.
    wanted = 2 * noise**2 / 3 / (4 / 3 + noise**2 / 3)
    assert found.residual == pytest.approx(wanted, rel=0.1)
    assert planted_rows(theta(), "blocks")["simplex"].residual < 1e-6


def test_halves_that_do_not_agree_give_no_corrected_residual():
    row = by_name(gradient_rows(theta(noise=30.0), "blocks"))["outside"]
    assert row.reliability < 0.05
    assert row.true["cone"] is None


def test_one_lambda_for_all_encoders_is_found_if_there_is_one():
    rows = by_name(joint_rows([theta(1), theta(2), theta(3)], "blocks"))
    assert rows["inside"].fits["simplex"].residual < 1e-6
    np.testing.assert_allclose(rows["inside"].fits["simplex"].weights, LAMBDA, atol=1e-3)


def test_one_lambda_for_all_encoders_is_worse_than_one_for_each_if_they_differ():
    thetas = [theta(1), theta(2, scale=3.0)]
    rows = by_name(joint_rows(thetas, "blocks"))
    alone = [by_name(gradient_rows(each, "blocks"))["inside"].fits["cone"] for each in thetas]
    assert max(each.residual for each in alone) < 1e-6
    assert rows["inside"].fits["cone"].residual > 0.1


def test_risks_over_encoders_show_a_combination_with_a_constant():
    rows = by_name(trace_rows([theta(seed) for seed in range(8)]))
    assert rows["inside"].fits["simplex"].residual < 1e-6
    np.testing.assert_allclose(rows["inside"].fits["simplex"].weights, LAMBDA, atol=1e-3)
    assert rows["outside"].fits["span"].residual > 0.1
    assert set(rows) == set(NAMES[:-1])


def test_an_encoder_comes_back_from_its_record_as_it_was():
    before = theta(noise=0.3)
    after = Theta.from_data(before.to_data())
    assert (after.title, after.names, after.kinds) == (before.title, before.names, before.kinds)
    np.testing.assert_array_equal(after.risks, before.risks)
    assert after.heads == before.heads
    for group, values in before.products.items():
        np.testing.assert_array_equal(after.products[group], values)


@pytest.mark.parametrize("damage", ["names", "products", "heads"])
def test_a_damaged_record_is_refused(damage):
    data = theta().to_data()
    if damage == "products":
        data["products"]["blocks"] = [[1.0]]
    else:
        del data[damage]
    with pytest.raises(RecordError):
        Theta.from_data(data)


def test_encoders_are_measured_once_and_read_back(tmp_path):
    calls, said = [], []

    def measure():
        calls.append(1)
        return theta()

    for _ in range(2):
        found = measured([Encoder("encoder", "a: 1\n", measure)], tmp_path, said.append)
    assert len(calls) == 1
    assert said == ["encoder …", "encoder (done before)"]
    np.testing.assert_array_equal(found[0].products["blocks"], theta().products["blocks"])
    with pytest.raises(ConfigurationError, match="another configuration"):
        measured([Encoder("encoder", "a: 2\n", measure)], tmp_path, said.append)


def test_two_encoders_of_one_name_or_of_different_risks_are_refused(tmp_path):
    twice = [Encoder("same", "", theta), Encoder("same", "", theta)]
    with pytest.raises(ConfigurationError, match="different names; found same, same"):
        measured(twice, tmp_path, print)
    other = theta(title="other")
    changed = Theta(
        "changed", ("x", *NAMES[1:]), KINDS, other.risks, other.heads, dict(other.products)
    )
    with pytest.raises(ConfigurationError, match="same risks; found x, b, c"):
        analyse([other, changed], "", "")


def test_the_page_shows_the_numbers_of_the_rows():
    thetas = [theta(seed, noise=0.5, title=f"encoder {seed}") for seed in range(4)]
    result = analyse(thetas, "a: 1\n", "the command")
    text = page.markdown(result)
    row = by_name(result.last["blocks"])["inside"]
    assert f"| {row.fits['simplex'].residual:.3f} | {row.fits['cone'].residual:.3f} |" in text
    assert "2.000 → 1.000" in text
    assert "the command" in text
    titles = [table.title for table in page.tables(result)]
    assert titles[0] == "Gradients of blocks at encoder 3"
    assert "One λ for 4 encoders, gradients of encoder" in titles
    assert "Risks over 4 encoders" in titles
    single = [table.title for table in page.tables(analyse(thetas[:1], "", ""))]
    assert single == [
        "Gradients of blocks at encoder 0",
        "Gradients of encoder at encoder 0",
        "Held-out risks",
    ]
