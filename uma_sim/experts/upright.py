"""What experts with an upright tool share: carry it over what lies there to where a stroke begins, then push with it,
straight and slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.planning import grasping
from uma_sim.planning.grasping import bearing, wrap

STROKE_M = 0.018
"""Largest step of a label in a stroke: a faster tool would throw what it pushes ahead."""


MARGIN, FAR = 0.022, 0.10
"""Metres between the tool's face and what is to be pushed, with which it comes down, and from which on it is carried
rather than pushed from where it stands."""


RAISED, AT_END = 0.02, 0.008
"""Metres of a tool's edge over the table, and of its way to the end of a stroke, from which on a stroke is over."""


class StrokeFrame(Protocol):
    """A frame on the table whose x axis points along the stroke, such as a `uma_sim.objects.brushes.Dustpan`."""

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

    frame: StrokeFrame
    begin: np.ndarray
    end: np.ndarray
    rear: float
    half_thickness: float
    z: float
    rise: float = 0.075


def step(T: np.ndarray, T_tool: np.ndarray, stroke: Stroke, height: float) -> np.ndarray:
    """``(4, 4)`` the next label of T_base_ee: along the stroke if the tool stands behind what is to be pushed, else up
    and over to its beginning.

    The two are blended, and a tool that stands low behind what is to be pushed is turned and brought into line there,
    not raised again for a small error: a policy makes such errors, and with an expert that would start anew for each of
    them it learns to hover over the beginning.

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
    clear = stroke.rear - stroke.half_thickness - float(at[0])
    aside = float(at[1] - stroke.end[1])
    up = ramp(height, 0.010, 0.025)
    # What is in the air must keep off what lies there; what is down already pushes it.
    off = float(np.hypot(max(0.0, MARGIN * up - clear, clear - FAR), max(0.0, abs(aside) - 0.02)))
    rise = stroke.rise * max(ramp(off, 0.0, 0.03), ramp(angle, 0.35, 0.8))
    push = (
        (1 - up) * (1 - ramp(-clear, 0.002, 0.006)) * (1 - ramp(abs(aside), 0.02, 0.04)) * (1 - ramp(angle, 0.2, 0.6))
    )
    lateral = float(np.linalg.norm(at - stroke.begin))
    # Up before sideways and round, so that the tool passes over what lies there and over walls.
    share = max(ramp(height, 0.01, 0.05), 1.0 - ramp(lateral, 0.02, 0.05))
    carried = _toward(T_tool, frame.base(stroke.begin), stroke.z + rise, STEP_M, max(share, 0.05))
    ahead = at + np.clip([stroke.end[0] - at[0], -0.5 * aside], [-STROKE_M, -0.008], [STROKE_M, 0.008])
    pushed = _toward(T_tool, frame.base(ahead), stroke.z + rise, STROKE_M)
    target = se3.clip_step(T, goal, 1.0, STEP_RAD * max(ramp(height, 0.005, 0.03), 1.0 - ramp(angle, 0.4, 0.8)))
    target[:3, 3] = T[:3, 3] + push * pushed + (1 - push) * carried
    return target


def is_over(T_tool: np.ndarray, stroke: Stroke, height: float) -> bool:
    """Whether a stroke that has brought everything where it should be is over: at its end, as it was sketched, or the
    tool is raised already.

    It goes to its end though all may be there before: an expert that rose some centimetres short of what the reference
    shows would teach a policy, which errs by centimetres, to rise before all are there.
    """
    return height > RAISED or float(stroke.frame.local(T_tool[:2, 3])[0]) > float(stroke.end[0]) - AT_END


def _toward(T_tool: np.ndarray, xy: np.ndarray, z: float, most: float, share: float = 1.0) -> np.ndarray:
    """``(3,)`` one step of at most ``most`` metres that brings the tool toward ``xy`` (2,), ``z``; sideways by no more
    than ``share`` of it."""
    move = np.array([*xy, z]) - T_tool[:3, 3]
    move[:2] *= share
    return move * min(1.0, most / max(float(np.linalg.norm(move)), 1e-9))


def lift(T: np.ndarray, height: float, grip: float) -> tuple[np.ndarray, float]:
    """Straight up to ``height`` metres, with the tool if it is in hand.

    Args:
        grip: measured gripper, 0 open to 1 closed.
    """
    target = T.copy()
    target[2, 3] = max(float(T[2, 3]), height)
    return se3.clip_step(T, target, STEP_M, STEP_RAD), float(grip > 0.3)
