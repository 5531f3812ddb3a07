import math

import numpy as np
import pytest

from experiments.mae.data.scenes import rendering
from experiments.mae.data.scenes.drawing import KINDS, LABELS, Scene, Surface, Texture, draw_scene
from experiments.mae.data.scenes.geometry import Box, Camera, Plane, Sphere
from experiments.mae.data.scenes.rendering import FAR, render
from tests.experiments.mae.data.scenes.test_geometry import inside

SIZE = (24, 32)
PLAIN = Texture("plain", np.full((2, 3), 0.5), 1.0, np.zeros(3))


def test_the_depth_of_a_ball_and_of_the_floor_is_that_of_geometry(monkeypatch):
    ball = Sphere(np.array([0.3, 1.0, 5.0]), 0.8)
    camera = Camera(np.array([0.0, 1.5, 0.0]), yaw=0.0, pitch=0.0, focal=1.0)
    surfaces = (Surface(Plane(np.array([0.0, 1.0, 0.0]), 0.0), 0, PLAIN), Surface(ball, 4, PLAIN))
    scene = Scene("balls", camera, surfaces, np.array([0.0, 9.0, 0.0]), np.ones((2, 3)))
    monkeypatch.setattr(rendering, "draw_scene", lambda *_: scene)
    found = render(SIZE, 0)
    seen = set()
    for row, column in np.ndindex(SIZE):
        x, y = (column + 0.5 - 16) / 32, -(row + 0.5 - 12) / 32
        # |t (x, y, 1) - (0.3, -0.5, 5)|² = 0.8² in t
        a, b, c = x * x + y * y + 1, 0.3 * x - 0.5 * y + 5, 0.3**2 + 0.5**2 + 25 - 0.8**2
        if b * b >= a * c:
            expected = (b - math.sqrt(b * b - a * c)) / a, "ball"
        elif y < 0 and 1.5 / -y <= FAR:
            expected = 1.5 / -y, "floor"
        else:
            expected = math.inf, "sky"
        seen.add(expected[1])
        assert LABELS[found.labels[row, column]] == expected[1]
        assert found.depth[row, column] == pytest.approx(expected[0], rel=1e-12)
    assert seen == {"ball", "floor", "sky"}


@pytest.mark.parametrize("index", range(8))
def test_depth_and_labels_are_those_of_the_first_surface_on_the_way(index):
    scene, found = draw_scene(7, index), render(SIZE, 7, index)
    rays, eye = scene.camera.rays(SIZE), scene.camera.position
    depth, labels = found.depth.ravel(), found.labels.ravel()
    known = np.isfinite(depth)
    assert np.array_equal(labels == LABELS.index("sky"), ~known)
    points = eye + np.where(known, depth, FAR)[:, None] * rays
    solid = [each for each in scene.surfaces if isinstance(each.body, Sphere | Box)]
    flat = [each for each in scene.surfaces if isinstance(each.body, Plane)]
    surface = np.stack(
        [np.abs(inside(each.body, points)) < 1e-6 for each in solid]
        + [np.abs(points @ each.body.normal - each.body.offset) < 1e-6 for each in flat]
    )
    ids = np.array([each.label for each in (*solid, *flat)])
    assert (surface & (ids[:, None] == labels)).any(0)[known].all()
    for share in np.linspace(0.02, 0.999, 60):  # nothing stands in the way
        way = eye + share * (points - eye)
        assert all((inside(each.body, way) > -1e-9).all() for each in solid)
        assert all((way @ each.body.normal - each.body.offset > -1e-9).all() for each in flat)


def test_a_scene_is_a_function_of_its_key():
    one, again = render(SIZE, 1, 2, 5), render(SIZE, 1, 2, 5)
    assert one.kind == again.kind
    for name in ("rgb", "depth", "labels"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    for key in ((0, 2, 5), (1, 3, 5), (1, 2, 9), (1, 2, 5, 0), (1, 2)):
        assert not np.array_equal(one.rgb, render(SIZE, *key).rgb)


def test_a_scene_shows_what_its_kind_says_and_all_labels_occur():
    seen = set()
    for index in range(40):
        scene, found = draw_scene(0, index), render(SIZE, 0, index)
        assert found.kind == scene.kind == KINDS[index % 4]
        present = {LABELS[label] for label in np.unique(found.labels)}
        seen |= present
        things = {LABELS[each.label] for each in scene.surfaces} & {"ball", "block"}
        expected = {"balls": {"ball"}, "mixed": {"ball", "block"}}.get(found.kind, {"block"})
        assert things == expected
        assert present & expected
        assert "floor" in present
    assert seen == set(LABELS)


def test_things_stand_on_the_floor_and_not_in_each_other():
    for index in range(60):
        bodies = [
            each.body
            for each in draw_scene(3, index).surfaces
            if isinstance(each.body, Box | Sphere)
        ]
        lowest = [each.centre[1] - (each.half[1] if isinstance(each, Box) else each.radius)
                  for each in bodies]  # fmt: skip
        assert min(lowest) == pytest.approx(0)
        if index % 4 < 3:
            assert np.allclose(lowest, 0)
        points = np.random.default_rng(index).uniform([-4, 0, 1], [4, 3, 8], (20_000, 3))
        assert (np.stack([inside(each, points) < -1e-9 for each in bodies]).sum(0) <= 1).all()


def test_rooms_are_as_frequent_in_each_kind():
    indoors = np.array(
        [any(each.label == 1 for each in draw_scene(5, index).surfaces) for index in range(400)]
    )
    assert indoors.reshape(-1, 4).mean(0) == pytest.approx([0.7] * 4, abs=0.15)


def test_shadows_are_darker_and_cast_by_what_stands_before_the_light(monkeypatch):
    camera = Camera(np.array([0.0, 6.0, 0.0]), yaw=0.0, pitch=math.pi / 2, focal=1.0)
    floor = Surface(Plane(np.array([0.0, 1.0, 0.0]), 0.0), 0, PLAIN)
    ball = Surface(Sphere(np.array([0.0, 1.0, 0.0]), 0.5), 4, PLAIN)
    sun = np.array([100.0, 100.0, 0.0])  # from the right: the shadow is on the left
    scene = Scene("balls", camera, (floor, ball), sun, np.ones((2, 3)))
    monkeypatch.setattr(rendering, "draw_scene", lambda *_: scene)
    found = render((33, 33), 0)
    bright = found.rgb.mean(-1)
    at = {x: round(16 + 33 * x / 6) for x in (-1.0, 1.0)}  # the ball is 1 above where it lands
    assert {LABELS[found.labels[16, column]] for column in at.values()} == {"floor"}
    assert bright[16, at[-1.0]] < 0.85 * bright[16, at[1.0]]


def test_colour_is_not_flat_and_not_clipped():
    for index in range(12):
        found = render((48, 64), 2, index).rgb
        assert found.std() > 12
        assert ((found > 0) & (found < 255)).mean() > 0.85
