import math

import pytest
import torch

from experiments.mae.model.positions import Positions


def formula(rows, columns, width):
    """Channel by channel, in float64."""
    quarter = width // 4
    table = torch.zeros(rows * columns, width, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            for k in range(quarter):
                omega = 10000 ** (-k / quarter)
                values = (
                    math.sin(row * omega),
                    math.cos(row * omega),
                    math.sin(column * omega),
                    math.cos(column * omega),
                )
                for block, value in enumerate(values):
                    table[row * columns + column, block * quarter + k] = value
    return table


@pytest.mark.parametrize(("grid", "width"), [((14, 14), 192), ((9, 12), 32), ((3, 1), 4)])
def test_the_table_is_sines_and_cosines_of_row_and_column(grid, width):
    found = Positions(grid, width)()
    torch.testing.assert_close(found.double(), formula(*grid, width), rtol=0, atol=2e-6)


def test_the_paper_s_tables_have_the_documented_numbers_and_are_not_learned():
    for width, count in ((768, 150_528), (256, 50_176)):
        positions = Positions((14, 14), width)
        assert positions().numel() == count
        assert not list(positions.parameters())
        assert not positions.state_dict()
        assert not positions().requires_grad


def bilinear(table, old, new):
    """Of ``[old rows · old columns, width]``, pixel centres aligned, in loops."""
    source = table.view(*old, -1)
    result = torch.zeros(*new, source.shape[-1], dtype=table.dtype)
    for r in range(new[0]):
        for c in range(new[1]):
            places = []
            for i, (o, n) in zip((r, c), zip(old, new, strict=True), strict=True):
                x = min(max((i + 0.5) * o / n - 0.5, 0), o - 1)
                low = min(int(x), o - 1)
                places.append((low, min(low + 1, o - 1), x - low))
            (r0, r1, fr), (c0, c1, fc) = places
            upper = (1 - fc) * source[r0, c0] + fc * source[r0, c1]
            lower = (1 - fc) * source[r1, c0] + fc * source[r1, c1]
            result[r, c] = (1 - fr) * upper + fr * lower
    return result.flatten(0, 1)


@pytest.mark.parametrize("new", [(6, 8), (3, 4), (5, 2), (12, 1)])
def test_another_grid_gets_the_interpolated_table_rows_as_rows(new):
    positions = Positions((3, 4), 8)
    found = positions(new)
    torch.testing.assert_close(found, bilinear(positions(), (3, 4), new), rtol=0, atol=1e-6)


def test_bicubic_is_cubic_convolution_and_is_not_bilinear():
    bicubic = Positions((5, 3), 8, "bicubic")((10, 6))
    assert not torch.allclose(bicubic, Positions((5, 3), 8)((10, 6)), atol=1e-2)
    # Keys' kernel with a = -3/4, half a pixel from no border, at an offset of one quarter.
    weights = [cubic(1.25), cubic(0.25), cubic(0.75), cubic(1.75)]
    table = Positions((5, 3), 8)().view(5, 3, 8)
    line = [
        sum(w * table[r, c] for w, r in zip(weights, (0, 1, 2, 3), strict=True)) for c in (0, 1, 2)
    ]
    # Column 2 of 6 is at 0.75 of 3: a quarter before column 1; outside, the border is repeated.
    expected = sum(w * line[c] for w, c in zip(reversed(weights), (0, 0, 1, 2), strict=True))
    torch.testing.assert_close(bicubic.view(10, 6, 8)[3, 2], expected, rtol=0, atol=1e-5)


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a


def test_the_own_grid_is_not_interpolated():
    positions = Positions((3, 4), 8, "bicubic")
    assert positions((3, 4)) is positions()
    assert not torch.equal(positions((4, 3)), positions())
