"""Joint positions as transforms between the links of a robot."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from uma.types import InputError
from uma_ros.messages.convert import nanoseconds, transform_to
from uma_ros.messages.description.tree import Joint

MAX_POSITION = 2.0 * math.pi
"""rad; larger positions are refused."""


def joint_positions(msg: JointState, known: Collection[str]) -> dict[str, float]:
    """Return joint -> position, rad, of the ``known`` joints in a message.

    Raises:
        InputError: a position is missing, not finite or larger than a turn, or the message has no time stamp.
    """
    found = {}
    for i, name in enumerate(msg.name):
        if name not in known:
            continue
        if i >= len(msg.position):
            raise InputError(f"position: {len(msg.position)} values for {len(msg.name)} names")
        if not abs(msg.position[i]) <= MAX_POSITION:
            raise InputError(
                f"position[{i}]: {msg.position[i]} rad for {name}, must be finite and within {MAX_POSITION:.2f}"
            )
        found[name] = msg.position[i]
    if found and nanoseconds(msg.header.stamp) <= 0:
        raise InputError(f"header.stamp: {nanoseconds(msg.header.stamp) * 1e-9} s, must be over 0")
    return found


class JointFrames:
    """Computes the transforms of joints whose positions arrive together, at a limited rate.

    Args:
        joints: movable and fixed joints.

    Attributes:
        sources: names of the joints whose positions it needs.
        missing: those without a position so far.
    """

    def __init__(self, joints: Sequence[Joint]) -> None:
        self.sources = frozenset(joint.source for joint in joints) - {""}
        self.missing = set(self.sources)
        self._positions: dict[str, float] = {}
        self._computed_at, self._stamp = float("-inf"), 0
        self._message = TFMessage(transforms=[_at_zero(joint) for joint in joints])
        self._turns = [
            (joint.turn.axis, joint.turn.factor, joint.source, frame.transform.rotation, _values(frame))
            for joint, frame in zip(joints, self._message.transforms)
            if joint.turn is not None
        ]

    def is_due(self, now: float, rate: float) -> bool:
        """Return whether the last transforms are at least a period of ``rate``, Hz, old at the monotonic ``now``, s."""
        return now - self._computed_at >= 0.9 / rate

    def update(self, positions: Mapping[str, float], stamp: Time, now: float) -> TFMessage | None:
        """Take joint positions and return the transforms. The next call changes the same message.

        It returns None while a joint is missing, without news of these joints, and for a repeated ``stamp``, which tf2
        refuses.

        Args:
            positions: joint -> rad, of any joints.
            now: monotonic, s.
        """
        news = {name: positions[name] for name in self.sources & positions.keys()}
        self._positions.update(news)
        self.missing -= news.keys()
        if not news or self.missing or nanoseconds(stamp) == self._stamp:
            return None
        self._computed_at, self._stamp = now, nanoseconds(stamp)
        for (ax, ay, az), factor, source, rotation, (x, y, z, w) in self._turns:
            half = 0.5 * factor * self._positions[source]
            s, c = math.sin(half), math.cos(half)
            a, b, d = ax * s, ay * s, az * s
            # The quaternion of the joint at 0 times that of its turn.
            rotation.x = w * a + x * c + y * d - z * b
            rotation.y = w * b + y * c + z * a - x * d
            rotation.z = w * d + z * c + x * b - y * a
            rotation.w = w * c - x * a - y * b - z * d
        for frame in self._message.transforms:
            frame.header.stamp = stamp
        return self._message


def _at_zero(joint: Joint) -> TransformStamped:
    frame = TransformStamped(child_frame_id=joint.child, transform=transform_to(joint.T_parent_child))
    frame.header.frame_id = joint.parent
    return frame


def _values(frame: TransformStamped) -> tuple[float, float, float, float]:
    q = frame.transform.rotation
    return q.x, q.y, q.z, q.w
