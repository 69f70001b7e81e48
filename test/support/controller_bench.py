"""A controller on two simulated clocks, beside an arm that stands still."""

from dataclasses import replace

import numpy as np

from uma.control.controller import Controller
from uma.control.controller_settings import ControllerSettings
from uma.control.session import State
from uma.geometry import fr3
from uma.geometry.se3 import make_pose
from uma.types import HORIZON, ActionChunk, InputError

FLANGE = fr3.forward(fr3.REST)
TOOL = make_pose(np.eye(3), np.array([0.0, 0.0, 0.16]))
OTHER_TOOL = make_pose(np.eye(3), np.array([0.0, 0.0, 0.20]))
PERIOD = 0.008


def lookup(target: str, source: str) -> np.ndarray:
    if source not in ("tcp", "other_tcp"):
        raise InputError(f"frame {source!r}: no static transform to {target!r}")
    return TOOL if source == "tcp" else OTHER_TOOL


class Bench:
    """A controller beside an arm that stands still, unless `arm` is changed.

    Attributes:
        now, t: the monotonic clock and the clock of the stamps, seconds.
        silent: sources that send nothing.
        overdue: why the gripper has not answered.
        sequence: sequence of the next chunk.
    """

    def __init__(self, **changes) -> None:
        self.now, self.t, self.arm, self.silent, self.overdue = 50.0, 1000.0, FLANGE.copy(), set(), ""
        self.sequence, self.reports, self.commands = 0, [], []
        settings = replace(ControllerSettings(autostart=True), **changes)
        self.controller = Controller(settings, lookup, self.reports.append)
        self.controller.receive("calibration", self.now)

    @property
    def state(self) -> State:
        return self.controller.session.state

    @property
    def reason(self) -> str:
        return self.controller.session.reason

    def send_pose(self) -> None:
        self.controller.receive_pose(self.arm.copy(), self.t, self.now, self.t)

    def send_chunk(self, way=0.0, grip=0.0, **changes) -> None:
        """A chunk of this instant that moves ``way`` metres along y."""
        poses = np.repeat((FLANGE @ TOOL)[None], HORIZON, 0)
        poses[:, 1, 3] += np.linspace(0, way, HORIZON + 1)[1:]
        chunk = ActionChunk(poses, np.full(HORIZON, grip), self.t, "fr3_link0", "tcp", sequence=self.sequence)
        self.controller.receive_chunk(replace(chunk, **changes), self.now, self.t)
        self.sequence += 1

    def tick(self, count=1, chunks=False):
        """Run ``count`` periods with every input that is not `silent`, optionally with a chunk every 0.2 s.

        Returns:
            The last command.
        """
        for i in range(count):
            self.now, self.t = self.now + PERIOD, self.t + PERIOD
            if "robot" not in self.silent:
                self.send_pose()
                self.controller.receive_joints(fr3.REST, self.now)
            if "gripper" not in self.silent:
                self.controller.receive("gripper", self.now)
            if chunks and i % 25 == 0:
                self.send_chunk()
            self.commands.append(self.controller.step(self.now, self.t, self.overdue))
        return self.commands[-1]


def running() -> Bench:
    """RUNNING, with a chunk that stays where the arm is."""
    made = Bench()
    made.tick()
    made.send_chunk()
    made.tick()
    assert made.state is State.RUNNING
    return made


def moved(command) -> float:
    return float(np.linalg.norm(command.target[:3, 3] - FLANGE[:3, 3]))
