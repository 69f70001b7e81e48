"""Chunks as the controller node executes them: joined by their time stamps, blended, filtered and streamed, after the
time that they take to compute. In simulated time, without ROS."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from uma.control.hysteresis import Hysteresis
from uma.control.reach import Arm
from uma.control.safety import SafetyFilter
from uma.control.schedule import Schedule
from uma.geometry.se3 import invert
from uma.types import RATE_HZ

if TYPE_CHECKING:
    from uma.types import ActionChunk
    from uma_sim.station import Station

TICK = 0.01
"""Simulated seconds between two targets; the node sends one every 8 ms."""


class Streamed:
    """The same schedule, filter and gripper thresholds as in the controller node, with its default limits.

    What the node has besides is left out: watchdogs and holds for want of a chunk (the last action is approached),
    confirmation, the time that messages take.

    Args:
        latency_s: from an observation until its chunk is there; the one before goes on meanwhile.
        blend_s: over which a new chunk takes over.
        close_above, open_below: of the gripper's action.
    """

    def __init__(
        self,
        station: Station,
        latency_s: float,
        blend_s: float = 0.2,
        close_above: float = 0.6,
        open_below: float = 0.4,
    ) -> None:
        self._station, self._latency, self._T_ee_flange = station, latency_s, invert(station.T_link8_tcp)
        self._schedule, self._filter = Schedule(blend_s), SafetyFilter()
        self._gripper = Hysteresis(close_above, open_below)
        self._waiting: ActionChunk | None = None
        self._steps, self._ticks, self._start = 0, 0, station.time
        self._grip = 0.0

    def give(self, chunk: ActionChunk) -> None:
        """The answer, in the camera frame, to what the station shows now; taken up after the latency. One that is still
        under way is dropped."""
        in_base = chunk.transformed(self._station.T_base_cam, self._station.base_frame)
        self._waiting = replace(in_base, stamp=self._station.time)

    def step(self) -> None:
        """One control period, 1/15 s."""
        self._steps += 1
        while (self._ticks + 1) * TICK <= self._steps / RATE_HZ + 1e-9:
            self._tick(self._start + self._ticks * TICK)
            self._ticks += 1

    def _tick(self, t: float) -> None:
        station = self._station
        if self._waiting is not None and t >= self._waiting.stamp + self._latency - 1e-9:
            if self._filter.pose is None:
                self._filter.reset(station.ee_pose())
            self._schedule.add(self._waiting, t, self._filter.pose)
            self._waiting = None
        point = self._schedule.target(t)
        if point is not None:
            verdict = self._filter.step(
                point.pose,
                station.ee_pose(),
                TICK,
                arm=Arm(self._T_ee_flange, station.joint_positions()),
                pace=point.pace,
            )
            if not verdict.held and (command := self._gripper.update(point.gripper)) is not None:
                self._grip = float(command)
            station.set_target(verdict.pose, self._grip)
        station.advance(TICK)
