"""The simulated DROID station: moves the end effector, renders the camera and evaluates the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import mujoco
import numpy as np

from uma.control.grasp import GraspWatch
from uma.geometry import fr3, se3
from uma.robot import DROID
from uma.types import RATE_HZ, Grasp, Observation, ReferenceMotion
from uma_sim import scene
from uma_sim.objects.tracked import Tracked
from uma_sim.robot import arm as robot
from uma_sim.robot import camera as cameras
from uma_sim.robot import gripper
from uma_sim.robot.gripper import T_LINK8_TCP
from uma_sim.robot.hand import Hand
from uma_sim.robot.ik import Kinematics

if TYPE_CHECKING:
    from uma_sim.robot.stereo import StereoDepth

IK_PERIOD = 5
"""Physics steps between two updates of the joint command: 10 ms."""

DEPTHS = ("model", "stereo")
"""Kinds of a station's depth."""
EMBODIMENTS = ("robot", "hand")
"""What the camera sees at work."""

MAX_STEP_M, MAX_STEP_RAD = 0.075, 0.15
"""Largest distance of the target from the measured pose in one action (paper C.1)."""


@dataclass(frozen=True)
class Task:
    """A task as a set of functions of a station, whose ``scene`` comes from ``sample``.

    Attributes:
        name: for display and recordings.
        sample: ``(seed, **options) -> scene``.
        add_bodies: ``(spec, scene)``, adds the scene's bodies to the model.
        track: ``station -> Tracked``, the task's object; called once, on the compiled model.
        static_points: ``station -> (Q, 3)`` metres, base frame: static points for pinned keypoints.
        outcome: ``station -> (verdict, reason)``; the verdict is "success", "wrong_goal" (the distractor's goal was
            reached), or "in_progress"; the reason explains it.
        plan_reference: ``(station, rng, num_keypoints, num_waypoints, goal, pinned) -> ReferenceMotion`` in the camera
            frame, from the current scene.
        taken: ``station -> bool``, the object is securely grasped, not only touched; the benchmark's grasp criterion.
        grasp_pose: ``station -> (4, 4)`` the expert's current grasp; the disturbance "miss" closes beside it.
        may_drop: ``(station, height) -> bool``, whether the disturbance "drop" may happen: held, moved by ``height``
            metres, and recoverable.
        instruction: ``(station, goal) -> str``, a person's instruction.
        max_steps: time limit of a demonstration in control steps.
        intent: ``(station, goal) -> str``, the kind of motion; by default the task's name.
        lasts: control steps during which a success must last; 0 = the first one counts.
        tail: least and largest number of control steps that a demonstration goes on after its success.
    """

    name: str
    sample: Callable[..., Any]
    add_bodies: Callable[[mujoco.MjSpec, Any], None]
    track: Callable[[Station], Tracked]
    static_points: Callable[[Station], np.ndarray]
    outcome: Callable[[Station], tuple[str, str]]
    plan_reference: Callable[..., ReferenceMotion]
    taken: Callable[[Station], bool]
    grasp_pose: Callable[[Station], np.ndarray]
    may_drop: Callable[[Station, float], bool]
    instruction: Callable[[Station, int], str]
    max_steps: int = 220
    intent: Callable[[Station, int], str] = lambda station, goal: station.task.name
    lasts: int = 0
    tail: tuple[int, int] = (10, 10)


