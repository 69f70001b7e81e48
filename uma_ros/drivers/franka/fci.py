"""Process that drives a Franka arm through libfranka, without ROS, torch and garbage collection.

pylibfranka holds Python's global lock while it waits for the robot. In a node's process, the control loop and the node
would block each other.
"""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from typing import Any, Protocol

import numpy as np

from uma.control.joints import JointFollower, JointLimits
from uma.geometry import fr3
from uma.types import InputError
from uma_ros.drivers.device import Backoff, DeviceError, LinkError, MissingPackage, require
from uma_ros.drivers.franka.exchange import ArmState, FciSettings, Phase, Target
from uma_ros.drivers.franka.health import RobotMode
from uma_ros.drivers.franka.shared_row import SharedRow


class RunningMotion(Protocol):
    """A running motion of the arm."""

    def cycle(self, target: Target | None) -> Any:
        """Wait for the arm's next state and send a command towards ``target`` (None = brake and hold).

        Returns:
            The state, as pylibfranka's RobotState.
        """

    def end(self) -> None:
        """Brake to rest and end the motion."""

    q_command: np.ndarray


class Timing:
    """Durations of the control cycles, s."""

    def __init__(self) -> None:
        self.compute: deque[float] = deque(maxlen=1000)
        self.interval: deque[float] = deque(maxlen=1000)
        self.cycles = self.late = 0
        self._last = float("nan")
        self.p99 = (float("nan"), float("nan"))

    def received(self, now: float) -> None:
        if np.isfinite(self._last):
            self.interval.append(now - self._last)
            self.late += now - self._last > 1.5e-3
        self._last = now

    def sent(self, took: float) -> None:
        self.compute.append(took)
        self.cycles += 1
        if self.cycles % 500 == 0:
            self.p99 = float(np.percentile(self.compute, 99)) * 1e3, float(np.percentile(self.interval, 99)) * 1e3

    def pause(self) -> None:
        self._last = float("nan")


class LoopMotion:
    """Motion by one joint position command per millisecond."""

    def __init__(self, library: Any, robot: Any, limits: JointLimits, timing: Timing) -> None:
        self._library, self._timing = library, timing
        self._control = robot.start_joint_position_control(library.ControllerMode.JointImpedance)
        self._follower: JointFollower | None = None
        self._limits = limits
        self.q_command = np.full(7, np.nan)
        timing.pause()

    def cycle(self, target: Target | None) -> Any:
        return self._cycle(target, False)

    def _cycle(self, target: Target | None, is_last: bool) -> Any:
        state, duration = self._control.readOnce()
        now = time.monotonic()
        self._timing.received(now)
        if self._follower is None:
            self._follower = JointFollower(self._limits, np.array(state.q_d))
        f = self._follower
        if target is None:
            self.q_command = f.step(None, np.zeros(7), duration.to_sec())
        else:
            self.q_command = f.step(target.at(now), target.speed, duration.to_sec())
        command = self._library.JointPositions(self.q_command.tolist())
        command.motion_finished = is_last
        self._control.writeOnce(command)
        self._timing.sent(time.monotonic() - now)
        return state

    def end(self) -> None:
        for _ in range(2000):
            self.cycle(None)
            if self._follower.is_at_rest:
                break
        self._cycle(None, True)


class AsyncMotion:
    """Motion by joint targets at a low rate; the robot interpolates between them."""

    def __init__(self, library: Any, robot: Any, limits: JointLimits, settings: FciSettings, timing: Timing) -> None:
        handler = library.AsyncPositionControlHandler
        result = handler.configure(robot, handler.Configuration(list(limits.max_speed), settings.async_tolerance))
        if result.handler is None:
            raise DeviceError(f"asynchronous joint targets: {result.error_message}")
        self._robot, self._handler, self._kind, self._timing = (
            robot,
            result.handler,
            handler.JointPositionTarget,
            timing,
        )
        self._period = 1.0 / settings.async_rate
        self._due = time.monotonic()
        self._low, self._high = fr3.LOWER + limits.margin, fr3.UPPER - limits.margin
        self.q_command = np.full(7, np.nan)
        timing.pause()

    def cycle(self, target: Target | None) -> Any:
        time.sleep(max(self._due - time.monotonic(), 0.0))
        self._due = max(self._due + self._period, time.monotonic() - self._period)
        state = self._robot.read_once()
        now = time.monotonic()
        self._timing.received(now)
        if target is not None:
            self.q_command = np.clip(target.at(now), self._low, self._high)
        elif np.isfinite(self.q_command).all():
            self.q_command = np.array(state.q_d)  # the robot's present set point
        else:
            return state
        answer = self._handler.set_joint_position_target(self._kind(self.q_command.tolist()))
        if not answer.was_successful:
            raise DeviceError(f"asynchronous joint target: {answer.error_message}")
        self._timing.sent(time.monotonic() - now)
        return state

    def end(self) -> None:
        self._handler.stop_control()


