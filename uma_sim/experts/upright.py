"""Shared rules of experts with an upright tool: carry it to the start of a stroke, then push straight and slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.geometry import se3
from uma_sim.experts.base import STEP_M, STEP_RAD, ramp
from uma_sim.planning import grasping
from uma_sim.planning.grasping import bearing, wrap

STROKE_M = 0.018
"""Largest step of a label in a stroke, metres; a faster tool would throw the debris ahead."""


MARGIN, FAR = 0.022, 0.10
"""Distances of the tool's face to the debris, metres: at touchdown, and beyond which the tool is carried."""


RAISED, AT_END, NEAR_END = 0.02, 0.008, 0.02
"""End of a stroke, metres: the tool's edge is raised above the table within `NEAR_END`, or the remaining distance."""


class StrokeFrame(Protocol):
    """A frame on the table with x along the stroke, such as a `uma_sim.objects.brushes.Dustpan`."""

    heading: float

    def local(self, xy: np.ndarray) -> np.ndarray:
        """Map ``(..., 2)`` base x, y to the frame."""
        ...

    def base(self, local: np.ndarray) -> np.ndarray:
        """Invert `local`."""
        ...


@dataclass(frozen=True)
class Stroke:
    """One stroke, planned from the current state.

    Attributes:
        frame: x along the stroke.
        begin, end: ``(2,)`` of the tool's origin, in the frame, metres.
        rear: x of the rearmost debris, in the frame.
        half_thickness: of the tool's edge.
        z: of the tool's origin during the stroke, base frame.
        rise: additional height on the way to the start.
    """

    frame: StrokeFrame
    begin: np.ndarray
    end: np.ndarray
    rear: float
    half_thickness: float
    z: float
    rise: float = 0.075


def step(T: np.ndarray, T_tool: np.ndarray, stroke: Stroke, height: float) -> np.ndarray:
    """Return the next label ``(4, 4)`` T_base_ee: along the stroke if the tool is behind the debris, else over to its
    start.

    Both motions are blended. A low tool behind the debris is aligned there and not raised again for a small error.
    Raising it for every error would teach a policy to hover over the start.

    Args:
        T: ``(4, 4)`` measured T_base_ee.
        T_tool: ``(4, 4)`` pose of the held tool.
        height: of the tool's edge above the table, metres.
    """
    frame = stroke.frame
    at = frame.local(T_tool[:2, 3])
    # Correct the tool's rotation and shift in the grasp.
    swing = wrap(bearing(T_tool[:3, 0]) - bearing(T[:3, 0]))
    swing = swing if abs(swing) < np.pi / 2 else wrap(swing - np.pi)  # either end of the grip may be in front
    goal = grasping.top_down(grasping.across(frame.heading, bearing(T[:3, 0]) + swing) - swing, np.zeros(3))
    angle = float(se3.rotation_angle(T[:3, :3], goal[:3, :3]))
    clear = stroke.rear - stroke.half_thickness - float(at[0])
    aside = float(at[1] - stroke.end[1])
    up = ramp(height, 0.010, 0.025)
    # A raised tool must clear the debris; a lowered tool pushes it.
    off = float(np.hypot(max(0.0, MARGIN * up - clear, clear - FAR), max(0.0, abs(aside) - 0.02)))
    rise = stroke.rise * max(ramp(off, 0.0, 0.03), ramp(angle, 0.35, 0.8))
    push = (
        (1 - up) * (1 - ramp(-clear, 0.002, 0.006)) * (1 - ramp(abs(aside), 0.02, 0.04)) * (1 - ramp(angle, 0.2, 0.6))
    )
    lateral = float(np.linalg.norm(at - stroke.begin))
    # Up before sideways, so that the tool passes over debris and walls.
    share = max(ramp(height, 0.01, 0.05), 1.0 - ramp(lateral, 0.02, 0.05))
    carried = _toward(T_tool, frame.base(stroke.begin), stroke.z + rise, STEP_M, max(share, 0.05))
    ahead = at + np.clip([stroke.end[0] - at[0], -0.5 * aside], [-STROKE_M, -0.008], [STROKE_M, 0.008])
    pushed = _toward(T_tool, frame.base(ahead), stroke.z + rise, STROKE_M)
    target = se3.clip_step(T, goal, 1.0, STEP_RAD * max(ramp(height, 0.005, 0.03), 1.0 - ramp(angle, 0.4, 0.8)))
    target[:3, 3] = T[:3, 3] + push * pushed + (1 - push) * carried
    return target


def is_over(T_tool: np.ndarray, stroke: Stroke, height: float) -> bool:
    """Whether a successful stroke is over: at its planned end, or near it with a raised tool.

    The stroke continues to its end even if all debris has arrived, and is repeated after an early rise. Else a policy,
    which errs by centimetres, would learn to stop short.
    """
    left = float(stroke.end[0]) - float(stroke.frame.local(T_tool[:2, 3])[0])
    return left < AT_END or height > RAISED and left < NEAR_END


def _toward(T_tool: np.ndarray, xy: np.ndarray, z: float, most: float, share: float = 1.0) -> np.ndarray:
    """Return one step ``(3,)`` of at most ``most`` metres toward ``xy`` (2,), ``z``; ``share`` scales it laterally."""
    move = np.array([*xy, z]) - T_tool[:3, 3]
    move[:2] *= share
    return move * min(1.0, most / max(float(np.linalg.norm(move)), 1e-9))


def lift(T: np.ndarray, height: float, grip: float) -> tuple[np.ndarray, float]:
    """Rise vertically to ``height`` metres, with the tool if it is held.

    Args:
        grip: measured gripper, 0 open to 1 closed.
    """
    target = T.copy()
    target[2, 3] = max(float(T[2, 3]), height)
    return se3.clip_step(T, target, STEP_M, STEP_RAD), float(grip > 0.3)
