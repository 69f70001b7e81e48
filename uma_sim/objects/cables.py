"""A cable: a chain of capsules on ball joints with elastic restoring torques."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts
from uma_sim.robot import gripper

PREFIX = "cable_"
"""Prefix of its body names."""

BEND, LEVEL = 0.35, 0.08
"""Largest angle between two links of a random cable, and standard deviation of its change per link, rad."""


@dataclass(frozen=True)
class Cable:
    """One cable lying on the table.

    Attributes:
        link: metres from joint to joint.
        radius: metres.
        mass: kilograms.
        stiffness: Nm per radian of bending from the initial shape.
        color: RGBA.
        line: ``(n + 1, 2)`` metres, base frame: initial link ends.
    """

    link: float
    radius: float
    mass: float
    stiffness: float
    color: tuple[float, ...]
    line: np.ndarray

    @property
    def middles(self) -> np.ndarray:
        """``(n, 2)`` initial link centres, metres, base frame."""
        return (self.line[1:] + self.line[:-1]) / 2


def draw_line(
    rng: np.random.Generator, links: int, link: float, low: np.ndarray, high: np.ndarray, gap: float
) -> np.ndarray:
    """Draw a randomly bent line ``(links + 1, 2)`` metres in a box, with a distance of ``gap`` between its parts.

    Raises:
        ValueError: no line fits the box.
    """
    for _ in range(2000):
        bends = np.zeros(links)
        for i in range(1, links):
            bends[i] = np.clip(0.9 * bends[i - 1] + rng.normal(0.0, LEVEL), -BEND, BEND)
        headings = rng.uniform(-np.pi, np.pi) + np.cumsum(bends)
        steps = link * np.stack([np.cos(headings), np.sin(headings)], -1)
        line = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
        room = (high - low) - np.ptp(line, axis=0)
        apart = np.linalg.norm(line[:, None] - line[None], axis=-1)
        far = np.abs(np.subtract.outer(np.arange(links + 1), np.arange(links + 1))) * link > 2 * gap
        if (room > 0).all() and (apart[far] > gap).all():
            return line - line.min(0) + low + rng.uniform(size=2) * room
    raise ValueError(f"line: no {links} links of {link} m fit within {low} to {high} m with a gap of {gap} m")


def add_cable(spec: mujoco.MjSpec, cable: Cable) -> None:
    """Add ``cable`` as the bodies ``cable_0``, ``cable_1``, ..., each at the start of its link; the first is free."""
    body, heading, n = spec.worldbody, 0.0, len(cable.line) - 1
    for i, (a, b) in enumerate(zip(cable.line[:-1], cable.line[1:], strict=True)):
        before, heading = heading, float(np.arctan2(b[1] - a[1], b[0] - a[0]))
        turn = heading - before
        at = [*a, cable.radius + 0.001] if i == 0 else [cable.link, 0.0, 0.0]
        body = body.add_body(name=f"{PREFIX}{i}", pos=at, quat=[np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
        if i == 0:
            body.add_freejoint(name=f"{PREFIX}root")
        else:
            # The links are light; without armature their joints would be too fast for the time step.
            body.add_joint(
                name=f"{PREFIX}joint{i}",
                type=mujoco.mjtJoint.mjJNT_BALL,
                stiffness=cable.stiffness,
                damping=2e-3 + 0.02 * cable.stiffness,
                armature=2e-5,
            )
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=[cable.radius, 0.0, 0.0],
            fromto=[0.0, 0.0, 0.0, cable.link, 0.0, 0.0],
            mass=cable.mass / n,
            rgba=cable.color,
            **contacts.SOFT,
        )


class CableObject:
    """The cable as the object of a task, held by friction only."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cable: Cable) -> None:
        self._model, self._data, self._cable = model, data, cable
        n = len(cable.line) - 1
        self._bodies = np.array([model.body(f"{PREFIX}{i}").id for i in range(n)])
        self.bodies = frozenset(self._bodies.tolist())
        self._geoms = frozenset(int(model.body_geomadr[b]) for b in self._bodies)
        self._pads = [model.geom(pad).id for pad in gripper.PADS]
        self._tracked = np.linspace(0, n - 1, 16).round().astype(int)

    def middles(self) -> np.ndarray:
        """Return ``(n, 3)`` link centres in the base frame."""
        return self._at(np.arange(len(self._bodies)), 0.0)

    def _at(self, links: np.ndarray, up: float) -> np.ndarray:
        bodies = self._bodies[links]
        return self._data.xpos[bodies] + self._data.xmat[bodies].reshape(-1, 3, 3) @ np.array(
            [self._cable.link / 2, 0.0, up]
        )

    def heading(self, link: int) -> np.ndarray:
        """Return the direction ``(3,)`` of a link, base frame."""
        return self._data.xmat[self._bodies[link]].reshape(3, 3)[:, 0]

    def tracked_indices(self) -> np.ndarray:
        """Return the ``(16,)`` link indices of `points`."""
        return self._tracked.copy()

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` current points on the upper side of links from end to end, base frame."""
        return self._at(self._tracked, self._cable.radius)

    def speed(self) -> float:
        """Speed of the fastest link, m/s."""
        fastest, velocity = 0.0, np.zeros(6)
        for body in self._bodies:
            mujoco.mj_objectVelocity(self._model, self._data, mujoco.mjtObj.mjOBJ_BODY, int(body), velocity, 0)
            fastest = max(fastest, float(np.linalg.norm(velocity[3:])))
        return fastest

    def pads_in_contact(self) -> int:
        """Number of pads in contact with it."""
        pairs = self._data.contact.geom.tolist()
        return sum(
            any((a == pad and b in self._geoms) or (b == pad and a in self._geoms) for a, b in pairs)
            for pad in self._pads
        )

    def distance(self, point: np.ndarray) -> float:
        """Return the metres from ``point`` ``(3,)`` to the nearest link centre."""
        return float(np.linalg.norm(self.middles() - point, axis=-1).min())

    def control(self, grip: float, command: float) -> None:
        """No effect: friction holds the cable."""
