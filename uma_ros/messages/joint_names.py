"""Names in joint_states against the robot's: a wrong prefix would leave a node waiting without a reason."""

from __future__ import annotations

from collections.abc import Iterable

from uma.geometry import fr3
from uma.robot import RobotConfig

PATIENCE = 2.0
"""Seconds from the first message on, in which the joints of the arm and of the gripper may come in separate messages.
"""
MOST_NAMED = 10
"""Largest number of names in a message."""


class JointNames:
    """Collects the names in joint_states.

    Args:
        robot: the robot of this process.
        topic: full name of the topic, for messages.
    """

    def __init__(self, robot: RobotConfig, topic: str) -> None:
        self._robot, self._topic = robot, topic
        self._seen: dict[str, None] = {}
        self._since: float | None = None

    def add(self, names: Iterable[str], now: float) -> None:
        """Record the names of a message that arrived at ``now`` seconds on any steady clock."""
        self._since = now if self._since is None else self._since
        if len(self._seen) < 1000:  # a malformed publisher may invent names
            self._seen.update(dict.fromkeys(names))

    def problem(self, now: float) -> str:
        """Return what was found and what is expected; empty while nothing is wrong.

        The gripper's joint must appear. The arm's joints may be absent, but not under another prefix.
        """
        if self._since is None or now - self._since < PATIENCE:
            return ""
        missing = [self._robot.gripper_joint] if self._robot.gripper_joint not in self._seen else []
        arm = dict(zip(fr3.JOINT_NAMES, self._robot.arm_joints))
        missing += [
            full
            for name, full in arm.items()
            if full not in self._seen and any(seen.endswith(name) for seen in self._seen)
        ]
        if not missing:
            return ""
        found, expected = (", ".join(list(names)[:MOST_NAMED]) for names in (self._seen, missing))
        return (
            f"{self._topic}: found the joints {found or 'of no name'}, expected {expected}; joint_prefix "
            f"({self._robot.joint_prefix!r}) and gripper_joint are in the robot file"
        )
