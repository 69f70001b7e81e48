"""The tracked object of a task: surface points, speed and contact with the gripper."""

from __future__ import annotations

from typing import Protocol

import mujoco
import numpy as np

from uma.geometry import se3
from uma_sim.robot import gripper


class Tracked(Protocol):
    """Interface between a station and the object that its task moves."""

    def points(self) -> np.ndarray:
        """``(16, 3)`` current positions of fixed surface points, base frame."""
        ...

    def speed(self) -> float:
        """Speed, m/s."""
        ...

    bodies: frozenset[int]
    """Body ids of the object in the compiled model."""

    def pads_in_contact(self) -> int:
        """Number of pads in contact with it."""
        ...

    def distance(self, point: np.ndarray) -> float:
        """Metres from ``point`` ``(3,)``, the TCP, to the nearest grasp point."""
        ...

    def control(self, grip: float, command: float) -> None:
        """Update before the physics, every 10 ms, with the gripper's measured position (0 to 1) and its command."""
        ...


class RigidObject:
    """A free body with grasps along the x axis of its frame.

    Args:
        name: of the body and of its free joint.
        points: ``(16, 3)`` surface points in its frame.
        grasp_axis: ``(low, high)`` metres along its x: the segment of possible grasps.
        grasp_z: z of that segment, metres.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        name: str,
        points: np.ndarray,
        grasp_axis: tuple[float, float],
        grasp_z: float = 0.0,
    ) -> None:
        self._model, self._data, self._points = model, data, points
        self._body = model.body(name).id
        self.bodies = frozenset({self._body})
        self._dof = int(model.joint(name).dofadr[0])
        self._pads = [model.geom(pad).id for pad in gripper.PADS]
        self._low, self._high, self._grasp_z = *grasp_axis, grasp_z

    def pose(self) -> np.ndarray:
        """Return the true pose ``(4, 4)`` in the base frame."""
        return se3.make_pose(self._data.xmat[self._body].reshape(3, 3), self._data.xpos[self._body])

    def points(self) -> np.ndarray:
        """Return the current positions ``(16, 3)`` of the surface points, base frame."""
        return se3.apply(self.pose(), self._points)

    def speed(self) -> float:
        """Speed of its origin, m/s."""
        return float(np.linalg.norm(self._data.qvel[self._dof : self._dof + 3]))

    def pads_in_contact(self) -> int:
        """Number of pads in contact with it."""
        geoms = self._data.contact.geom
        if not len(geoms):
            return 0
        bodies, body = self._model.geom_bodyid[geoms], self._body
        return sum(
            bool((((geoms[:, 0] == p) & (bodies[:, 1] == body)) | ((geoms[:, 1] == p) & (bodies[:, 0] == body))).any())
            for p in self._pads
        )

    def distance(self, point: np.ndarray) -> float:
        """Return the metres from ``point`` ``(3,)`` to the grasp segment."""
        T = self.pose()
        origin = T[:3, 3] + self._grasp_z * T[:3, 2]
        s = float(np.clip((point - origin) @ T[:3, 0], self._low, self._high))
        return float(np.linalg.norm(point - origin - s * T[:3, 0]))

    def control(self, grip: float, command: float) -> None:
        """No effect: friction holds a rigid object."""
