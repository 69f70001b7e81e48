"""The Robotiq 2F-85: a closed four-bar linkage per side, kept parallel like its mechanical stop."""

from __future__ import annotations

from importlib import resources

import mujoco
import numpy as np

from uma.robot import DROID
from uma_sim.robot.arm import ROBOT_CONTACT

STROKE = 0.085
"""Distance between the pads of the open gripper, metres."""

SPEED = 1.7
"""Full strokes per second: 145 mm/s, near the real gripper's maximum."""

CLOSED_ANGLE = DROID.gripper_closed
"""Driver angle of the closed gripper, radians."""

T_LINK8_TCP = DROID.T_flange_ee.matrix()
"""``(4, 4)`` frame ``robotiq_2f85_tcp`` in ``fr3_link8``: z out of the gripper, y along the jaws' motion.

The gripper is not turned about the flange axis, so the seventh joint is centred when the jaws open sideways. At the 45
degrees of a Franka hand it would meet its limit over holders on one side.
"""

PAD_HALF_THICKNESS = 0.004

PADS = ("gripper/right_pad", "gripper/left_pad")


def attach(arm: mujoco.MjSpec) -> None:
    """Mount the gripper on the ``flange`` site of ``arm``; its names get the prefix ``gripper/``."""
    text = resources.files("uma_sim").joinpath("assets/robotiq_2f85.xml").read_text(encoding="utf-8")
    spec = mujoco.MjSpec.from_string(text)
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = ROBOT_CONTACT if geom.classname.name != "plain" else (0, 0)
    for body in spec.bodies:
        body.gravcomp = 1.0
    site = arm.site("flange")
    x, y, z, w = DROID.T_flange_ee.xyzw
    site.quat = [w, x, y, z]
    arm.attach(spec, prefix="gripper/", site=site)


class GripperState:
    """Reads the gripper's state from the simulation."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._joints = [int(model.joint(f"gripper/{side}_driver").qposadr[0]) for side in ("right", "left")]
        self._dofs = [int(model.joint(f"gripper/{side}_driver").dofadr[0]) for side in ("right", "left")]
        self._pads = [model.geom(name).id for name in PADS]

    def position(self, data: mujoco.MjData) -> float:
        """Return 0 open to 1 closed, from the drivers' angle like the real gripper."""
        return float(np.clip(np.mean(data.qpos[self._joints]) / CLOSED_ANGLE, 0.0, 1.0))

    def speed(self, data: mujoco.MjData) -> float:
        """Return the rate of `position` in 1/s."""
        return float(np.mean(data.qvel[self._dofs]) / CLOSED_ANGLE)

    def opening(self, data: mujoco.MjData) -> float:
        """Return the distance between the inner faces of the pads, metres."""
        a, b = self._pads
        axis = data.geom_xmat[a].reshape(3, 3)[:, 1]
        return abs(float((data.geom_xpos[a] - data.geom_xpos[b]) @ axis)) - 2 * PAD_HALF_THICKNESS

    def tilt(self, data: mujoco.MjData) -> float:
        """Return the angle between the two pads' long axes, radians; 0 for parallel jaws."""
        a, b = (data.geom_xmat[i].reshape(3, 3)[:, 2] for i in self._pads)
        return float(np.arccos(np.clip(a @ b, -1.0, 1.0)))