class Station:
    """One random scene of a task with the robot.

    It is not thread-safe: `observe` and `picture` must run in one thread of the process.

    Args:
        seed: of the scene and the noise.
        task: scene content and success criterion; `uma_sim.tasks.make_station` accepts its name.
        noise: depth and colour noise in `observe`.
        render: False omits the camera (`observe` and `picture` then raise).
        width, height: of the observed images, pixels.
        T_base_cam: ``(4, 4)`` camera pose; None for the scene's.
        depth: of `DEPTHS`. "model" is the true depth with stereo occlusion and noise. "stereo" is matched from two
            images, see `uma_sim.robot.stereo`, which takes about 100 ms more.
        embodiment: "hand" draws a person's hand in place of the robot, see `uma_sim.robot.hand`.
        options: of the task's ``sample``, such as ``shape`` for insertion, see `uma_sim.objects.utensils.SHAPES`.

    Attributes:
        task: the task.
        scene: the sampled scene.
        object: the task's object.
        camera: intrinsics.
        depth: the argument.
        T_base_cam: ``(4, 4)`` calibrated camera pose; exact until `displace_camera`.
        depth_noise: factor on the standard deviation of the depth noise; without effect on "stereo".
    """

    ee_frame = DROID.ee_frame
    base_frame = DROID.base_frame
    T_link8_tcp = T_LINK8_TCP
    joint_names = fr3.JOINT_NAMES

    def __init__(
        self,
        seed: int,
        task: Task,
        *,
        noise: bool = True,
        render: bool = True,
        width: int = 320,
        height: int = 180,
        T_base_cam: np.ndarray | None = None,
        depth: Literal["model", "stereo"] = "model",
        embodiment: Literal["robot", "hand"] = "robot",
        **options: Any,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"depth: {depth!r}, must be one of {', '.join(DEPTHS)}")
        if embodiment not in EMBODIMENTS:
            raise ValueError(f"embodiment: {embodiment!r}, must be one of {', '.join(EMBODIMENTS)}")
        self.depth = depth
        self.seed = seed
        self.task = task
        self.scene = self.task.sample(seed, **options)
        if T_base_cam is not None:
            self.scene = replace(self.scene, room=replace(self.scene.room, T_base_cam=T_base_cam))
        self.camera = cameras.camera_model(width, height, self.scene.room.focal)
        self.T_base_cam = self.scene.room.T_base_cam
        self.model = self._build()
        self._hand = Hand(self.model, np.random.default_rng([seed, 23])) if embodiment == "hand" else None
        self.data = mujoco.MjData(self.model)
        self.kinematics = Kinematics(T_LINK8_TCP)
        self._gripper = gripper.GripperState(self.model)
        self._noise = np.random.default_rng([seed, 1]) if noise else None
        self.depth_noise = 1.0
        self._renders = render
        self._renderer: cameras.Renderer | None = None
        self._stereo: StereoDepth | None = None
        self._picture: tuple[mujoco.MjModel, mujoco.MjData, cameras.Renderer] | None = None
        self.object = self.task.track(self)
        self._max_dq = robot.VELOCITY_LIMIT * IK_PERIOD * scene.TIMESTEP
        self._steps = 0
        self._due = self._start_time = 0.0
        self._grasp = GraspWatch()
        self._grip = 0.0
        self._q_command = self.scene.room.start_joints.copy()
        self.data.qpos[:7] = self._q_command
        self.data.ctrl[:7] = self._q_command
        self._path: tuple[np.ndarray, np.ndarray, float, float] | None = None
        self._target = self.kinematics.forward(self._q_command)
        mujoco.mj_forward(self.model, self.data)
        self.advance(0.4)  # settles the objects
        self._start_time = float(self.data.time)

    def _build(self, visual: bool = False) -> mujoco.MjModel:
        return scene.build(
            self.scene.room,
            lambda spec: self.task.add_bodies(spec, self.scene),
            cameras.fovy_degrees(self.scene.room.focal),
            visual,
        )

    # ---- state -------------------------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Simulated seconds since the scene settled."""
        return float(self.data.time) - self._start_time

    def ee_pose(self) -> np.ndarray:
        """Measured ``(4, 4)`` T_base_ee of the frame `ee_frame`."""
        return self.kinematics.forward(self.joint_positions())

    def flange_pose(self) -> np.ndarray:
        """Measured ``(4, 4)`` pose of ``fr3_link8`` in the base frame."""
        return self.ee_pose() @ se3.invert(T_LINK8_TCP)

    def gripper_position(self) -> float:
        """Measured gripper, 0 open to 1 closed."""
        return self._gripper.position(self.data)

    def gripper_speed(self) -> float:
        """Rate of `gripper_position` in 1/s; positive while it closes."""
        return self._gripper.speed(self.data)

    def joint_positions(self) -> np.ndarray:
        """``(7,)`` radians, in the order of `joint_names`."""
        return self.data.qpos[:7].copy()

    def joint_velocities(self) -> np.ndarray:
        """``(7,)`` radians per second."""
        return self.data.qvel[:7].copy()

    def object_pose(self) -> np.ndarray:
        """True ``(4, 4)`` pose of a rigid object in the base frame."""
        return self.object.pose()

    def object_points(self) -> np.ndarray:
        """``(16, 3)`` current positions of the object's surface points, base frame."""
        return self.object.points()

    def object_speed(self) -> float:
        """Speed of the object, m/s."""
        return self.object.speed()

    def pads_in_contact(self) -> int:
        """Number of pads in contact with the object."""
        return self.object.pads_in_contact()

    def grasped(self) -> bool:
        """Whether the jaws have stopped on the object between the pads."""
        if abs(self.gripper_speed()) > 0.9 or not 0.3 < self.gripper_position() < 0.97:
            return False
        # One pad suffices: contacts flicker between steps while the grasp holds.
        return self.pads_in_contact() >= 1 and self.tcp_to_object() < 0.03

    def holds_another(self) -> bool:
        """Whether the jaws have stopped on another movable object, with both pads in contact."""
        if abs(self.gripper_speed()) > 0.9 or not 0.3 < self.gripper_position() < 0.97:
            return False
        pads = {self.model.geom(pad).id: set() for pad in gripper.PADS}
        for a, b in self.data.contact.geom.tolist():
            for pad, other in ((a, b), (b, a)):
                if pad in pads:
                    pads[pad].add(int(self.model.geom_bodyid[other]))
        return any(
            self.model.body_dofnum[body] and body not in self.object.bodies for body in set.intersection(*pads.values())
        )

    def tcp_to_object(self) -> float:
        """Metres from the TCP to the object's nearest grasp point."""
        return self.object.distance(self.ee_pose()[:3, 3])

    # ---- motion ------------------------------------------------------------------------------------------------------

    def set_target(self, T_base_ee: np.ndarray, grip: float) -> None:
        """Set the pose that the arm tracks, and the gripper command (0 open, 1 closed)."""
        self._path = None
        self._target = np.array(T_base_ee, dtype=np.float64)
        self._grip = float(np.clip(grip, 0.0, 1.0))

    def advance(self, seconds: float) -> None:
        """Advance the simulation.

        Fractions of a physics step carry over, so 15 calls of 1/15 s make exactly one second.
        """
        self._due += seconds / scene.TIMESTEP
        while self._steps + 1 <= self._due + 1e-6:
            if self._steps % IK_PERIOD == 0:
                self._track()
            n = min(IK_PERIOD - self._steps % IK_PERIOD, int(self._due + 1e-6) - self._steps)
            mujoco.mj_step(self.model, self.data, n)
            self._steps += n
        if self._grasp.changes(gripper := self.gripper_position()):
            self._grasp.add(self.ee_pose(), gripper, self.time)

    def act(self, T_base_ee: np.ndarray, grip: float) -> None:
        """Run one control period (1/15 s) toward ``T_base_ee``, interpolated like the real controller.

        The target is first clipped to `MAX_STEP_M` and `MAX_STEP_RAD` from the measured pose.
        """
        goal = se3.clip_step(self.ee_pose(), T_base_ee, MAX_STEP_M, MAX_STEP_RAD)
        self._path = (self._target, goal, float(self.data.time), 1.0 / RATE_HZ)
        self._grip = float(np.clip(grip, 0.0, 1.0))
        self.advance(1.0 / RATE_HZ)
        self._path, self._target = None, goal

    def _track(self) -> None:
        if self._path is not None:
            a, b, start, period = self._path
            self._target = se3.interpolate(
                a, b, float(np.clip((self.data.time - start) / period + IK_PERIOD * scene.TIMESTEP / period, 0.0, 1.0))
            )
        self._q_command = self.kinematics.step(self._q_command, self._target, self._max_dq)
        self.data.ctrl[:7] = self._q_command
        travel = gripper.SPEED * IK_PERIOD * scene.TIMESTEP
        self.data.ctrl[7] += np.clip(self._grip - self.data.ctrl[7], -travel, travel)
        self.object.control(self.gripper_position(), self._grip)

    def motion(self) -> dict[str, np.ndarray | float]:
        """Return what the arm does, for `resume`, between two control periods."""
        names = ("due", "steps", "grip", "q_command", "target", "start_time")
        return {name: getattr(self, f"_{name}") for name in names}

    def resume(self, motion: dict[str, np.ndarray]) -> None:
        """Go on with the motion that another station of this scene had. Raises `KeyError` for a missing value."""
        self._steps, self._due = int(motion["steps"]), float(motion["due"])
        self._grip, self._start_time = float(motion["grip"]), float(motion["start_time"])
        self._q_command, self._target = motion["q_command"].copy(), motion["target"].copy()
        mujoco.mj_forward(self.model, self.data)

    # ---- sight -------------------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """Return the RGB-D image with the simultaneous end-effector and gripper measurement, camera frame."""
        if not self._renders:
            raise RuntimeError("render: False, must be True to observe")
        if self._renderer is None:
            self._renderer = cameras.Renderer(self.model, hand=self._hand)
        rgb, depth = self._renderer.render(self.data, self.camera.width, self.camera.height)
        if self.depth == "model":
            rgb, depth = cameras.sense(rgb, depth, self.camera, self._noise, self.depth_noise)
        else:
            rgb = rgb if self._noise is None else cameras.add_grain(rgb, self._noise)
            depth = self._matched(self._renderer)
        T_cam_ee = se3.invert(self.T_base_cam) @ self.ee_pose()
        found, T_cam_base = self._grasp.at(), se3.invert(self.T_base_cam)
        grasp = None if found is None else Grasp(T_cam_base @ found[0], found[1])
        gripper = self.gripper_position()
        return Observation(rgb, depth, self.camera, T_cam_ee, gripper, self.time, self.T_base_cam, grasp)

    def _matched(self, renderer: cameras.Renderer) -> np.ndarray:
        """Return the depth by stereo matching, ``(H, W)`` metres."""
        if self._stereo is None:
            from uma_sim.robot.stereo import StereoDepth

            self._stereo = StereoDepth(renderer, self.camera, np.random.default_rng([self.seed, 21]))
        return self._stereo.measure(self.data, self._noise)

    def labels(self) -> np.ndarray:
        """Return what each pixel of `observe` shows: ``(H, W)`` int32 id of a root body; 0 is table, floor and wall.

        A cloth has the id of its first corner's body, and the robot that of its base.
        """
        if not self._renders:
            raise RuntimeError("render: False, must be True for labels")
        self._renderer = self._renderer or cameras.Renderer(self.model, hand=self._hand)
        return self._renderer.labels(self.data, self.camera.width, self.camera.height)

    def displace_camera(self, T_calibrated_true: np.ndarray) -> None:
        """Displace the camera by ``(4, 4)`` without updating its calibration `T_base_cam`, like a knock."""
        T = self.T_base_cam @ T_calibrated_true @ np.diag([1.0, -1.0, -1.0, 1.0])  # MuJoCo's cameras look along -z
        index = self.model.camera("zed").id
        self.model.cam_pos[index] = T[:3, 3]
        self.model.cam_quat[index] = se3.quaternion(T)[[3, 0, 1, 2]]
        mujoco.mj_forward(self.model, self.data)

    def picture(
        self, width: int = 1280, height: int = 720, quality: str = "picture", view: mujoco.MjvCamera | None = None
    ) -> np.ndarray:
        """Render a picture ``(H, W, 3)`` uint8 from the station's camera or ``view``.

        Args:
            quality: "picture" (detailed meshes, shadows; slow) or "fast" (as in `observe`).
        """
        if not self._renders:
            raise RuntimeError("render: False, must be True for a picture")
        if quality == "fast":
            self._renderer = self._renderer or cameras.Renderer(self.model, hand=self._hand)
            return self._renderer.render(self.data, width, height, view)[0]
        if self._picture is None:
            model = self._build(visual=True)
            self._picture = (model, mujoco.MjData(model), cameras.Renderer(model, show_collision=False))
        model, data, renderer = self._picture
        data.qpos[:] = self.data.qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_flex(model, data)
        mujoco.mj_camlight(model, data)
        return renderer.render(data, width, height, view)[0]

    def close(self) -> None:
        """Free graphics memory."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = self._stereo = None
        if self._picture is not None:
            self._picture[2].close()
            self._picture = None
