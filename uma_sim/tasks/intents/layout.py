"""What lies on the table of an intent's scene, and where the moved object may pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma_sim import scene
from uma_sim.objects import catalog as shapes
from uma_sim.objects import containers
from uma_sim.objects.catalog import CatalogShape
from uma_sim.planning import grasping
from uma_sim.robot.camera import FULL_FOCAL, FULL_HEIGHT, FULL_WIDTH
from uma_sim.scene import Room
from uma_sim.tasks.primitives.move import resting, scatter

MOVED = ("box", "bar", "can", "bottle", "pebble", "mug", "utensil", "stick", "rake", "hook")
AROUND = ("box", "bar", "can", "pebble", "bowl", "tray", "utensil")
"""Kinds of the moved object, and of the others, which are low enough to be passed over."""

MOVED_BY = {
    "turn": ("box", "bar", "mug", "utensil", "stick", "rake", "hook"),
    "tilt": ("mug", "can", "bottle", "box"),
    "into": ("pebble", "can", "box", "mug"),
    "out": ("pebble", "can", "box", "mug"),
}
"""Kinds of the moved object where not all of `MOVED` serve."""

AIR = (0.12, 0.28)
"""Heights of the object's origin in motions through the air, metres."""

HAND = 0.06
"""Radius about the object that the hand needs, metres."""

MARGIN = 0.015
"""Least distance above objects that are passed, metres."""

TIPS = 0.014
"""Metres from the TCP to the tips of the fingers."""

BORDER = 0.04
"""Fraction of the image at each side in which no keypoint lies at the start or the end."""


@dataclass(frozen=True)
class Layout:
    """Objects and their places.

    Attributes:
        things: the objects, the moved one first.
        places: ``(n, 3)`` x, y, yaw.
        start: ``(4, 4)`` initial pose of the moved object.
        container: index of a container that holds the moved object or has room for it; 0 = none.
    """

    things: tuple[CatalogShape, ...]
    places: np.ndarray
    start: np.ndarray
    container: int = 0

    @property
    def is_inside(self) -> bool:
        """Whether the moved object starts in the container."""
        return bool(self.start[2, 3] > self.things[0].half_height + 1e-6)

    def low(self) -> float:
        """Least height of the object's origin in motions through the air; above the container's rim from inside it."""
        return max(AIR[0], self.over_rim()) if self.is_inside else AIR[0]

    def over_rim(self) -> float:
        """Height of the object's origin at which it passes the container's rim, metres."""
        return self.rim() + self.things[0].half_height + 0.04

    def rim(self) -> float:
        """Height of the container's rim, metres."""
        return 2 * self.things[self.container].half_height

    def release(self) -> float:
        """Return the least height of the TCP above the table over the container's floor, metres.

        The open fingers fit into wide containers only; above others they stay over the rim.
        """
        if is_wide(self.things[self.container]):
            return containers.FLOOR + grasping.GRASP_HEIGHT
        return self.rim() + TIPS + 0.006

    def is_clear(self, poses: np.ndarray, ignored: int = 0) -> bool:
        """Whether the object at ``poses`` ``(n, 4, 4)`` is clear of the others, beside or above; not of ``ignored``."""
        thing = self.things[0]
        is_level = poses[:, 2, 2] > 0.97
        low = poses[:, 2, 3] - np.where(is_level, thing.half_height, np.hypot(thing.radius, thing.half_height))
        for i, (other, place) in enumerate(zip(self.things[1:], self.places[1:], strict=True), start=1):
            need = max(thing.radius, HAND) + other.radius + 0.01
            is_beside = np.linalg.norm(poses[:, :2, 3] - place[:2], axis=1) > need
            if i != ignored and not (is_beside | (low > 2 * other.half_height + MARGIN)).all():
                return False
        return True


def is_wide(container: CatalogShape) -> bool:
    """Whether the open gripper fits into the container."""
    return containers.opening(container.points) > grasping.OPEN_REACH + 0.01


def fits(thing: CatalogShape, container: CatalogShape) -> bool:
    """Whether the object goes into the container."""
    return thing.grasp_axis is not None and thing.radius < containers.opening(container.points) - 0.008


def is_seen(room: Room, points: np.ndarray) -> bool:
    """Whether ``points`` ``(n, 3)``, base frame, are in the images of the room's and of the nominal camera."""
    nominal = scene.look_at(scene.CAMERA_POSITION, scene.CAMERA_TARGET)
    for T_base_cam, focal in ((room.T_base_cam, room.focal), (nominal, FULL_FOCAL)):
        p = se3.apply(se3.invert(T_base_cam), points)
        off = np.abs(focal * p[:, :2] / np.maximum(p[:, 2:], 1e-3)) / [FULL_WIDTH, FULL_HEIGHT]
        if (p[:, 2] < 0.1).any() or (off > 0.5 - BORDER).any():
            return False
    return True


def sample(rng: np.random.Generator, kind: str, held_out: bool) -> Layout | None:
    """Draw the objects for a goal of ``kind``, with 0 to 5 others; None if the draw does not suit it.

    The moved object and the goal's container are evaluation-only shapes if ``held_out``, never otherwise.
    """
    thing = shapes.sample(rng, MOVED_BY.get(kind, MOVED), held_out)
    others = [shapes.sample(rng, AROUND, False) for _ in range(int(rng.integers(0, 6)))]
    has_container = kind in ("into", "out")
    if has_container:
        others = [shapes.sample(rng, containers.KINDS, held_out), *others[:4]]
        if not fits(thing, others[0]):
            return None
    things = (thing, *others)
    if kind == "out":
        places = scatter(rng, [t.radius for t in others], (0.38, -0.20), (0.60, 0.22), 0.02)
        room = max(0.0, containers.opening(others[0].points) - max(thing.radius, grasping.OPEN_REACH) - 0.012)
        angle, off = rng.uniform(-np.pi, np.pi), 0.7 * room * np.sqrt(rng.uniform())
        place = [*(places[0, :2] + off * np.array([np.cos(angle), np.sin(angle)])), rng.uniform(-np.pi, np.pi)]
        places = np.concatenate([[place], places])
    else:
        places = scatter(rng, [t.radius for t in things], (0.36, -0.22), (0.62, 0.26), 0.02)
    start = resting(thing, places[0])
    if kind == "out":
        start[2, 3] += containers.FLOOR
        layout = Layout(things, places, start, 1)
        return layout if start[2, 3] + thing.grasp_z >= layout.release() - 1e-9 else None
    inside = [
        i for i, other in enumerate(things) if i and other.kind in containers.KINDS and fits(thing, other)
    ]  # objects that found no place stand out of reach
    inside = [i for i in inside if places[i, 0] < 0.7]
    if has_container and 1 not in inside:
        return None
    return Layout(things, places, start, inside[0] if inside else 0)
