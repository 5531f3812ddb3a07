import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from experiments.mae.downstream.losses import berhu, labelled_cross_entropy

errors = st.lists(st.floats(-50, 50), min_size=1, max_size=12)
shares = st.floats(0.01, 1.0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def by_hand(values, share, floor=1e-5):
    """The mean of the published formula, and its bend."""
    bend = max(share * max(abs(e) for e in values), floor)
    pixels = [
        abs(e) if abs(e) <= bend else (e * e + bend * bend) / (2 * bend) for e in values
    ]  # fmt: skip
    return sum(pixels) / len(pixels), bend


@given(errors, shares)
def test_berhu_is_the_published_formula(values, share):
    found = berhu(tensor(values), torch.zeros(len(values), dtype=torch.float64), share=share)
    assert float(found) == pytest.approx(by_hand(values, share)[0], rel=1e-12, abs=1e-300)


@given(errors, shares)
def test_berhu_is_never_below_l1_and_is_l1_below_the_bend(values, share):
    zeros = torch.zeros(len(values), dtype=torch.float64)
    loss = float(berhu(tensor(values), zeros, share=share))
    assert loss >= float(functional.l1_loss(tensor(values), zeros)) * (1 - 1e-12)
    _, bend = by_hand(values, share)
    small = [e for e in values if abs(e) < bend]
    largest = max(values, key=abs)
    # The largest error fixes the bend; the others are below it, so L1.
    pixels = [*small, largest]
    total = float(berhu(tensor(pixels), torch.zeros(len(pixels)).double(), share=share))
    of_largest = by_hand([largest], share)[0]
    expected = (sum(abs(e) for e in small) + of_largest) / len(pixels)
    assert total == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_berhu_and_its_slope_are_continuous_at_the_bend(share):
    largest = 3.0
    bend = share * largest
    for sign in (-1, 1):
        values, slopes = [], []
        for step in (-1e-7, 1e-7):
            error = tensor([sign * (bend + step), largest]).requires_grad_()
            loss = 2 * berhu(error, torch.zeros(2).double(), share=share)
            loss.backward()
            values.append(float(loss.detach()))
            slopes.append(float(error.grad[0]))
        assert values[1] - values[0] == pytest.approx(2e-7, rel=1e-5)
        assert slopes == pytest.approx([sign, sign], rel=1e-6)


def test_the_bend_is_a_constant_to_the_gradient():
    error = tensor([0.1, -4.0]).requires_grad_()
    berhu(error, torch.zeros(2).double()).backward()
    bend = 0.2 * 4
    assert error.grad.tolist() == pytest.approx([1 / 2, -4 / bend / 2])


def test_without_an_error_the_floor_keeps_loss_and_gradient_finite():
    error = torch.zeros(3).requires_grad_()
    loss = berhu(error, torch.zeros(3))
    loss.backward()
    assert loss == 0
    assert error.grad.tolist() == [0, 0, 0]
    assert berhu(torch.full((3,), 2e-5), torch.zeros(3), floor=1e-5) == pytest.approx(
        (4e-10 + 1e-10) / 2e-5
    )


@given(errors, st.sampled_from([math.nan, math.inf, 1e30, 0.0]), shares)
def test_unknown_pixels_have_no_influence_on_berhu(values, unknown, share):
    known = tensor(values).requires_grad_()
    alone = berhu(known, torch.zeros(len(values)).double(), share=share)
    more = torch.cat([tensor(values), tensor([7.0, -3.0])]).requires_grad_()
    target = torch.cat([torch.zeros(len(values)), torch.tensor([unknown, unknown])]).double()
    valid = torch.tensor([True] * len(values) + [False] * 2)
    found = berhu(more, target, valid, share=share)
    assert float(found.detach()) == pytest.approx(float(alone.detach()), rel=1e-12, abs=1e-300)
    found.backward()
    alone.backward()
    assert more.grad[-2:].tolist() == [0, 0]
    torch.testing.assert_close(more.grad[:-2], known.grad)


def test_berhu_of_nothing_known_is_zero_without_gradient():
    error = torch.ones(4).requires_grad_()
    loss = berhu(error, torch.full((4,), math.nan), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert error.grad.tolist() == [0] * 4


def test_half_precision_is_upcast_before_it_is_squared():
    predicted = torch.tensor([300.0, 1.0], dtype=torch.float16)
    assert berhu(predicted, torch.zeros(2, dtype=torch.float16), share=0.01) == pytest.approx(
        by_hand([300.0, 1.0], 0.01)[0], rel=1e-6
    )
    logits = torch.zeros(1, 3, 300, 300, dtype=torch.float16)  # 9e4 > the largest number in float16
    labels = torch.zeros(1, 300, 300, dtype=torch.long)
    assert labelled_cross_entropy(logits, labels, 3) == pytest.approx(math.log(3), rel=1e-5)


@given(st.integers(0, 1000))
def test_cross_entropy_is_the_mean_over_the_labelled_pixels(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (2, 2, 4), generator=generator)
    found = []
    for b in range(2):
        for y in range(2):
            for x in range(4):
                if labels[b, y, x] < 3:
                    scores = logits[b, :, y, x].tolist()
                    total = math.log(sum(math.exp(s) for s in scores))
                    found.append(total - scores[labels[b, y, x]])
    expected = sum(found) / len(found) if found else 0.0
    assert float(labelled_cross_entropy(logits, labels, 3)) == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_of_nothing_labelled_is_zero_without_gradient():
    logits = torch.randn(1, 3, 2, 2).requires_grad_()
    loss = labelled_cross_entropy(logits, torch.full((1, 2, 2), 3), 3)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()
