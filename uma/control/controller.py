"""The control period: turns chunks in the base frame into one stream of safe Cartesian targets.

Plain Python. The caller passes two clocks in seconds: ``now`` is monotonic and times silences and the session; ``t`` is
the clock of the time stamps and times chunks. The ROS node, the simulated benchmark and the tests share this class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from uma.control.cadence import Cadence
from uma.control.command import Command, Status
from uma.control.controller_settings import ControllerSettings
from uma.control.departure import departure
from uma.control.freshness import check_freshness
from uma.control.gate import Gate
from uma.control.home import way_home
from uma.control.hysteresis import Hysteresis
from uma.control.reach import Arm
from uma.control.safety import SafetyFilter
from uma.control.schedule import Schedule
from uma.control.services import Services
from uma.control.session import Session, State, Transition
from uma.control.watchdog import Watchdog
from uma.geometry.se3 import invert
from uma.robot import DROID
from uma.types import RATE_HZ, ActionChunk, InputError, MotionPrediction, ReferenceMotion

MAX_JUMP = 0.15
"""Largest plausible distance between two consecutive robot states, metres."""
WORK_AGE = 1.0
"""Time for which a chunk counts as work for the session, seconds."""
CLOCK_SET = 1.0
"""Longest plausible time between two periods, seconds. A longer one is a clock change, and no motion is made up for it.
"""


class Controller:
    """Computes the robot's target in each control period, or withholds it.

    Args:
        settings: see `ControllerSettings`.
        lookup: ``(target, source)`` frame names -> ``(4, 4)`` ``T_target_source``; raises `InputError` where no static
            transforms connect them.
        report: called with the `Status` after each update of the session, in order.
        inactive: why the robot may not move yet; empty = it may.
        joints_topic: source of the joint positions, for messages.
        origins: source of the watchdog -> its topic, for messages.
        services: names of the operator's services, for messages.
        kinematics: base and end-effector frames of the kinematics in `uma.geometry.fr3`. The joint limits are checked
            if they are those of the settings.

    Attributes:
        measured: ``(4, 4)`` last measured pose of the frame ``robot_ee_frame`` in the base frame; None before the
            first.
        reference: the current reference motion, in the camera frame; None for other tasks.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        lookup: Callable[[str, str], np.ndarray],
        report: Callable[[Status], None] = lambda status: None,
        inactive: str = "",
        joints_topic: str = "/joint_states",
        origins: Mapping[str, str] | None = None,
        services: Services = Services(),  # noqa: B008  (frozen)
        kinematics: tuple[str, str] = DROID.kinematics,
    ) -> None:
        s = self.settings = settings
        self.session = Session(s.autostart, s.hold_limit, services.start)
        self.schedule = Schedule(s.blend_s, s.ensemble)
        self.safety = SafetyFilter(s.safety)
        self.watchdog = Watchdog(s.silence_limits)
        self.gate = Gate(s.confirm, services.confirm)
        self.cadence = Cadence("targets", s.period)
        self.hysteresis = Hysteresis(s.gripper_close_above, s.gripper_open_below)
        self.measured: np.ndarray | None = None
        self.reference: ReferenceMotion | None = None
        self._lookup, self._report, self._joints_topic = lookup, report, joints_topic
        self._origins, self._services, self._kinematics = dict(origins or {}), services, kinematics
        self._inactive, self._obstacles = inactive, dict[str, str]()
        self._T_robot_ee: np.ndarray | None = None  # of the active chunk
        self._joints: tuple[np.ndarray, float] | None = None  # positions, time of receipt
        self._chunk_stamp = self._chunk_received = float("-inf")
        self._hold_reason = self._departed = self._overdue = self._unwatched = ""
        self._is_blocked = True
        self._last_t: float | None = None
        self._is_placed = False  # the filter holds the commanded pose
        self._goes_home = False
        self._closed_before: bool | None = None
        self._num_held = self._num_limited = 0

    def change_settings(self, settings: ControllerSettings) -> None:
        """Apply the fields that are marked live."""
        self.settings = settings
        self.watchdog.limits = settings.silence_limits
        self.safety.settings = settings.safety
        self.session.hold_limit = settings.hold_limit

    # -- inputs --------------------------------------------------------------------------------------------------------

    def receive(self, source: str, now: float) -> None:
        """Record a sign of life of ``source``: calibration, gripper or operator."""
        self.watchdog.receive(source, now)

    def receive_joints(self, joints: np.ndarray, now: float) -> None:
        """Record the measured joint positions ``(7,)``, rad."""
        self._joints = joints, now

    def receive_pose(self, pose: np.ndarray, stamp: float, now: float, t: float) -> None:
        """Record the measured ``(4, 4)`` pose of the frame ``robot_ee_frame`` in the base frame.

        Raises:
            InputError: ``stamp`` is too old, or ahead of the clock.
        """
        max_age = self.settings.max_state_age
        check_freshness(t - stamp, max_age)
        silent = self.watchdog.silence("robot", now)
        if silent > max_age:
            self._reset()  # the arm may have moved, or be another one
            if 1.0 < silent < float("inf"):
                why = f"the robot was silent for {silent:.1f} s, waiting for {self._services.start}"
                self._announce(self.session.stop(now, why), now, t)
        elif self.measured is not None and (jump := np.linalg.norm(pose[:3, 3] - self.measured[:3, 3])) > MAX_JUMP:
            why = f"the robot's pose jumped by {jump:.2f} m, limit {MAX_JUMP} m"
            self._announce(self.session.fault(now, why), now, t)
            self._reset()
        self.measured = pose
        self.watchdog.receive("robot", now)

    def receive_chunk(self, chunk: ActionChunk, now: float, t: float) -> None:
        """Follow a chunk if the session and the operator's gate permit it.

        Raises:
            InputError: the chunk is too old, in a wrong frame or of a wrong end effector, or ends before the active
                chunk; or no robot pose was received yet.
        """
        s = self.settings
        if chunk.frame != s.base_frame:
            raise InputError(f"header.frame_id: {chunk.frame!r:.80}, must be {s.base_frame!r}")
        check_freshness(t - chunk.stamp, s.max_chunk_age)
        try:
            T_robot_ee = self._lookup(s.robot_ee_frame, chunk.ee_frame)
        except InputError as error:
            raise InputError(f"ee_frame: {error}") from None
        if self.measured is None:
            raise InputError("robot pose: none received yet")
        self._chunk_received = now
        self._update(now, t)
        if not self._goes_home and self.gate.accepts and self.session.state in (State.RUNNING, State.HOLD):
            self._follow(chunk, T_robot_ee, t)
        self._chunk_stamp = chunk.stamp

    def receive_task(self, stamp: float, reference: ReferenceMotion | None, now: float, t: float) -> None:
        """Switch to the task of the observation at time ``stamp``. Earlier consent of the operator does not cover
        it."""
        self._departed = ""
        self.schedule.new_task(stamp, t)
        self.reference = reference
        if self.gate.mode != "off":
            self.gate.close()
            self.schedule.clear()
            self._update(now, t)

    def receive_motion(self, motion: MotionPrediction) -> None:
        """Compare the object's predicted motion, in the camera frame, with the reference motion.

        Raises:
            InputError: the prediction does not fit the current reference motion.
        """
        if self.reference is None:
            return
        try:
            away = departure(motion, self.reference)
        except ValueError as error:
            raise InputError(str(error)) from None
        limit = self.settings.max_departure
        text = f"the predicted motion leaves the reference by {away:.3f} m, limit {limit} m"
        self._departed = text if away > limit else ""

    def count_publishers(self, topic: str, count: int) -> None:
        """Update the number of publishers of targets.

        A second stream (a played bag, a second controller) would compete for the arm.
        """
        text = f"{topic}: {count} publishers, limit 1 (this node; a killed one counts for 20 s)"
        self.obstruct("publishers", text if count > 1 else "")

    def obstruct(self, source: str, why: str) -> None:
        """Set why ``source`` forbids motion; an empty text clears it."""
        self._obstacles[source] = why

    # -- operator ------------------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """Permit motion of the robot."""
        self._inactive = ""

    def deactivate(self, why: str, now: float, t: float) -> None:
        """Stop and hold the pose. Motion needs a new activation and then a new start."""
        self._inactive = why
        self._stop(f"{why}; after its activation, {self._services.start}", now, t)

    def start(self, now: float) -> str:
        """Start the session. Return "started", and what motion still waits for.

        Raises:
            RuntimeError: in FAULT, while inactive, or before the first message of a required source.
        """
        if self._inactive:
            raise RuntimeError(self._inactive)
        if missing := self.watchdog.missing():
            named = (f"{source} ({self._origins[source]})" if source in self._origins else source for source in missing)
            raise RuntimeError(f"not started: nothing received yet from {', '.join(named)}")
        self.session.start(now)
        waits = self._missing_inputs(now)
        if now - self._chunk_received > WORK_AGE:
            waits.append("a chunk of a task")
        return f"started; waits for {'; '.join(waits)}" if waits else "started"

    def waits(self, now: float) -> tuple[list[str], str]:
        """Return what motion waits for: missing inputs, one sentence each, and else the session's reason."""
        inputs, state = self._missing_inputs(now), self.session.state
        if state is State.HOLD and not inputs:
            inputs = [self.session.reason]
        return inputs, "" if inputs or state is State.RUNNING else f"{state.name}: {self.session.reason}"

    def _missing_inputs(self, now: float) -> list[str]:
        return [*self.watchdog.stale(now), *filter(None, self._obstacles.values())]

    def stop(self, now: float, t: float) -> None:
        """Hold the pose until the next start."""
        names = self._services
        self._stop(f"stopped by {names.stop}, waiting for {names.start}", now, t)

    def recover(self, now: float, t: float) -> None:
        """Leave FAULT. Raises RuntimeError if there is nothing to recover from."""
        self._announce(self.session.recover(now), now, t)
        self._reset()

    def confirm(self) -> None:
        """Record the operator's consent. Raises RuntimeError if nothing waits for it."""
        if not self.gate.confirm():
            raise RuntimeError(f"nothing waits for confirmation (confirm is {self.gate.mode!r})")

    def home(self, goal: np.ndarray, ee_frame: str, now: float, t: float) -> float:
        """Go home through the safety filter: up, across, down. The gripper stays as it is, and chunks are ignored.

        The way ends with a stop. A hold ends it, too, since the arm would cut the way's corners after it.

        Args:
            goal: ``(4, 4)`` pose of the frame ``robot_ee_frame`` in the base frame.
            ee_frame: the end effector that the workspace of the safety filter is about.

        Returns:
            How long it takes, seconds.

        Raises:
            RuntimeError: the robot moves already, is in FAULT or inactive, or an input is missing.
            InputError: no transform to ``ee_frame``.
        """
        if self.session.state in (State.RUNNING, State.HOLD):
            raise RuntimeError(f"in {self.session.state.name}: call {self._services.stop} first")
        waits = [*filter(None, [self._inactive]), *self._missing_inputs(now)]
        if waits or self.measured is None:
            raise RuntimeError(f"not started: {'; '.join(waits) or 'no robot pose received yet'}")
        tool = self._lookup(self.settings.robot_ee_frame, ee_frame)
        self.session.start(now)
        self._reset()
        self._departed = self._hold_reason = ""
        self._T_robot_ee, self._is_placed, self._goes_home = tool, True, True
        start = self.measured @ tool
        self.safety.reset(start)
        way = way_home(start, goal @ tool, t, self.settings.base_frame, ee_frame)
        self.schedule.add(way, t, start)
        self._update(now, t)
        return len(way.poses) / way.rate_hz

    # -- motion --------------------------------------------------------------------------------------------------------

    def step(self, now: float, t: float, overdue: str = "") -> Command:
        """Run one control period.

        Args:
            overdue: why the answer to the gripper's last goal is overdue; empty if it is not.

        Raises:
            InputError: the measured pose is not a valid pose.
        """
        dt = 0.0 if self._last_t is None else t - self._last_t
        if dt < 0:  # the clock went back: the plan is void
            self.schedule.clear()
        self._last_t = t
        self._overdue = overdue
        status = self._update(now, t)
        if self._goes_home and self.session.state is not State.RUNNING:
            self._end_of_home(f"the way home ended: {self.session.reason}", now, t)
        silent = self.watchdog.silence("robot", now) > self.settings.max_state_age
        if not self._is_placed or silent or self.session.state is State.FAULT:
            # No commanded pose, or no current measured pose: the robot's own controller holds.
            return Command(None, None, "", self._unwatched, status)
        held, close_gripper = self._move(now, t, dt) if dt > 0 else ("", None)
        assert self.safety.pose is not None
        target: np.ndarray | None = self.safety.pose @ invert(self._tool)
        self.cadence.beat(now)
        status = replace(status, num_held=self._num_held, num_limited=self._num_limited)
        if self.settings.dry_run:
            target = close_gripper = None
        return Command(target, close_gripper, held, self._unwatched, status)

    def repeat_gripper(self) -> None:
        """Repeat the last gripper goal in the next period, because it could not be sent."""
        self.hysteresis.closed = self._closed_before

    def diagnose(self) -> dict[str, object]:
        """Return state, cadence and the safety filter's counts for diagnostics."""
        counts = {k.replace(": ", "_"): v for k, v in sorted(self.safety.counts.items())}
        return {"state": self.session.state.name, **self.cadence.report(), **counts}

    def _move(self, now: float, t: float, dt: float) -> tuple[str, bool | None]:
        """Pass the due target through the safety filter. Return the hold reason and the gripper's goal."""
        # A held target is tried again, so that the hold can end. A plan whose predicted motion departs from the task is
        # not.
        is_running = self.session.state is State.RUNNING or (self.session.state is State.HOLD and not self._is_blocked)
        follow = (self._goes_home or not self._departed) and not self._overdue and is_running
        point = self.schedule.target(t) if follow else None
        lasted = min(dt, 4 * self.settings.period) if dt < CLOCK_SET else self.settings.period
        pose, nominal_speed = (None, None) if point is None else (point.pose, point.nominal_speed)
        assert self.measured is not None
        measured = self.measured @ self._tool
        verdict = self.safety.step(pose, measured, lasted, elapsed=dt, arm=self._arm(now), nominal_speed=nominal_speed)
        self._hold_reason = verdict.hold_reason
        self._num_held += bool(verdict.hold_reason)
        self._num_limited += bool(verdict.limited)
        goal = None
        if point is not None and not verdict.hold_reason and not self._goes_home:
            self._closed_before = self.hysteresis.closed
            goal = self.hysteresis.update(point.gripper)
        if point is not None and point.is_over:
            if self._goes_home:
                self._end_of_home("at home", now, t)
                return verdict.hold_reason, None
            self.gate.finished()
            if self.gate.waiting:
                self.schedule.clear()
        return verdict.hold_reason, goal

    def _arm(self, now: float) -> Arm | None:
        """Return the joint state for the joint limits; None where it is unknown."""
        s, why = self.settings, ""
        if self._joints is None:
            why = f"no FR3 joint state on {self._joints_topic}"
        elif (s.base_frame, s.robot_ee_frame) != self._kinematics:
            base, ee = self._kinematics
            frames = f"the poses from {s.base_frame!r} to {s.robot_ee_frame!r}"
            why = f"the kinematics are from {base!r} to {ee!r}, {frames}"
        self._unwatched = f"not checked: {why}" if why and s.safety.joint_margin else ""
        if why or self._joints is None:
            return None
        joints, received = self._joints
        return Arm(invert(self._tool), joints if now - received <= s.max_state_age else None)

    @property
    def _tool(self) -> np.ndarray:
        """``(4, 4)`` T_robot_ee of the active chunk, once the filter is placed."""
        assert self._T_robot_ee is not None
        return self._T_robot_ee

    def _follow(self, chunk: ActionChunk, T_robot_ee: np.ndarray, t: float) -> None:
        if self._is_placed and not np.allclose(T_robot_ee, self._tool, atol=1e-6):
            # The filter tracks the end effector. Under another one, the same target would move the arm at once.
            raise InputError(
                f"ee_frame: {chunk.ee_frame!r} differs in pose from the active end effector; "
                "restart the controller to change it"
            )
        if not self._is_placed:
            assert self.measured is not None  # `receive_chunk` refuses a chunk without it
            self.safety.reset(self.measured @ T_robot_ee)
            self._is_placed = True
        self._T_robot_ee = T_robot_ee
        assert self.safety.pose is not None
        try:
            self.schedule.add(chunk, t, self.safety.pose)
        except ValueError as error:
            raise InputError(str(error)) from None
        self.gate.took()

    def _update(self, now: float, t: float) -> Status:
        """Update the session from the inputs."""
        blockers = [*self._missing_inputs(now), *([self._inactive] if self._inactive else [])]
        self._is_blocked = bool(blockers)
        last_due, is_on = self.schedule.last_due, self.session.state in (State.RUNNING, State.HOLD)
        silent = now - self._chunk_received
        hold = self._hold_reason or ("" if self._goes_home else self._departed) or self._overdue
        if last_due is not None and t > last_due + 2.0 / RATE_HZ:
            due = f"the last action was due {t - last_due:.1f} s ago"
            hold = f"no fresh chunk: {due}, last chunk {silent:.1f} s ago"
        elif last_due is None and is_on and silent > WORK_AGE:
            hold = f"no fresh chunk: last chunk {silent:.1f} s ago"
        if self.session.state is State.READY:
            hold = ""
        has_work = silent < WORK_AGE or is_on or self._goes_home
        gate = "" if self._goes_home else self.gate.waiting
        return self._announce(self.session.update(now, blockers, has_work, hold, gate), now, t)

    def _announce(self, transition: Transition | None, now: float, t: float) -> Status:
        age = (t - self._chunk_stamp) * 1e3
        status = Status(
            self.session.state,
            self.session.reason,
            transition,
            age if age < float("inf") else float("nan"),
            self.cadence.rate(now, 1.0),
            self._num_held,
            self._num_limited,
        )
        self._report(status)
        return status

    def _end_of_home(self, why: str, now: float, t: float) -> None:
        self._stop(f"{why}; waiting for {self._services.start}", now, t)

    def _stop(self, why: str, now: float, t: float) -> None:
        if self._goes_home:  # the next chunk may be of another end effector, and starts from the measured pose
            self._goes_home = self._is_placed = False
        self.schedule.clear()
        self.gate.close()
        self._announce(self.session.stop(now, why), now, t)

    def _reset(self) -> None:
        """Restart from the robot's current pose."""
        self.schedule.clear()
        self._is_placed = False
        self.hysteresis.closed = None
