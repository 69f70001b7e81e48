"""Inverse kinematics of the FR3: damped least squares with joint limits and a pull toward a comfortable posture."""

from __future__ import annotations

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_sim.robot import arm as robot


class Kinematics:
    """Forward and inverse kinematics of the arm for a tool fixed to the flange.

    Args:
        T_link8_tool: ``(4, 4)`` pose of the tool in ``fr3_link8``.
    """

    def __init__(self, T_link8_tool: np.ndarray) -> None:
        self._T_tool = np.asarray(T_link8_tool, dtype=np.float64)
        self._model = robot.arm_spec(geoms=False).compile()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("flange").id
        self._jacp, self._jacr = np.zeros((3, 7)), np.zeros((3, 7))

    def forward(self, q: np.ndarray) -> np.ndarray:
        """``(4, 4)`` T_base_tool at joint positions ``(7,)`` in radians."""
        self._data.qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        T = np.eye(4)
        T[:3, :3] = self._data.site_xmat[self._site].reshape(3, 3)
        T[:3, 3] = self._data.site_xpos[self._site]
        return T @ self._T_tool

    def _jacobian(self, T: np.ndarray) -> np.ndarray:
        """``(6, 7)`` velocity of the tool point and angular velocity, both in the base frame, per joint velocity."""
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jac(self._model, self._data, self._jacp, self._jacr, T[:3, 3], self._model.site_bodyid[self._site])
        return np.concatenate([self._jacp, self._jacr])

    def step(self, q: np.ndarray, T_target: np.ndarray, max_dq: np.ndarray, posture: float = 0.05) -> np.ndarray:
        """One step of at most ``max_dq`` ``(7,)`` radians from ``q`` toward ``T_target``; never leaves the joint
        limits.

        ``posture`` is the share of the way to `robot.HOME` taken in the null space, so that the elbow does not drift.
        """
        T = self.forward(q)
        J = self._jacobian(T)
        error = np.empty(6)
        error[:3] = T_target[:3, 3] - T[:3, 3]
        error[3:] = Rotation.from_matrix(T_target[:3, :3] @ T[:3, :3].T).as_rotvec()
        error[:3] *= min(1.0, 0.05 / max(float(np.linalg.norm(error[:3])), 1e-9))
        error[3:] *= min(1.0, 0.25 / max(float(np.linalg.norm(error[3:])), 1e-9))
        pull = posture * (robot.HOME - q)
        is_free = np.ones(7, bool)
        for _ in range(3):
            # A joint that would pass its limit is frozen and the others take over its part of the motion.
            A = J * is_free
            inverse = A.T @ np.linalg.inv(A @ A.T + 1e-4 * np.eye(6))
            dq = inverse @ error + (pull - inverse @ (A @ pull)) * is_free
            passes = ((q + dq < robot.LOWER + 0.02) & (dq < 0)) | ((q + dq > robot.UPPER - 0.02) & (dq > 0))
            if not (passes & is_free).any():
                break
            is_free &= ~passes
        dq *= is_free
        dq /= max(1.0, float(np.abs(dq / max_dq).max()))  # scaled as a whole: keeps the direction of the motion
        return np.clip(q + dq, robot.LOWER + 0.01, robot.UPPER - 0.01)

    def solve(self, T_target: np.ndarray, q0: np.ndarray, iterations: int = 60) -> tuple[np.ndarray, float, float]:
        """Joint positions that reach ``T_target`` from ``q0``, and what is left: metres, radians."""
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
