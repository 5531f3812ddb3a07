"""Scenes as pixels, by casting rays.

Depth and labels are those of the ray through each pixel's centre: exact, without antialiasing.
Colour is the mean of four rays, lit with shadows, with a little noise as of a sensor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.mae.data.scenes.drawing import LABELS, Scene, draw_scene
from experiments.mae.data.scenes.geometry import Array, dot

__all__ = ["FAR", "Rendered", "render"]

FAR = 30.0
"""Metres beyond which nothing but sky is seen, of unknown depth."""

_SKY = LABELS.index("sky")
_AMBIENT, _DIFFUSE = 0.4, 0.75
_PARTS = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
_NOISE = 0.012


@dataclass(frozen=True, eq=False)
class Rendered:
    """Pixels of a scene."""

    kind: str
    """Name in `drawing.KINDS`."""
    rgb: NDArray[np.uint8]
    """``[H, W, 3]``, sRGB."""
    depth: Array
    """``[H, W]``: metres along the optical axis, infinite for the sky."""
    labels: NDArray[np.uint8]
    """``[H, W]``: ids of `drawing.LABELS`."""


def render(size: tuple[int, int], *key: int) -> Rendered:
    """The scene of a key (see `drawing.draw_scene`), a pure function of its arguments.

    Args:
        size: height and width in pixels.
        key: such as (seed, split, index).
    """
    scene = draw_scene(*key)
    depth, which = cast(scene, scene.camera.position, scene.camera.rays(size))
    ids = np.array([*(surface.label for surface in scene.surfaces), _SKY], np.uint8)
    light = np.mean([_colours(scene, scene.camera.rays(size, part)) for part in _PARTS], axis=0)
    rng = np.random.default_rng(np.random.SeedSequence(list(key), spawn_key=(len(key), 1)))
    light = _srgb(light) + _NOISE * rng.standard_normal(light.shape)
    return Rendered(
        kind=scene.kind,
        rgb=(255 * light.clip(0, 1)).round().astype(np.uint8).reshape(*size, 3),
        depth=depth.reshape(size),
        labels=ids[which].reshape(size),
    )


def cast(scene: Scene, origins: Array, directions: Array) -> tuple[Array, NDArray[np.int64]]:
    """What rays meet first.

    Args:
        scene: its surfaces.
        origins: ``[N, 3]`` or ``[3]``.
        directions: ``[N, 3]``, of length 1 along the optical axis.

    Returns:
        Distances in lengths of the directions and indices of surfaces ``[N]``; infinite and the
        number of surfaces, where there is nothing up to `FAR`.
    """
    all_ = np.stack([each.body.distances(origins, directions) for each in scene.surfaces])
    which = all_.argmin(0)
    distance = np.take_along_axis(all_, which[None], 0)[0]
    beyond = distance > FAR
    return np.where(beyond, np.inf, distance), np.where(beyond, len(all_), which)


def _colours(scene: Scene, directions: Array) -> Array:
    """Linear colours ``[N, 3]`` that rays from the camera see."""
    distance, which = cast(scene, scene.camera.position, directions)
    rise = directions[:, 1] / np.linalg.norm(directions, axis=-1)
    share = rise.clip(0, 1)[:, None] ** 0.6
    found: Array = (1 - share) * scene.sky[0] + share * scene.sky[1]
    for number in np.unique(which[np.isfinite(distance)]):
        hit = which == number
        points = scene.camera.position + distance[hit, None] * directions[hit]
        found[hit] = _lit(scene, int(number), points, directions[hit])
    return found


def _lit(scene: Scene, number: int, points: Array, directions: Array) -> Array:
    """Colours of points of a surface, under ambient light, the lamp, and its mirror image."""
    surface = scene.surfaces[number]
    normals = surface.body.normals(points)
    towards = scene.light - points
    towards_unit = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    facing = dot(normals, towards_unit).clip(0)
    facing *= ~_shaded(scene, points + 1e-4 * normals, towards)
    ambient = _AMBIENT * (0.75 + 0.25 * normals[:, 1])
    base = surface.texture(surface.body.local(points))
    view = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    mirrored = view - 2 * dot(view, normals)[:, None] * normals
    shine = surface.gloss * dot(mirrored, towards_unit).clip(0) ** 24 * (facing > 0)
    found: Array = base * (ambient + _DIFFUSE * facing)[:, None] + shine[:, None]
    return found


def _shaded(scene: Scene, points: Array, towards: Array) -> NDArray[np.bool_]:
    """Whether something stands between points and the light."""
    found = np.zeros(len(points), np.bool_)
    for surface in scene.surfaces:
        found |= surface.body.distances(points, towards) < 1
    return found


def _srgb(linear: Array) -> Array:
    """The transfer curve of sRGB."""
    low, high = 12.92 * linear, 1.055 * linear.clip(1e-9) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, low, high)
