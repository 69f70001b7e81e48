"""`uma rehearse`: a checkpoint executes a task in a copy of a simulated scene, through the node's controller."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uma.checkpoint.default import DEFAULT
from uma.geometry import se3
from uma.policy.task_file import read_task
from uma.settings import from_words, setting
from uma.types import RATE_HZ, InputError, ReferenceMotion
from uma_train.data.seen import pixels

if TYPE_CHECKING:
    from uma.policy import Policy
    from uma.policy.policy import Task
    from uma.types import CameraModel, Observation
    from uma_sim.station import Station

EXECUTED = 4
"""Executed actions of a chunk, as in the benchmark."""
LATENCY_S = 0.13
NEAR_M, STILL_S = 0.03, 1.0
"""The rehearsal ends early once the points stay so near the end for so long."""


@dataclass(frozen=True)
class RehearseOptions:
    """Execute a task in a copy of a simulated scene, and write the way of the end effector and of the points."""

    scene: str = setting(MISSING, "snapshot of the scene (.npz), from the station's service uma/sim_state")
    task: str = setting(MISSING, "the task (.json), see `uma.policy.task_file`")
    out: str = setting("rehearsal.npz", "file of the result")
    checkpoint: str = setting(DEFAULT, "bundle")
    seconds: float = setting(20.0, "s; simulated time limit", 1.0, 120.0)


@dataclass(frozen=True)
class Rehearsal:
    """What happened.

    Attributes:
        tool: ``(T, 3)`` metres, places of the end effector at 15 Hz, base frame.
        points: ``(T, K, 3)`` metres, places of the reference's keypoints, base frame; K = 0 for words.
        distance: mean distance of the points to their ends, metres; NaN for words.
        verdict: of the scene's own task: success, in_progress or a failure.
    """

    tool: np.ndarray
    points: np.ndarray
    distance: float
    verdict: str


def rehearse(
    station: Station,
    policy: Policy,
    reference: ReferenceMotion | None,
    instruction: str,
    seconds: float,
    on_step: Callable[[float, float], object] = lambda time, distance: None,
) -> Rehearsal:
    """Execute a task in a scene.

    Args:
        reference: in the camera frame; None for an instruction.
        on_step: called at every control step with the simulated seconds and the distance to the end, metres.

    Raises:
        InputError: the policy refuses the task.
    """
    from uma_train.execution.streamed import SimulatedController

    first = station.observe()
    task: Task = (
        policy.encode_instruction(instruction, first) if reference is None else policy.encode_task(first, reference)
    )
    followed = Followed(station, first, reference)
    controller, begin, near = SimulatedController(station, LATENCY_S), station.time, 0
    tool, points = [station.ee_pose()[:3, 3]], [followed.points()]
    for step in range(round(seconds * RATE_HZ)):
        if step % EXECUTED == 0:
            try:
                controller.give(policy.predict(station.observe(), task, sequence=step // EXECUTED).chunk)
            except InputError:  # an unusable image: as in the node, there is no chunk, and the arm is held
                pass
        controller.step()
        tool.append(station.ee_pose()[:3, 3])
        points.append(followed.points())
        distance = followed.distance(points[-1])
        on_step(station.time - begin, distance)
        near = near + 1 if distance < NEAR_M else 0
        if near >= STILL_S * RATE_HZ:
            break
    return Rehearsal(np.stack(tool), np.stack(points), followed.distance(points[-1]), station.task.outcome(station)[0])


class Followed:
    """The reference's keypoints, each fixed to what the camera sees there: a rigid body, or a vertex of the object."""

    def __init__(self, station: Station, first: Observation, reference: ReferenceMotion | None) -> None:
        self._station = station
        ends = [np.zeros((0, 3))] * 2
        if reference is not None:
            ways = [w[v] for w, v in zip(reference.waypoints, reference.is_valid)]
            ends = [np.stack([w[i] for w in ways]) for i in (0, -1)]
        start, self._end = (se3.apply(station.T_base_cam, x) for x in ends)
        self._body = _seen_bodies(station.labels(), ends[0], first.camera, np.linalg.norm(self._end - start, axis=1))
        self._local = np.empty_like(start)
        for k, body in enumerate(self._body):
            self._local[k] = se3.apply(se3.invert(self._pose(body)), start[k])
        bodies = station.object.bodies
        self._is_soft = np.isin(self._body, list(bodies)) & (len(bodies) > 1)
        vertices = station.object_points()
        self._vertex = np.linalg.norm(vertices[None] - start[:, None], axis=-1).argmin(1)
        self._offset = start - vertices[self._vertex]

    def points(self) -> np.ndarray:
        """Return the ``(K, 3)`` present places in the base frame, metres."""
        soft = self._station.object_points()[self._vertex] + self._offset
        out = np.empty_like(self._local)
        for k, body in enumerate(self._body):
            out[k] = soft[k] if self._is_soft[k] else se3.apply(self._pose(body), self._local[k])
        return out

    def distance(self, points: np.ndarray) -> float:
        """Return the mean distance of points to their ends, metres; NaN without points."""
        return float(np.linalg.norm(points - self._end, axis=1).mean()) if len(points) else float("nan")

    def _pose(self, body: int) -> np.ndarray:
        data = self._station.data
        return se3.make_pose(data.xmat[body].reshape(3, 3), data.xpos[body])


def _seen_bodies(labels: np.ndarray, points: np.ndarray, camera: CameraModel, way: np.ndarray) -> np.ndarray:
    """Return the ``(K,)`` body at each point. Points that should move and show the table get the most frequent body.

    Args:
        labels: ``(H, W)`` of `Station.labels`.
        points: ``(K, 3)`` camera frame.
        way: ``(K,)`` metres that each point should move.
    """
    v, u, _ = pixels(points, camera)
    body, moves = labels[v.clip(0, camera.height - 1), u.clip(0, camera.width - 1)], way > 1e-3
    known = body[moves & (body > 0)]
    if len(known):
        body[moves & (body == 0)] = np.bincount(known).argmax()
    return body


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0."""
    from uma_sim.snapshot import load_snapshot
    from uma_train.execution.driving import policy_of

    options = from_words(RehearseOptions, sys.argv[1:] if argv is None else argv, "uma rehearse")
    reference, instruction = read_task(options.task)
    out = Path(options.out)
    if out.is_dir():
        raise InputError(f"out: {out}: a folder, must be a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    station = load_snapshot(options.scene)
    try:
        said = [0]

        def show(time: float, distance: float) -> None:
            if int(time) > said[0]:
                said[0] = int(time)
                way = "" if np.isnan(distance) else f", {100 * distance:.0f} cm from the end"
                print(f"{time:.0f} of {options.seconds:g} s{way}", flush=True)

        policy = policy_of(str(options.checkpoint))
        found = rehearse(station, policy, reference, instruction, options.seconds, show)
    finally:
        station.close()
    part = out.with_name(out.name + ".part")
    try:
        with open(part, "wb") as file:
            np.savez(file, tool=found.tool, points=found.points)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    way = "" if np.isnan(found.distance) else f"; the points end {100 * found.distance:.1f} cm from their ends"
    print(f"{(len(found.tool) - 1) / RATE_HZ:.1f} s{way}; the scene's own task: {found.verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