class Server:
    """Control loop of the process: connects to the arm, monitors it, and moves it while targets are fresh.

    After a reflex or a lost link the arm holds until `recover`. The operator first makes the space around it safe.

    Args:
        report: called with each event, (kind, text).
    """

    def __init__(
        self, settings: FciSettings, limits: JointLimits, targets: SharedRow, states: SharedRow, report: Any
    ) -> None:
        self.settings, self.limits, self._targets, self._states, self._report = (
            settings,
            limits,
            targets,
            states,
            report,
        )
        self.library = require("pylibfranka", "robot")
        self.timing = Timing()
        self.backoff = Backoff(0.5, 5.0)
        self._robot: Any = None
        self._motion: RunningMotion | None = None
        self._is_blocked = False
        self._refused = 0.0  # time of the last reported target that was too far away

    def connect(self) -> None:
        lib, s = self.library, self.settings
        config = lib.RealtimeConfig.kEnforce if s.realtime == "enforce" else lib.RealtimeConfig.kIgnore
        self._robot = lib.Robot(s.host, config)
        self._robot.set_collision_behavior(
            [s.collision_torque] * 7, [s.collision_torque] * 7, [s.collision_force] * 6, [s.collision_force] * 6
        )
        self._robot.set_joint_impedance(list(s.stiffness))
        self.backoff.succeeded()
        self._report(("log", f"connected to {s.host}"))

    def turn(self) -> None:
        """Run one cycle: 1 ms of motion, or 10 ms of monitoring."""
        lib, failure = self.library, None
        try:
            if self._robot is None:
                if not self.backoff.is_due(time.monotonic()):
                    time.sleep(0.02)
                    return
                self.connect()
            target = self._fresh_target()
            if self._motion is None and target is not None and not self._is_blocked:
                self._begin(target)
            if self._motion is None:
                time.sleep(0.01)
                state = self._robot.read_once()
            else:
                state = self._motion.cycle(target)
            self._write_state(state)
        except lib.RealtimeException as error:
            raise DeviceError(f"real-time priority: {error}") from None
        except (lib.ControlException, lib.CommandException, lib.InvalidOperationException, DeviceError) as error:
            failure = self._block, str(error)
        # NetworkException and the rest: the common base of pylibfranka's exceptions.
        except RuntimeError as error:
            failure = self._lost, str(error)
        if failure:  # outside the handlers, where the exception no longer references the motion
            self._motion = None
            failure[0](failure[1])

    def _fresh_target(self) -> Target | None:
        target = Target.from_row(self._targets.read())
        return None if target is None or time.monotonic() - target.time > self.settings.hold_after else target

    def _begin(self, target: Target) -> None:
        q = np.array(self._robot.read_once().q)
        away = float(np.abs(target.q - q).max())
        if away > self.settings.max_start:
            if target.time - self._refused > 1.0:
                self._report(
                    (
                        "warn",
                        f"first target: {away:.2f} rad from the arm in one joint, limit "
                        f"{self.settings.max_start}; not followed",
                    )
                )
                self._refused = target.time
            return
        if self.settings.variant == "loop":
            self._motion = LoopMotion(self.library, self._robot, self.limits, self.timing)
        else:
            self._motion = AsyncMotion(self.library, self._robot, self.limits, self.settings, self.timing)
        self._report(("log", f"moving ({self.settings.variant})"))

    def _write_state(self, state: Any) -> None:
        phase = Phase.BLOCKED if self._is_blocked else Phase.WATCHING if self._motion is None else Phase.MOVING
        mode = (
            RobotMode(int(state.robot_mode.value))
            if hasattr(state.robot_mode, "value")
            else RobotMode(int(state.robot_mode))
        )
        command = np.full(7, np.nan) if self._motion is None else self._motion.q_command
        compute, interval = self.timing.p99
        self._states.write(
            ArmState(
                time.monotonic(),
                phase,
                mode,
                state.control_command_success_rate,
                np.array(state.q),
                np.array(state.dq),
                command,
                self.timing.cycles,
                self.timing.late,
                compute,
                interval,
            ).row()
        )

    def _block(self, text: str) -> None:
        """Report a refused command or a reflex, with the arm's errors."""
        self._is_blocked = True
        try:
            state = self._robot.read_once()
            errors = str(state.current_errors).strip("[]").replace('"', "")
            text = f"{text} {errors}".strip()
        except RuntimeError:
            pass  # reported without the arm's errors
        self._report(("blocked", text))

    def _lost(self, text: str) -> None:
        was_reached, self._robot = self._robot is not None, None
        self._is_blocked |= was_reached  # only an arm that was connected needs a recovery
        wait = self.backoff.failed(time.monotonic())
        self._report(
            ("lost" if was_reached else "unreached", f"{self.settings.host}: {text}; next attempt in {wait:.1f} s")
        )

    def recover(self) -> None:
        """Clear the arm's errors and follow targets again. The result is an event."""
        try:
            if self._robot is None:
                raise LinkError(f"{self.settings.host}: not connected")
            if self._motion is not None:
                raise DeviceError("the arm is moving: nothing to recover from")
            self._robot.automatic_error_recovery()
            self._is_blocked = False
            self._report(("recovered", "the arm's errors are cleared; the arm follows targets again"))
        except (RuntimeError, LinkError, DeviceError) as error:  # pylibfranka's exceptions are RuntimeErrors
            self._report(("failed", str(error)))

    def close(self) -> None:
        """Brake to rest and disconnect."""
        try:
            if self._motion is not None:
                self._motion.end()
        except (RuntimeError, DeviceError):
            pass
        self._motion = self._robot = None


def serve(
    settings: FciSettings, limits: JointLimits, targets: SharedRow, states: SharedRow, pipe: Any, parent: int
) -> None:
    """Run the process. It ends with the arm at rest, on the command "end" or when the node has died."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node sends "end"
    try:
        server = Server(settings, limits, targets, states, pipe.send)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(80))
        except PermissionError:
            pipe.send(("log", "no real-time priority: the user lacks rtprio"))
        gc.collect()
        gc.disable()
        count = 0
        while True:
            server.turn()
            count += 1
            if count % 20 and server._motion is not None:
                continue
            if os.getppid() != parent:
                break
            if pipe.poll():
                word = pipe.recv()
                if word == "end":
                    break
                server.recover()
        server.close()
    except (MissingPackage, DeviceError, InputError) as error:
        pipe.send(("fatal", str(error)))
    except (BrokenPipeError, EOFError):
        pass
