"""What experts with an upright tool share: carry it over what lies there to where a stroke begins, then push with it, straight and slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.geometry import se3
from uma_sim import grasping
from uma_sim.demonstrator import STEP_M, STEP_RAD, ramp
from uma_sim.grasping import bearing, wrap

STROKE_M = 0.018
"""Largest step of a label in a stroke: a faster tool would throw what it pushes ahead."""


class Frame(Protocol):
    """A frame on the table whose x axis points along the stroke, such as a `uma_sim.brushes.Dustpan`."""

    heading: float

    def local(self, xy: np.ndarray) -> np.ndarray:
        """``(..., 2)`` base x, y in the frame."""
        ...

    def base(self, local: np.ndarray) -> np.ndarray:
        """Inverse of `local`."""
        ...


@dataclass(frozen=True)
class Stroke:
    """One stroke, as it is wanted from the present state.

    Attributes:
        frame: x along the stroke.
        begin, end: ``(2,)`` of the tool's origin, in the frame, metres.
        rear: x in the frame of the rearmost that is to be pushed.
        half_thickness: of the tool's edge.
        z: of the tool's origin in the stroke, base frame.
        rise: how much higher it is carried to the beginning.
    """

    frame: Frame
    begin: np.ndarray
    end: np.ndarray
    rear: float
    half_thickness: float
    z: float
    rise: float = 0.075


def step(T: np.ndarray, T_tool: np.ndarray, stroke: Stroke, height: float) -> np.ndarray:
    """``(4, 4)`` the next label of T_base_ee: along the stroke if the tool stands behind what is to be pushed, else up and over to its beginning.

    Args:
        T: ``(4, 4)`` measured T_base_ee.
        T_tool: ``(4, 4)`` pose of the tool, which is in hand.
        height: of the tool's edge over the table, metres.
    """
    frame = stroke.frame
    at = frame.local(T_tool[:2, 3])
    # What the tool has turned and shifted in the grasp is made up for.
    swing = wrap(bearing(T_tool[:3, 0]) - bearing(T[:3, 0]))
    swing = swing if abs(swing) < np.pi / 2 else wrap(swing - np.pi)  # either end of the grip may be in front
    goal = grasping.top_down(grasping.across(frame.heading, bearing(T[:3, 0]) + swing) - swing, np.zeros(3))
    angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
    is_behind = at[0] + stroke.half_thickness < stroke.rear + 0.002
    if is_behind and abs(at[1] - stroke.end[1]) < 0.020 and angle < 0.15 and height < 0.008:
        return _toward(T, T_tool, goal, frame.base(stroke.end), stroke.z, STROKE_M)
    lateral = float(np.linalg.norm(at - stroke.begin))
    rise = stroke.rise * max(ramp(lateral, 0.008, 0.05), ramp(angle, 0.06, 0.3))
    # Up before sideways and round, so that the tool passes over what lies there and over walls.
    share = max(ramp(height, 0.01, 0.05), 1.0 - ramp(lateral, 0.02, 0.05))
    target = _toward(T, T_tool, goal, frame.base(stroke.begin), stroke.z + rise, STEP_M, max(share, 0.05))
    target[:3, :3] = se3.clip_step(T, goal, 1.0, STEP_RAD * max(ramp(height, 0.005, 0.03), 1.0 - ramp(angle, 0.15, 0.3)))[:3, :3]
    return target


def _toward(T: np.ndarray, T_tool: np.ndarray, goal: np.ndarray, xy: np.ndarray, z: float, most: float, share: float = 1.0) -> np.ndarray:
    """One step that brings the tool toward ``xy`` (2,), ``z``, and the gripper to the rotation of ``goal``."""
    move = np.array([*xy, z]) - T_tool[:3, 3]
    move[:2] *= share
    move *= min(1.0, most / max(float(np.linalg.norm(move)), 1e-9))
    target = se3.clip_step(T, goal, 1.0, STEP_RAD)
    target[:3, 3] = T[:3, 3] + move
    return target


def lift(T: np.ndarray, height: float, grip: float) -> tuple[np.ndarray, float]:
    """Straight up to ``height`` metres, with the tool if it is in hand.

    Args:
        grip: measured gripper, 0 open to 1 closed.
    """
    target = T.copy()
    target[2, 3] = max(float(T[2, 3]), height)
    return se3.clip_step(T, target, STEP_M, STEP_RAD), float(grip > 0.3)
