"""The node's controller in simulated time, without ROS, with a latency per chunk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from uma.control.controller import Controller
from uma.control.controller_settings import ControllerSettings
from uma.types import RATE_HZ, InputError

if TYPE_CHECKING:
    from uma.types import ActionChunk
    from uma_sim.station import Station


class SimulatedController:
    """The node's controller at the node's period, on the clock of a simulated station.

    So the benchmark evaluates the code that moves the robot. It omits message transport and failing inputs.

    Args:
        latency_s: time from an observation to its chunk; meanwhile the previous chunk continues.
        settings: None for the node's defaults, with ``autostart``.

    Attributes:
        controller: the controller.
        refused: why the controller refused the last chunk; empty if it accepted it.

    Raises:
        ValueError: the latency exceeds the age limit of chunks.
    """

    def __init__(self, station: Station, latency_s: float, settings: ControllerSettings | None = None) -> None:
        settings = settings or ControllerSettings(autostart=True)
        if latency_s > settings.max_chunk_age:
            raise ValueError(f"latency_s: {latency_s:g}, must be at most max_chunk_age, {settings.max_chunk_age:g} s")
        self.controller = Controller(settings, lambda target, source: station.T_link8_tcp)
        self.refused = ""
        self._station, self._latency, self._period = station, latency_s, settings.period
        self._waiting: ActionChunk | None = None
        self._steps, self._ticks, self._start = 0, 0, station.time
        self._grip = 0.0
        self.controller.receive("calibration", self._start)

    def give(self, chunk: ActionChunk) -> None:
        """Submit the camera-frame chunk of the current observation.

        It arrives after the latency and replaces a pending one.
        """
        in_base = chunk.transformed(self._station.T_base_cam, self._station.base_frame)
        self._waiting = replace(in_base, stamp=self._station.time)

    def step(self) -> None:
        """Run one control period of the policy, 1/15 s."""
        self._steps += 1
        while (self._ticks + 1) * self._period <= self._steps / RATE_HZ + 1e-9:
            self._tick(self._start + self._ticks * self._period)
            self._ticks += 1

    def _tick(self, t: float) -> None:
        station, controller = self._station, self.controller
        controller.receive_pose(station.flange_pose(), t, t, t)
        controller.receive_joints(station.joint_positions(), t)
        controller.receive("gripper", t)
        if self._waiting is not None and t >= self._waiting.stamp + self._latency - 1e-9:
            try:
                controller.receive_chunk(self._waiting, t, t)
                self.refused = ""
            except InputError as error:  # as in the node, the active chunk continues
                self.refused = str(error)
            self._waiting = None
        command = controller.step(t, t)
        if command.close_gripper is not None:
            self._grip = float(command.close_gripper)
        if command.target is not None:
            station.set_target(command.target @ station.T_link8_tcp, self._grip)
        station.advance(self._period)
