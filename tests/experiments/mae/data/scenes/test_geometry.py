import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from experiments.mae.data.scenes.geometry import Box, Camera, Plane, Sphere, turned

FINITE = st.floats(-3, 3)
POINTS = st.tuples(FINITE, FINITE, FINITE).map(np.array)
ANGLES = st.floats(-4, 4)


def inside(body, points):
    """Below zero within a body, by its definition and not by rays."""
    if isinstance(body, Sphere):
        return np.linalg.norm(points - body.centre, axis=-1) - body.radius
    x, y, z = (points - body.centre).T
    c, s = math.cos(body.turn), math.sin(body.turn)
    across, along = c * x - s * z, s * x + c * z
    return np.max(np.abs(np.stack([across, y, along], -1)) - body.half, axis=-1)


@st.composite
def rays(draw):
    """A body, a ray's origin away from its surface, and a direction near it."""
    half = np.array([draw(st.floats(0.2, 2)) for _ in range(3)])
    centre, turn = draw(POINTS), draw(ANGLES)
    body = Sphere(centre, half[0]) if draw(st.booleans()) else Box(centre, half, turn)
    origin = draw(POINTS)
    assume(abs(inside(body, origin[None])[0]) > 0.01)
    return body, origin, centre + 0.7 * half * draw(POINTS) / 3 - origin


@given(rays())
def test_a_hit_is_where_the_surface_is_first_crossed(case):
    body, origin, direction = case
    assume(np.linalg.norm(direction) > 0.01)
    (found,) = body.distances(origin[None], direction[None])
    steps = np.linspace(0, 3, 3001) / np.linalg.norm(direction)
    steps = np.concatenate([steps, steps[-1] + np.linspace(0, 20, 20_001)[1:] * steps[1]])
    within = inside(body, origin + steps[:, None] * direction) < 0
    crossed = np.flatnonzero(within[1:] != within[:-1])
    if len(crossed):
        assert found <= steps[crossed[0] + 1] + 1e-9
        assert abs(inside(body, (origin + found * direction)[None])[0]) < 1e-6
        assert not within[: np.searchsorted(steps, found - steps[1])].any() or within[0]
    elif np.isfinite(found):  # beyond the steps, or a corner between two of them
        assert abs(inside(body, (origin + found * direction)[None])[0]) < 1e-6


@given(rays())
def test_normals_point_out_of_the_body(case):
    body, origin, direction = case
    (found,) = body.distances(origin[None], direction[None])
    assume(np.isfinite(found))
    point = (origin + found * direction)[None]
    normal = body.normals(point)
    assert np.linalg.norm(normal) == pytest.approx(1)
    assert inside(body, point + 1e-3 * normal)[0] > inside(body, point)[0]


def test_a_ray_past_a_body_misses_it():
    for body in (Sphere(np.zeros(3), 1.0), Box(np.zeros(3), np.ones(3))):
        origins = np.array([[0, 0, -4.0], [0, 1.01, -4.0], [0, 0, -4.0], [0.5, 0.5, 0]])
        directions = np.array([[0, 0, 2.0], [0, 0, 2.0], [0, 0, -2.0], [0.0, 1, 0]])
        found = body.distances(origins, directions)
        leaving = math.sqrt(0.75) - 0.5 if isinstance(body, Sphere) else 0.5
        assert found == pytest.approx([1.5, np.inf, np.inf, leaving])


@given(POINTS, POINTS, POINTS, FINITE)
def test_a_plane_is_met_where_its_equation_holds(normal, origin, direction, offset):
    assume(np.linalg.norm(normal) > 0.1)
    plane = Plane(normal / np.linalg.norm(normal), offset)
    towards = direction @ plane.normal
    assume(abs(towards) > 0.05)
    height = origin @ plane.normal - offset
    assume(abs(height) > 0.01)
    (found,) = plane.distances(origin[None], direction[None])
    if np.isfinite(found):
        assert (origin + found * direction) @ plane.normal == pytest.approx(offset, abs=1e-9)
    else:
        assert height * towards > 0  # it goes away from the plane


@pytest.mark.parametrize("size", [(4, 6), (5, 5)])
def test_rays_have_length_one_along_the_axis_and_go_where_the_pixels_are(size):
    camera = Camera(np.zeros(3), yaw=0.3, pitch=0.2, focal=0.8)
    rays = camera.rays(size)
    c, s = math.cos(0.2), math.sin(0.2)
    axis = np.array([math.sin(0.3) * c, -s, math.cos(0.3) * c])  # to the right and down
    assert np.allclose(rays @ axis, 1)
    assert np.allclose(rays.mean(0), axis)
    image = rays.reshape(*size, 3)
    right = np.array([math.cos(0.3), 0, -math.sin(0.3)])
    assert np.allclose(np.diff(image, axis=1), right / (0.8 * size[1]))
    down = np.diff(image, axis=0)
    assert np.allclose(down @ axis, 0)
    assert np.allclose(np.linalg.norm(down, axis=-1), 1 / (0.8 * size[1]))
    assert (down[..., 1] < 0).all()


def test_turning_brings_ahead_to_the_right():
    assert np.allclose(turned(np.array([0.0, 5.0, 1.0]), math.pi / 2), [1, 5, 0])
