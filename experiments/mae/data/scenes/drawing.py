"""Random scenes: a room or the open, with balls and blocks on the floor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiments.mae.data.scenes.geometry import Body, Box, Camera, Plane, Sphere, turned

__all__ = ["KINDS", "LABELS", "Scene", "Surface", "Texture", "draw_scene"]

Array = NDArray[np.float64]

LABELS = ("floor", "wall", "ceiling", "sky", "ball", "block")
"""Names of the semantic classes, by id."""

KINDS = ("balls", "blocks", "mixed", "towers")
"""Names of the classes of scenes, by id."""

UP = np.array([0.0, 1.0, 0.0])

_PATTERNS: tuple[Literal["plain", "checks", "stripes", "marble"], ...] = (
    "plain",
    "checks",
    "stripes",
    "marble",
)


@dataclass(frozen=True, eq=False)
class Texture:
    """Two colours in a pattern that fills space, seen where a surface cuts it.

    Args:
        pattern: which.
        colours: linear red, green and blue, 0 to 1, of both ``[2, 3]``.
        period: of the pattern, in metres.
        phase: of the pattern in each direction ``[3]``, in periods.
    """

    pattern: Literal["plain", "checks", "stripes", "marble"]
    colours: Array
    period: float
    phase: Array

    def __call__(self, points: Array) -> Array:
        """Colours ``[N, 3]`` at points ``[N, 3]`` in the coordinates of the body."""
        place = points / self.period + self.phase
        mottle = np.sin(place @ np.array([2.3, 3.1, 1.7])) * np.sin(
            place @ np.array([1.9, -2.7, 3.7])
        )
        share = self._share(place, mottle)[:, None]
        mixed: Array = (1 - share) * self.colours[0] + share * self.colours[1]
        mixed *= 1 + 0.08 * mottle[:, None]
        return mixed

    def _share(self, place: Array, mottle: Array) -> Array:
        """Of the second colour."""
        found = np.zeros(len(place))
        if self.pattern == "checks":
            found = np.floor(place).sum(-1) % 2
        elif self.pattern == "stripes":
            found = np.floor(place[:, 0] + place[:, 1]) % 2
        elif self.pattern == "marble":
            found = 0.5 + 0.5 * np.sin(2 * np.pi * place[:, 0] + 3 * mottle)
        return found


@dataclass(frozen=True, eq=False)
class Surface:
    """A body with its look.

    Args:
        body: its shape.
        label: its id in `LABELS`.
        texture: its colours.
        gloss: share of light that is mirrored.
    """

    body: Body
    label: int
    texture: Texture
    gloss: float = 0.0


@dataclass(frozen=True, eq=False)
class Scene:
    """All that is seen.

    Args:
        kind: name in `KINDS`.
        camera: sees it.
        surfaces: in any order.
        light: position of the lamp or of the sun ``[3]``.
        sky: linear colours at the horizon and above ``[2, 3]``.
    """

    kind: str
    camera: Camera
    surfaces: tuple[Surface, ...]
    light: Array
    sky: Array


def draw_scene(*key: int) -> Scene:
    """The scene of a key, such as (seed, split, index); its kind is that of the last part.

    Kinds take turns, so that equally many scenes are of each.
    """
    rng = np.random.default_rng(np.random.SeedSequence(list(key), spawn_key=(len(key),)))
    kind = KINDS[key[-1] % len(KINDS)]
    camera = Camera(
        position=np.array([rng.uniform(-0.5, 0.5), rng.uniform(1.1, 1.9), 0.0]),
        yaw=rng.uniform(-0.25, 0.25),
        pitch=rng.uniform(0.12, 0.3),
        focal=0.8,
    )
    things = tuple(_things(rng, kind, camera))
    if rng.random() < 0.7:
        room, light = _room(rng)
    else:
        room = (Surface(Plane(UP, 0.0), 0, _texture(rng, 0.8, 1.0)),)
        light = np.array([rng.uniform(-40, 40), rng.uniform(30, 60), rng.uniform(-40, 10)])
    horizon = np.array([0.75, 0.82, 0.9]) * rng.uniform(0.7, 1.0)
    zenith = np.array([0.12, 0.3, 0.7]) * rng.uniform(0.6, 1.0)
    return Scene(kind, camera, room + things, light, np.stack([horizon, zenith]))


def _room(rng: np.random.Generator) -> tuple[tuple[Surface, ...], Array]:
    """Floor, ceiling and walls around the camera, and a lamp."""
    half, height = rng.uniform(2.8, 4.0), rng.uniform(2.5, 3.4)
    back, front = rng.uniform(6.5, 9.0), 2.0
    walls = _texture(rng, 1.5, 0.35)
    sides = (
        ([0.0, 1.0, 0.0], 0.0, 0, _texture(rng, 0.8, 1.0)),
        ([0.0, -1.0, 0.0], -height, 2, _texture(rng, 3.0, 0.15, bright=True)),
        ([0.0, 0.0, -1.0], -back, 1, walls),
        ([0.0, 0.0, 1.0], -front, 1, walls),
        ([1.0, 0.0, 0.0], -half, 1, walls),
        ([-1.0, 0.0, 0.0], -half, 1, walls),
    )
    surfaces = tuple(
        Surface(Plane(np.array(normal), offset), label, texture)
        for normal, offset, label, texture in sides
    )
    lamp = np.array([rng.uniform(-1.5, 1.5), 0.95 * height, rng.uniform(1.0, 4.0)])
    return surfaces, lamp


def _things(rng: np.random.Generator, kind: str, camera: Camera) -> Iterator[Surface]:
    """Balls and blocks, or towers of blocks, that stand apart on the floor in view."""
    count = int(rng.integers(2, 4) if kind == "towers" else rng.integers(3, 7))
    for number, (place, room) in enumerate(_places(rng, count, camera)):
        if kind == "towers":
            yield from _tower(rng, place, room)
        elif kind == "balls" or (kind == "mixed" and number % 2 == 0):
            radius = room * rng.uniform(0.7, 1.0)
            centre = place + radius * UP
            yield Surface(Sphere(centre, radius), 4, _texture(rng, 0.4, 1.0), gloss=0.35)
        else:
            yield _block(rng, place, room, rng.uniform(0.5, 1.6) * room)


def _places(rng: np.random.Generator, count: int, camera: Camera) -> Iterator[tuple[Array, float]]:
    """Points of the floor in view, each with the radius around it that is free."""
    taken: list[tuple[Array, float]] = []
    for _ in range(200):
        if len(taken) == count:
            return
        ahead = rng.uniform(2.4, 5.5)
        aside = rng.uniform(-0.5, 0.5) * ahead
        place = turned(np.array([aside, 0.0, ahead]), camera.yaw)
        place += camera.position * [1.0, 0.0, 1.0]
        radius = rng.uniform(0.3, 0.6)
        if all(np.linalg.norm(place - other) > radius + r + 0.05 for other, r in taken):
            taken.append((place, radius))
            yield place, radius


def _tower(rng: np.random.Generator, place: Array, room: float) -> Iterator[Surface]:
    floor = place
    for level in range(int(rng.integers(3, 5))):
        block = _block(rng, floor, room * 0.85**level, rng.uniform(0.2, 0.32))
        yield block
        assert isinstance(block.body, Box)
        floor = floor + 2 * block.body.half[1] * UP


def _block(rng: np.random.Generator, place: Array, room: float, rise: float) -> Surface:
    """A block on `place`, in a circle of radius `room`, half as high as `rise`."""
    shape = rng.uniform(0.55, 0.7, 2) * room
    half = np.array([shape[0], rise, shape[1]])
    body = Box(place + rise * UP, half, rng.uniform(0, np.pi))
    return Surface(body, 5, _texture(rng, 0.4, 1.0), gloss=0.05)


def _texture(
    rng: np.random.Generator, period: float, strength: float, *, bright: bool = False
) -> Texture:
    """A random one; `strength` is how far its colours are apart."""
    first = _colour(rng, (0.5, 0.9) if bright else (0.15, 0.8))
    second = first + strength * (_colour(rng, (0.05, 0.9)) - first)
    return Texture(
        _PATTERNS[rng.integers(len(_PATTERNS))],
        np.stack([first, second]),
        period * rng.uniform(0.6, 1.4),
        rng.uniform(0.1, 0.9, 3),
    )


def _colour(rng: np.random.Generator, brightness: tuple[float, float]) -> Array:
    hue, strength = rng.random(), rng.uniform(0.2, 0.9)
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0.0, 1 / 3, 2 / 3])))
    found: Array = rng.uniform(*brightness) * (1 - strength + strength * wave)
    return found
