"""Inverse kinematics of the simulated arm for a tool on the flange, in bounded steps."""

from __future__ import annotations

import numpy as np

from uma.geometry import fr3, se3

NEAR_M, NEAR_RAD = 0.05, 0.25
"""Largest position and rotation error that one step corrects."""


class Kinematics:
    """Forward and inverse kinematics of the arm for a tool fixed to the flange.

    Args:
        T_link8_tool: ``(4, 4)`` pose of the tool in ``fr3_link8``.
    """

    def __init__(self, T_link8_tool: np.ndarray) -> None:
        self._T_tool = np.asarray(T_link8_tool, dtype=np.float64)

    def forward(self, q: np.ndarray) -> np.ndarray:
        """Return ``(4, 4)`` T_base_tool at joint positions ``(7,)``, rad."""
        return fr3.forward(q) @ self._T_tool

    def step(self, q: np.ndarray, T_target: np.ndarray, max_dq: np.ndarray, posture: float = 0.05) -> np.ndarray:
        """Return one step of at most ``max_dq`` ``(7,)`` rad from ``q`` toward ``T_target``, within the joint limits.

        Args:
            posture: fraction of the distance to `fr3.REST` in the null space; it prevents a drift of the elbow.
        """
        T_flange, J = fr3.jacobian(q)
        T = T_flange @ self._T_tool
        J[:3] += np.cross(J[3:].T, T[:3, 3] - T_flange[:3, 3]).T  # at the tool's origin instead of the flange's
        error = fr3.pose_error(T, T_target)
        error[:3] *= min(1.0, NEAR_M / max(float(np.linalg.norm(error[:3])), 1e-9))
        error[3:] *= min(1.0, NEAR_RAD / max(float(np.linalg.norm(error[3:])), 1e-9))
        dq = fr3.ik_step(q, J, error, posture * (fr3.REST - q), fr3.LOWER + 0.02, fr3.UPPER - 0.02, damping=1e-4)
        dq = dq / max(1.0, float(np.abs(dq / max_dq).max()))  # uniform scaling keeps the direction of the motion
        return np.clip(q + dq, fr3.LOWER + 0.01, fr3.UPPER - 0.01)

    def solve(self, T_target: np.ndarray, q0: np.ndarray, iterations: int = 60) -> tuple[np.ndarray, float, float]:
        """Return joint positions that reach ``T_target`` from ``q0``, and the remaining error: metres, radians."""
        q = np.array(q0, dtype=np.float64)
        step = np.full(7, 0.25)
        for i in range(iterations):
            q = self.step(q, T_target, step, posture=0.05 if i < iterations - 5 else 0.0)
        T = self.forward(q)
        return (
            q,
            float(np.linalg.norm(T[:3, 3] - T_target[:3, 3])),
            float(se3.rotation_angle(T[:3, :3], T_target[:3, :3])),
        )
