"""What the weighting core accepts, what it returns for it, and what it refuses by name."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskrobust import smooth_max, softmax_gap, softmax_weights
from tests.taskrobust.helpers import assert_near, on_each_backend, rounding, sharpness

FUNCTIONS = pytest.mark.parametrize("function", [softmax_weights, smooth_max, softmax_gap])

batches = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8)),
    elements=st.floats(-50, 50),
)


@on_each_backend
@FUNCTIONS
@given(f=batches, alphas=st.lists(sharpness(), min_size=9, max_size=9), data=st.data())
def test_leading_axes_are_independent_rows(backend, function, f, alphas, data):
    rows, columns, tasks = f.shape
    shape = data.draw(
        st.sampled_from([(), (columns,), (1, columns), (rows, 1), (rows, columns)]), "alpha.shape"
    )
    alpha = np.array(alphas[: math.prod(shape)]).reshape(shape)
    present = data.draw(hnp.arrays(np.bool_, (columns, tasks)), "present")
    present[:, 0] = True
    found = backend(function, f, alpha, present)
    assert found.shape == (f.shape if function is softmax_weights else f.shape[:-1])
    each = np.broadcast_to(alpha, (rows, columns))
    for i in range(rows):
        for j in range(columns):
            expected = backend(function, f[i, j], float(each[i, j]), present[j])
            tolerance = rounding(f[i, j], each[i, j])
            scale = 0 if function is softmax_weights else 50 + 1 / each[i, j]
            assert_near(found[i, j], expected, tolerance, 1e-300 + tolerance * scale)


@on_each_backend
def test_alpha_may_add_leading_axes(backend):
    f, alpha = np.array([0.0, 1.0]), np.array([[0.0], [1.0], [math.inf]])
    w = backend(softmax_weights, f, alpha)
    assert w.shape == (3, 1, 2)
    for row, sharp in zip(w, alpha, strict=True):
        np.testing.assert_array_equal(row[0], backend(softmax_weights, f, float(sharp[0])))
    gap = backend(softmax_gap, f, alpha)
    assert gap.shape == (3, 1)
    np.testing.assert_allclose(gap[:, 0], w[:, 0, 0])


@on_each_backend
@FUNCTIONS
def test_an_empty_batch_stays_empty(backend, function):
    shape = backend(function, np.zeros((0, 3)), 1.0).shape
    assert shape == ((0, 3) if function is softmax_weights else (0,))


@on_each_backend
@pytest.mark.parametrize("alpha", [2, np.float32(2), np.int64(2), np.array(2), np.array([2.0])])
def test_alpha_may_be_any_real_number(backend, alpha):
    f = np.array([[0.0, 1.0]])
    np.testing.assert_array_equal(
        backend(softmax_weights, f, alpha), backend(softmax_weights, f, 2.0)
    )


@FUNCTIONS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(function, dtype):
    half = torch.tensor([60_000.0, 59_000.0, -60_000.0], dtype=getattr(torch, dtype))
    for alpha in (1e-3, 10.0):  # 10 * 60 000 overflows float16
        found = function(half, alpha)
        assert found.dtype == torch.float32
        assert torch.equal(found, function(half.float(), alpha))
    if dtype == "float16":
        array = half.numpy()
        np.testing.assert_array_equal(function(array, 1e-3), function(array.astype("f4"), 1e-3))
        assert function(array, 1e-3).dtype == np.float32


@on_each_backend
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integers_are_computed_in_double(backend, dtype):
    f = np.array([1, 3, 100], dtype=dtype)
    w = backend(softmax_weights, f, 0.5)
    assert w.dtype == np.float64
    np.testing.assert_array_equal(w, backend(softmax_weights, f.astype(float), 0.5))


@FUNCTIONS
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_wider_precision_is_kept(function, dtype):
    assert function(np.array([1, 3], dtype=dtype), 0.5).dtype == dtype


def test_plain_sequences_are_numpy_arrays():
    w = softmax_weights([0.0, 1.0], [[1.0], [2.0]], [True, True])
    expected = softmax_weights(np.array([0.0, 1.0]), np.array([[1.0], [2.0]]))
    assert isinstance(w, np.ndarray)
    np.testing.assert_array_equal(w, expected)


def test_arguments_follow_the_library_of_the_losses():
    f, alpha, present = np.array([[0.0, 1.0, 2.0]]), np.array([2.0]), np.array([True, False, True])
    expected = softmax_weights(f, alpha, present)
    mixed = softmax_weights(torch.tensor(f), alpha, present)
    assert isinstance(mixed, torch.Tensor)
    np.testing.assert_array_equal(mixed, expected)
    back = softmax_weights(f, torch.tensor(alpha), torch.tensor(present))
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, expected)


@on_each_backend
@given(f=batches, alpha=sharpness())
def test_arguments_are_left_as_they_were(backend, f, alpha):
    losses, present = backend.array(f), backend.array(f >= f.min(axis=-1, keepdims=True))
    for function in (softmax_weights, smooth_max, softmax_gap):
        function(losses, alpha, present)
    np.testing.assert_array_equal(np.asarray(losses), f)
    assert np.all(np.asarray(present))


BAD_SHAPES = [np.float64(1.0), np.array(1.0), np.zeros(0), np.zeros((3, 0))]
BAD_TYPES = [[True, False], [1 + 2j, 0], ["a", "b"], [None, 1.0], np.array([1, 2], dtype=object)]


@FUNCTIONS
@pytest.mark.parametrize("losses", [*BAD_SHAPES, 1.0, [], torch.tensor(1.0), torch.zeros(3, 0)])
def test_losses_without_a_task_are_refused(function, losses):
    with pytest.raises(ValueError, match="`losses` should have a last axis of at least one task"):
        function(losses, 1.0)


@FUNCTIONS
@pytest.mark.parametrize("losses", [*BAD_TYPES, torch.tensor([True]), torch.tensor([1j, 0])])
def test_losses_that_are_not_real_numbers_are_refused(function, losses):
    with pytest.raises(TypeError, match=r"`losses` should be (real numbers|numeric)"):
        function(losses, 1.0)


@on_each_backend
@FUNCTIONS
@pytest.mark.parametrize("alpha", [1e-300, 1.0, math.inf])
@pytest.mark.parametrize("present", [None, [True, True]], ids=["all", "mask"])
def test_nan_in_a_present_task_is_refused(backend, function, alpha, present):
    f = np.array([[0.0, 1.0], [math.nan, math.inf]])
    with pytest.raises(ValueError, match="`losses` should not be NaN; found NaN in a present task"):
        backend(function, f, alpha, present)


@on_each_backend
@FUNCTIONS
@pytest.mark.parametrize("alpha", [-1, -1e-308, -math.inf, math.nan])
def test_negative_or_nan_alpha_is_refused(backend, function, alpha):
    f = np.zeros((2, 3))
    for value in (alpha, np.float64(alpha), np.array(alpha), np.array([1.0, alpha])):
        with pytest.raises(ValueError, match="`alpha` should be at least 0; found"):
            backend(function, f, value)
    with pytest.raises(ValueError, match="`alpha` should be at least 0; found"):
        backend(function, f, alpha, validate=False)  # a number costs no reading back


@on_each_backend
@pytest.mark.parametrize("alpha", [0, 0.0, np.array([1.0, 0.0])], ids=repr)
def test_smooth_max_refuses_zero_alpha(backend, alpha):
    with pytest.raises(ValueError, match="`alpha` should be positive for smooth_max; found 0"):
        backend(smooth_max, np.zeros((2, 3)), alpha)


@on_each_backend
@FUNCTIONS
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_alpha_of_another_shape_is_refused(backend, function, shape):
    message = r"`alpha` should broadcast against the leading axes \(2,\) of `losses`"
    with pytest.raises(ValueError, match=message):
        backend(function, np.zeros((2, 3)), np.ones(shape))


@on_each_backend
@FUNCTIONS
@pytest.mark.parametrize("shape", [(2,), (3, 3), (1, 2, 3)])
def test_mask_of_another_shape_is_refused(backend, function, shape):
    message = r"`present` should broadcast to the shape \(2, 3\) of `losses`"
    with pytest.raises(ValueError, match=message):
        backend(function, np.zeros((2, 3)), 1.0, np.ones(shape, dtype=bool))


@on_each_backend
@FUNCTIONS
@pytest.mark.parametrize("mask", [[1, 0, 1], [1.0, 0.0, 1.0]], ids=["integers", "floats"])
def test_mask_that_is_not_boolean_is_refused(backend, function, mask):
    with pytest.raises(TypeError, match="`present` should be boolean; found dtype"):
        backend(function, np.zeros(3), 1.0, np.array(mask))


@on_each_backend
@FUNCTIONS
def test_a_row_without_a_present_task_is_refused(backend, function):
    present = np.array([[True, False], [False, False]])
    message = "`present` should have at least one present task in every row; found none"
    with pytest.raises(ValueError, match=message):
        backend(function, np.zeros((2, 2)), 1.0, present)


@on_each_backend
@pytest.mark.parametrize("alpha", [None, "sharp", "1.0", 1j, np.array([1j])], ids=repr)
def test_alpha_that_is_not_a_real_number_is_refused(backend, alpha):
    with pytest.raises(TypeError, match="`alpha` should be a real number"):
        softmax_weights(backend.array(np.zeros(3)), alpha)


@on_each_backend
@pytest.mark.parametrize("mask", ["yes", [None, True, True]], ids=repr)
def test_mask_of_objects_is_refused(backend, mask):
    with pytest.raises(TypeError, match="`present` should be boolean; found"):
        softmax_weights(backend.array(np.zeros(3)), 1.0, mask)
