"""Extrinsics node: publishes the calibration on /tf_static and transforms chunks to the base frame.

No other node reads the calibration file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from uma.settings import setting
from uma.types import InputError
from uma_ros.calibration.files import load_calibration
from uma_ros.calibration.plausible import ADVICE, check_plausible, date_doubt, inversion_doubt, pose_doubts
from uma_ros.messages.attachment import attachment
from uma_ros.messages.convert import chunk_from, chunk_to, pose_from, transform_to
from uma_ros.messages.static_frames import stripped
from uma_ros.msg import ActionChunk
from uma_ros.runtime.health import WaitLog
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.resources import exists, find
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import COMMAND, LATCHED, STATIC_TF_IN, Topics

SAME = 1e-3
"""Largest difference of two transforms of one frame, metres and radians. Robot descriptions round theirs."""


@dataclass(frozen=True)
class ExtrinsicsSettings:
    """Settings of the extrinsics node: the calibration file and the frames in it."""

    calibration: str = setting(
        "config/calibration.yaml",
        "path of the calibration file: this package's YAML, or a file of DROID or easy_handeye (doc/user/files.md)",
    )
    camera: str = setting(
        "",
        "key in a DROID file, such as 23897859_left, EPISODE/SERIAL or ext1; empty if the file has one camera",
    )
    refuse_implausible: bool = setting(
        True, "refuse a camera that cannot see the workspace; otherwise only a warning in the diagnostics"
    )
    camera_frame: str = setting(
        "",
        "optical frame of the camera, for DROID files, which contain no frame names; empty: as in the robot file",
    )
    base_frame: str = setting("", "base frame of the robot, which the file must have; empty: as in the robot file")
    wait_s: float = setting(0.0, "s; longest wait for the file (the simulated station writes one)", 0.0, 120.0)
    max_age_days: float = setting(
        30.0, "days; an older calibration raises a warning in the diagnostics", 0.0, 3650.0, live=True
    )
    topics: Topics = field(default_factory=Topics)


class ExtrinsicsNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("extrinsics", ExtrinsicsSettings())

    def configure(self) -> None:
        s = self.settings
        deadline, wait_log = time.monotonic() + s.wait_s, WaitLog()
        while s.wait_s and not exists(s.calibration) and time.monotonic() < deadline:
            if (line := wait_log.due(time.monotonic(), [f"the file {s.calibration}"])) is not None:
                self.log(*line)
            time.sleep(0.05)
        try:
            path = find(s.calibration)
        except InputError as error:
            raise InputError(f"calibration: {error}; {ADVICE}") from None
        self.calibration = load_calibration(path, s.camera, s.camera_frame, s.base_frame)
        if self.calibration.base_frame != s.base_frame:
            raise InputError(
                f"calibration {path}: base_frame: {self.calibration.base_frame!r}, must be {s.base_frame!r}, as in the "
                "robot file"
            )
        if s.refuse_implausible:
            check_plausible(self.calibration, f"calibration {path}")
        self.status = StatusPublisher(self)
        self._tf = self.create_publisher(TFMessage, s.topics.tf_static, LATCHED)
        self._out = self.make_publisher(ActionChunk, s.topics.action_chunk_base, COMMAND)
        self.make_subscription(ActionChunk, s.topics.action_chunk, self._on_chunk, COMMAND)
        self.num_chunks = 0
        self._parents: dict[str, tuple[str, np.ndarray]] = {}  # of other publishers
        # (parent, frame) -> all transforms so far, because own messages also arrive late
        self._published: dict[tuple[str, str], list[np.ndarray]] = {}
        self._misplaced = self._rival = ""
        self._publish_tf()
        self.make_subscription(TFMessage, s.topics.tf_static, self._on_tf, STATIC_TF_IN)
        self.publish_configuration(calibration=path.read_text())
        self.get_logger().info(
            f"{path}: {self.calibration.camera_frame} in {self.calibration.base_frame}, {self.calibration.convention}"
        )

    def _on_tf(self, msg: TFMessage) -> None:
        """Hang the root of the camera driver's own tree below the base, if there is one."""
        known = dict(self._parents)
        for t in msg.transforms:
            parent, child = stripped(t.header.frame_id), stripped(t.child_frame_id)
            try:
                T = pose_from(t.transform, f"transform {parent[:80]} -> {child[:80]}")
            except InputError as error:
                self.status.refuse(self.topics.tf_static, error)
                continue
            if (parent, child) not in self._published:
                known[child] = (parent, T)
            elif not any(np.allclose(T, own, atol=SAME) for own in self._published[parent, child]):
                self._rival = (
                    f"another publisher on {self.topics.tf_static} places {child} in {parent}, must be this node "
                    "alone; two robots need a frame_prefix in their robot files"
                )
                self.problem("rival", self._rival, is_error=True)
        changed = {k for k in known if k not in self._parents or known[k][0] != self._parents[k][0]}
        self._parents = known
        if changed:
            self._publish_tf()

    def _publish_tf(self) -> None:
        c = self.calibration
        try:
            frame, T_base_frame = attachment(self._parents, c.camera_frame, c.base_frame, c.T_base_cam)
            self._misplaced = ""
        except InputError as error:
            self._misplaced = str(error)
            frame, T_base_frame = c.camera_frame, c.T_base_cam
        tools = ((parent, tool, T) for (parent, tool), T in c.tools.items() if tool not in self._parents)
        transforms = [(c.base_frame, frame, T_base_frame), *tools]
        for parent, child, T in transforms:
            self._published.setdefault((parent, child), []).append(T)
        msg = TFMessage()
        for parent, child, T in transforms:
            t = TransformStamped(child_frame_id=child, transform=transform_to(T))
            t.header.frame_id, t.header.stamp = parent, self.get_clock().now().to_msg()
            msg.transforms.append(t)
        self._tf.publish(msg)

    def _on_chunk(self, msg: ActionChunk) -> None:
        if not self.is_active:
            return
        c = self.calibration
        try:
            if self._rival:  # the policy may have taken the other transform
                raise InputError(self._rival)
            chunk = chunk_from(msg)
            if chunk.frame != c.camera_frame:
                raise InputError(
                    f"header.frame_id: {chunk.frame!r:.80}, must be {c.camera_frame!r}, the frame of the calibration"
                )
            moved = chunk.transformed(c.T_base_cam, c.base_frame)
        except InputError as error:
            self.status.refuse(self.topics.action_chunk, error)
            return
        self._out.publish(chunk_to(moved, msg.header.stamp))
        self.num_chunks += 1

    def diagnose(self) -> dict:
        date = self.calibration.date
        age = None if date is None else (datetime.now(UTC) - date).total_seconds() / 86400
        old = age is not None and age > self.settings.max_age_days
        doubts = [f"{age:.0f} days old, limit {self.settings.max_age_days:g}"] if old else []
        T = self.calibration.T_base_cam
        doubts += [date_doubt(date, datetime.now(UTC)), inversion_doubt(T), *pose_doubts(T)]
        self.problem("calibration", "; ".join(filter(None, doubts)))
        self.problem("frames", self._misplaced)
        return {
            "age_days": "unknown" if age is None else round(age, 2),
            "convention": self.calibration.convention,
            "chunks": self.num_chunks,
        }


def main() -> int:
    return run_node(ExtrinsicsNode)


if __name__ == "__main__":
    leave(main())
