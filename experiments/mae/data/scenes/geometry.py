"""Rays and the bodies they meet; x is right, y up, z ahead, in metres."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Body", "Box", "Camera", "Plane", "Sphere", "dot", "turned"]

Array = NDArray[np.float64]

NEAR = 1e-6
"""Hits nearer than this are the surface that a ray leaves."""


class Body(Protocol):
    """Something that a ray can meet."""

    def distances(self, origins: Array, directions: Array) -> Array:
        """How often each direction fits until the first hit beyond `NEAR`; infinite if none.

        Args:
            origins: ``[N, 3]`` or ``[3]``.
            directions: ``[N, 3]``, of any length.
        """
        ...

    def normals(self, points: Array) -> Array:
        """Outward unit normals ``[N, 3]`` at points of the surface."""
        ...

    def local(self, points: Array) -> Array:
        """Points ``[N, 3]`` in coordinates that move and turn with the body."""
        ...


@dataclass(frozen=True, eq=False)
class Plane:
    """Points p with normal · p = offset.

    Args:
        normal: unit vector ``[3]``.
        offset: in metres.
    """

    normal: Array
    offset: float

    def distances(self, origins: Array, directions: Array) -> Array:
        """See `Body`."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = (self.offset - origins @ self.normal) / (directions @ self.normal)
        return np.where(found > NEAR, found, np.inf)

    def normals(self, points: Array) -> Array:
        """See `Body`."""
        return np.broadcast_to(self.normal, points.shape)

    def local(self, points: Array) -> Array:
        """See `Body`; a plane stays where it is."""
        return points


@dataclass(frozen=True, eq=False)
class Sphere:
    """A ball.

    Args:
        centre: ``[3]``.
        radius: in metres.
    """

    centre: Array
    radius: float

    def distances(self, origins: Array, directions: Array) -> Array:
        """See `Body`."""
        away = origins - self.centre
        square, half = dot(directions, directions), dot(away, directions)
        with np.errstate(invalid="ignore"):
            root = np.sqrt(half**2 - square * (dot(away, away) - self.radius**2))
        near, far = (-half - root) / square, (-half + root) / square
        found: Array = np.where(near > NEAR, near, far)
        return np.where(found > NEAR, found, np.inf)  # NaN, of rays that miss, is not

    def normals(self, points: Array) -> Array:
        """See `Body`."""
        return (points - self.centre) / self.radius

    def local(self, points: Array) -> Array:
        """See `Body`."""
        return points - self.centre


@dataclass(frozen=True, eq=False)
class Box:
    """A block that stands upright.

    Args:
        centre: ``[3]``.
        half: half of its width, height and depth ``[3]``.
        turn: about the vertical, in radians.
    """

    centre: Array
    half: Array
    turn: float = 0.0

    def distances(self, origins: Array, directions: Array) -> Array:
        """See `Body`."""
        origins, directions = self.local(origins), turned(directions, -self.turn)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            one, other = (-self.half - origins) / directions, (self.half - origins) / directions
        x, y, z = np.moveaxis(np.fmin(one, other), -1, 0)
        near = np.fmax(np.fmax(x, y), z)
        x, y, z = np.moveaxis(np.fmax(one, other), -1, 0)
        far = np.fmin(np.fmin(x, y), z)
        found = np.where(near > NEAR, near, far)
        return np.where((near <= far) & (found > NEAR), found, np.inf)

    def normals(self, points: Array) -> Array:
        """See `Body`; the face that is nearest."""
        inside: Array = self.local(points) / self.half
        face = np.abs(inside).argmax(-1)[..., None]
        found = np.zeros_like(inside)
        np.put_along_axis(found, face, np.sign(np.take_along_axis(inside, face, -1)), -1)
        return turned(found, self.turn)

    def local(self, points: Array) -> Array:
        """See `Body`."""
        return turned(points - self.centre, -self.turn)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole.

    Args:
        position: ``[3]``.
        yaw: to the right, in radians.
        pitch: downwards, in radians.
        focal: in widths of the image.
    """

    position: Array
    yaw: float
    pitch: float
    focal: float

    def rays(self, size: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)) -> Array:
        """Directions ``[H · W, 3]`` whose part along the optical axis is 1.

        Distances in their lengths are therefore depths.

        Args:
            size: height and width in pixels.
            place: within each pixel, down and to the right; its centre if not given.
        """
        height, width = size
        rows = (np.arange(height) + place[0] - height / 2) / (self.focal * width)
        columns = (np.arange(width) + place[1] - width / 2) / (self.focal * width)
        down, right = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
        cosine, sine = np.cos(self.pitch), np.sin(self.pitch)
        level = np.stack([right, -down * cosine - sine, cosine - down * sine], -1)
        return turned(level, self.yaw)


def dot(one: Array, other: Array) -> Array:
    """Inner products ``[...]`` of vectors ``[..., 3]``."""
    found: Array = np.einsum("...i,...i->...", one, other)
    return found


def turned(vectors: Array, angle: float) -> Array:
    """Vectors ``[..., 3]`` turned about the vertical, what is ahead to the right."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], -1)
