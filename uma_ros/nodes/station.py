"""Station node: simulates an FR3, a 2F-85 and a ZED under the names of the hardware, and publishes /clock."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import yaml
from control_msgs.action import GripperCommand
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2, PointField
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uma.control.cadence import Cadence
from uma.settings import setting
from uma.types import InputError
from uma_ros.calibration.files import Calibration, save_calibration
from uma_ros.messages.convert import camera_to, image_to, pose_from, pose_to, reference_to, seconds, stamp_from
from uma_ros.msg import ActionChunk, ReferenceMotion
from uma_ros.runtime.clock_governor import SimClockGovernor
from uma_ros.runtime.lifecycle import INACTIVE
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.robot import robot
from uma_ros.runtime.status import StatusPublisher
from uma_ros.runtime.topics import CAMERA_OUT, COMMAND, LATCHED, STATE_OUT, Topics
from uma_sim.planning import sketches as reference
from uma_sim.snapshot import save_snapshot
from uma_sim.tasks import MODULES, make_station

STEP = 0.01
"""Simulated seconds between two states."""


@dataclass(frozen=True)
class StationSettings:
    """Settings of the simulated station: scene, noise and speed."""

    task: str = setting("insertion", "task of the scene", choices=tuple(MODULES))
    seed: int = setting(0, "seed of the scene", 0, 2**31 - 1)
    noise: bool = setting(True, "sensor noise in the images")
    real_time_factor: float = setting(1.0, "largest number of simulated seconds per second", 0.05, 10.0, live=True)
    max_latency: float = setting(
        0.2,
        "s; longest latency from an image to its chunk; a longer one slows simulated time down, as on a slow "
        "machine; 0 = no limit",
        0.0,
        10.0,
        live=True,
    )
    camera_rate: float = setting(15.0, "Hz; image rate in simulated time", 1.0, 60.0)
    calibration_file: str = setting(
        "", "file for the scene's calibration, which the extrinsics node reads; empty = none"
    )
    topics: Topics = field(default_factory=Topics)


class StationNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("station", StationSettings())

    def configure(self) -> None:
        s, topics = self.settings, self.settings.topics
        self.station = make_station(s.seed, s.task, noise=s.noise)
        self.station.base_frame = robot().base_frame
        self.station.camera = replace(self.station.camera, frame=robot().camera_frame)
        self.T_link8_tcp = self.station.T_link8_tcp
        if s.calibration_file:
            tools = {(robot().flange_frame, robot().frame_of(self.station.ee_frame)): self.T_link8_tcp}
            save_calibration(
                Calibration(
                    self.station.camera.frame,
                    self.station.base_frame,
                    self.station.T_base_cam,
                    tools,
                    datetime.now(UTC),
                ),
                s.calibration_file,
            )
        # The clock starts at the wall time, so that a restarted station does not set the other nodes' time back.
        self.start_time = round(time.time(), 2)
        self.num_steps = 0
        self.target: np.ndarray | None = None
        self.grip = self.station.gripper_position()
        self._goal: tuple[ServerGoalHandle, Future] | None = None
        self._settled_since = 0.0
        self.status = StatusPublisher(self)
        self.cadence = Cadence("steps", STEP / s.real_time_factor)

        self.clock_out = self.create_publisher(Clock, "/clock", 1)
        self._pose = self.make_publisher(PoseStamped, topics.robot_pose, STATE_OUT)
        self._joints = self.make_publisher(JointState, topics.joint_states, STATE_OUT)
        self._rgb = self.make_publisher(Image, f"{topics.sim_camera}/rgb", CAMERA_OUT)
        self._rgb_info = self.make_publisher(CameraInfo, f"{topics.sim_camera}/camera_info", CAMERA_OUT)
        self._depth = self.make_publisher(Image, f"{topics.sim_camera}/depth", CAMERA_OUT)
        self._depth_info = self.make_publisher(CameraInfo, f"{topics.sim_camera}/depth_info", CAMERA_OUT)
        self._object = self.make_publisher(PointCloud2, topics.sim_object, CAMERA_OUT)
        self._reference = self.make_publisher(ReferenceMotion, topics.sim_reference, LATCHED)
        self._outcome = self.make_publisher(String, topics.sim_outcome, LATCHED)
        self.pace = SimClockGovernor(STEP, s.real_time_factor, s.max_latency, time.monotonic())
        self.make_subscription(PoseStamped, topics.target_pose, self._on_target, COMMAND)
        self.make_subscription(
            ActionChunk,
            topics.action_chunk,
            lambda m: self.pace.chunk(self._now() - seconds(m.header.stamp), time.monotonic()),
            COMMAND,
        )
        self._server = ActionServer(
            self,
            GripperCommand,
            topics.gripper,
            self._run_gripper,
            goal_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        self.create_service(Trigger, "uma/sim_state", self._save_scene)
        self._publish_sight()  # the first image compiles shaders; time starts after it
        self._reference.publish(reference_to(reference.of_scene(self.station), stamp_from(self.start_time)))
        self.publish_configuration()
        self._last_outcome = ("", "")
        self.pace = SimClockGovernor(STEP, s.real_time_factor, s.max_latency, time.monotonic())
        self.create_steady_timer(0.005, self._catch_up)
        self.create_steady_timer(1.0, self._count_clocks)
        self.get_logger().info(
            f"{s.task}, scene {s.seed}, {type(self.station).__module__}; {s.real_time_factor:g} x real time"
        )

    def _count_clocks(self) -> None:
        """Report a second simulated station, which sets the same clock."""
        clock = self.resolve_topic_name("/clock")
        count = self.count_publishers(clock)
        rivals = f"{count} publishers, limit 1; a second simulated station needs a namespace of its own"
        self.problem(clock, rivals if count > 1 else "", is_error=True)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self.start_time + self.num_steps * STEP

    def _catch_up(self) -> None:
        for _ in range(self.pace.due(time.monotonic(), 2)):
            self._step()

    def _step(self) -> None:
        if self.target is not None:
            self.station.set_target(self.target, self.grip)
        self.station.advance(STEP)
        self.num_steps += 1
        self.cadence.beat(time.monotonic())
        stamp = stamp_from(self._now())
        self.clock_out.publish(Clock(clock=stamp))
        pose = PoseStamped(pose=pose_to(self.station.flange_pose()))
        pose.header.frame_id, pose.header.stamp = self.station.base_frame, stamp
        self._pose.publish(pose)
        if self.num_steps % 2 == 0:
            self._publish_joints(stamp)
        self._finish_gripper()
        period = 1.0 / (self.settings.camera_rate * STEP)
        if self.num_steps // period > (self.num_steps - 1) // period:
            self._publish_sight()

    def _save_scene(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Write the scene to a file, for `uma rehearse`; the response has its path."""
        folder = Path(self.settings.calibration_file or tempfile.mkdtemp(prefix="uma_scene_")).absolute()
        path = (folder.parent if self.settings.calibration_file else folder) / "scene.npz"
        try:
            save_snapshot(self.station, path)
        except OSError as error:
            response.success, response.message = False, f"{path}: {error.strerror}"
        else:
            response.success, response.message = True, str(path)
        return response

    # -- outputs of the hardware ---------------------------------------------------------------------------------------

    def _publish_joints(self, stamp) -> None:
        joints = JointState(name=[*robot().arm_joints, robot().gripper_joint])
        joints.header.stamp = stamp
        joints.position = [
            *self.station.joint_positions().tolist(),
            self.station.gripper_position() * robot().gripper_closed,
        ]
        joints.velocity = [
            *self.station.joint_velocities().tolist(),
            self.station.gripper_speed() * robot().gripper_closed,
        ]
        self._joints.publish(joints)

    def _publish_sight(self) -> None:
        observation = self.station.observe()
        stamp, frame = stamp_from(self._now()), observation.camera.frame
        info = camera_to(observation.camera, stamp)
        self._rgb_info.publish(info)
        self._depth_info.publish(info)
        self._rgb.publish(image_to(observation.rgb, "rgb8", frame, stamp))
        self._depth.publish(image_to(observation.depth, "32FC1", frame, stamp))
        self._publish_truth(stamp)

    def _publish_truth(self, stamp) -> None:
        points = self.station.object_points().astype(np.float32)
        fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
        cloud = PointCloud2(
            height=1,
            width=len(points),
            fields=fields,
            point_step=12,
            row_step=12 * len(points),
            is_dense=True,
            data=points.tobytes(),
        )
        cloud.header.frame_id, cloud.header.stamp = self.station.base_frame, stamp
        self._object.publish(cloud)
        outcome = self.station.task.outcome(self.station)
        if outcome != getattr(self, "_last_outcome", None):
            self._last_outcome = outcome
            text = {
                "verdict": outcome[0],
                "reason": outcome[1],
                "task": self.settings.task,
                "seed": self.settings.seed,
                "time": round(self.station.time, 2),
            }
            self._outcome.publish(String(data=yaml.safe_dump(text, sort_keys=False)))

    # -- inputs of the hardware ----------------------------------------------------------------------------------------

    def on_settings_changed(self) -> None:
        s = self.settings
        self.pace = SimClockGovernor(STEP, s.real_time_factor, s.max_latency, time.monotonic())
        self.cadence = Cadence("steps", STEP / s.real_time_factor)

    def deactivate(self) -> None:
        """Hold the arm at its present pose, as a deactivated driver does. Its state is still published."""
        self.target = self.station.ee_pose()

    def _on_target(self, msg: PoseStamped) -> None:
        if not self.is_active:
            return
        try:
            if msg.header.frame_id != self.station.base_frame:
                raise InputError(f"header.frame_id: {msg.header.frame_id!r:.80}, must be {self.station.base_frame!r}")
            self.target = pose_from(msg.pose, "pose") @ self.T_link8_tcp
        except InputError as error:
            self.status.refuse(self.topics.target_pose, error)

    def _on_goal(self, goal: GripperCommand.Goal) -> GoalResponse:
        position = goal.command.position
        if not self.is_active:
            self.status.refuse(self.topics.gripper, INACTIVE)
            return GoalResponse.REJECT
        if not 0.0 <= position <= robot().gripper_closed:
            self.status.refuse(
                self.topics.gripper, f"command.position: {position}, must lie in [0, {robot().gripper_closed}]"
            )
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _run_gripper(self, handle: ServerGoalHandle) -> GripperCommand.Result:
        """Move the gripper until it settles or another goal replaces this one."""
        if self._goal is not None:
            self._goal[1].set_result(False)
        self.grip = handle.request.command.position / robot().gripper_closed
        if self.target is None:
            self.target = self.station.ee_pose()
        done = Future()
        self._goal, self._settled_since = (handle, done), self._now()
        settled = await done
        position = self.station.gripper_position() * robot().gripper_closed
        reached = abs(position - handle.request.command.position) < 0.05
        if settled:
            handle.succeed()  # stalled on an object is a grasp, not a failure (allow_stalling)
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return GripperCommand.Result(position=position, effort=0.0, stalled=not reached, reached_goal=reached)

    def _finish_gripper(self) -> None:
        if self._goal is None:
            return
        handle, done = self._goal
        if abs(self.station.gripper_speed()) > 0.05:
            self._settled_since = self._now()
        if self._now() - self._settled_since > 0.2 or handle.is_cancel_requested:
            self._goal = None
            done.set_result(not handle.is_cancel_requested)

    def diagnose(self) -> dict:
        rate, requested = self.cadence.rate(time.monotonic()) * STEP, self.settings.real_time_factor
        why = (
            f"slowed to {self.pace.factor:.2f} x because the policy's chunks are late"
            if self.pace.factor < 0.9 * requested
            else "the machine is too slow"
        )
        self.problem(
            "pace", f"{rate:.2f} x real time, requested {requested:g}: {why}" if 0 < rate < 0.9 * requested else ""
        )
        return {"real_time_factor": round(rate, 3), "outcome": ": ".join(self._last_outcome)}

    def close(self) -> None:
        self.station.close()


def main() -> int:
    return run_node(StationNode)


if __name__ == "__main__":
    leave(main())
