"""Robot state node: publishes the robot's description, and the frames of its links from the joint states.

The extrinsics node publishes the camera and the tool. A transform on /tf_static would count as the calibration in the
policy and the controller, so this node publishes fixed joints on /tf too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from uma.control.cadence import Cadence
from uma.settings import setting
from uma.types import InputError
from uma_ros.messages.description.frames import JointFrames, joint_positions
from uma_ros.messages.description.robot import fr3_2f85
from uma_ros.messages.description.urdf import mesh_folder, urdf
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.topics import LATCHED, SENSOR_IN, TF_OUT, Topics


@dataclass(frozen=True)
class RobotStateSettings:
    """Settings of the robot state node: drawing and rate."""

    meshes: bool = setting(
        False,
        "draw the arm with the meshes of the package franky-sim, where it is installed; only viewers on the same "
        "machine find them",
    )
    rate: float = setting(
        50.0, "Hz; largest rate of the transforms of the arm, and of those of the gripper", 1.0, 200.0, live=True
    )
    topics: Topics = field(default_factory=Topics)


class RobotStateNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("robot_state", RobotStateSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        tree = fr3_2f85(robot())
        self._groups = {"arm": JointFrames(tree.arm), "gripper": JointFrames(tree.gripper)}
        self._rates = {name: Cadence(name) for name in self._groups}
        self._sources = frozenset().union(*(group.sources for group in self._groups.values()))
        self._tf = self.make_publisher(TFMessage, topics.tf, TF_OUT)
        self._description = self.make_publisher(String, topics.robot_description, LATCHED)
        self._description.publish(String(data=urdf(tree, mesh_folder() if s.meshes else None)))
        self.make_subscription(JointState, topics.joint_states, self._on_joints, SENSOR_IN)
        self.publish_configuration()
        self.create_steady_timer(1.0, self._count_publishers)

    def _on_joints(self, msg: JointState) -> None:
        now, topic = time.monotonic(), self.topics.joint_states
        due = [(name, group) for name, group in self._groups.items() if group.is_due(now, self.settings.rate)]
        if not due or not self.is_active:
            return
        try:
            positions = joint_positions(msg, self._sources)
        except InputError as error:
            self.problem(topic, f"refused: {error}")
            return
        for name, group in due:
            frames = group.update(positions, msg.header.stamp, now)
            if frames is not None:
                self._tf.publish(frames)
                self._rates[name].beat(now)
                self.problem(topic, "")

    def waits(self) -> tuple[list[str], str]:
        missing = [", ".join(sorted(group.missing)) for group in self._groups.values() if group.missing]
        return [f"{self.topics.joint_states}: no position of {names} received" for names in missing], ""

    def _count_publishers(self) -> None:
        topic = self.topics.robot_description
        count = self.count_publishers(topic)
        self.problem(
            topic, f"{count} nodes publish it, must be one; description:=off leaves this node out" if count > 1 else ""
        )

    def diagnose(self) -> dict:
        now = time.monotonic()
        return {f"{name}_hz": round(cadence.rate(now), 1) for name, cadence in self._rates.items()}


def main() -> int:
    return run_node(RobotStateNode)


if __name__ == "__main__":
    leave(main())
