"""Edits of a sketch with undo and redo over everything. A refused edit leaves the sketch as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.settings import check_range
from uma.sketch.sketch import Sketch, from_reference
from uma.types import InputError, ReferenceMotion

AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
"""Axes of the base frame."""

STEP_RAD = np.radians(45.0)
"""Largest rotation between two waypoints of a template."""

MOST_OBJECTS = 8
"""Most objects in the history, since each keeps its images; edits of older ones cannot be undone any more."""

REACH_M = 5.0
"""Largest shift and coordinate of one edit, metres."""


class Editor:
    """A sketch and its history. Waypoints count from 0; -1 is the last one. The first one cannot be edited.

    Attributes:
        sketch: the present state; None before an object is chosen.
    """

    def __init__(self) -> None:
        self.sketch: Sketch | None = None
        self._undone: list[Sketch | None] = []
        self._done: list[Sketch | None] = []

    # ---- history -----------------------------------------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit."""
        return bool(self._undone)

    def undo(self) -> bool:
        """Take back the last edit; return whether there was one."""
        return self._step(self._done, self._undone)

    def redo(self) -> bool:
        """Repeat the last undone edit; return whether there was one."""
        return self._step(self._undone, self._done)

    def _step(self, source: list[Sketch | None], other: list[Sketch | None]) -> bool:
        if not source:
            return False
        other.append(self.sketch)
        self.sketch = source.pop()
        return True

    def _set(self, sketch: Sketch | None) -> None:
        self._done.append(self.sketch)
        self._undone.clear()
        self.sketch = sketch
        while len({id(s.is_object) for s in self._done if s is not None}) > MOST_OBJECTS:
            self._done.pop(0)

    def _now(self) -> Sketch:
        if self.sketch is None:
            raise InputError("object: none chosen, must be chosen by a click first")
        return self.sketch

    # ---- object ------------------------------------------------------------------------------------------------------

    def choose(
        self,
        points_cam: np.ndarray,
        T_base_cam: np.ndarray,
        camera_frame: str = "zed_left_camera_frame_optical",
        label: str = "",
        is_object: np.ndarray | None = None,
        source: object = None,
        waypoints: int = 1,
    ) -> None:
        """Start a sketch of an object in one edit. The waypoints start anew.

        Args:
            points_cam: keypoints ``(K, 3)`` metres, camera frame.
            is_object, source: see `Sketch`.
            waypoints: number of waypoints, all of them where the object is.
        """
        points = np.asarray(points_cam, np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(f"points_cam: shape {points.shape}, must be (K, 3)")
        way = points @ np.asarray(T_base_cam)[:3, :3].T + np.asarray(T_base_cam)[:3, 3]
        ways = np.repeat(way[None], waypoints, 0)
        self._set(Sketch(ways, T_base_cam, camera_frame, label=label, is_object=is_object, source=source))

    def load(self, reference: ReferenceMotion, T_base_cam: np.ndarray) -> None:
        """Start from a reference motion in the camera frame, see `from_reference`."""
        self._set(from_reference(reference, T_base_cam))

    def clear(self) -> None:
        """Discard the object and its waypoints."""
        self._set(None)

    def name(self, label: str) -> None:
        """Set the object's label."""
        self._set(replace(self._now(), label=label))

    def pick(self, keypoints: Iterable[int] = ()) -> None:
        """Restrict edits to some keypoints; none picked means all."""
        self._set(replace(self._now(), picked=frozenset(map(int, keypoints))))

    def pin(self, keypoints: Iterable[int]) -> None:
        """Pin these keypoints and no others: they stay where they were at the start."""
        now, pinned = self._now(), frozenset(map(int, keypoints))
        sketch = replace(now, pinned=pinned)
        way = sketch.waypoints.copy()
        way[:, sorted(pinned)] = way[0, sorted(pinned)]
        self._set(replace(sketch, waypoints=way))

    # ---- waypoints ---------------------------------------------------------------------------------------------------

    def add(self, shift: Iterable[float] = (0.0, 0.0, 0.0)) -> None:
        """Append a waypoint: the last one, its edited keypoints shifted by ``(3,)`` metres, base frame."""
        now = self._now()
        self._set(self._with(now, np.concatenate([now.waypoints, self._shifted(now, now.waypoints[-1], shift)[None]])))

    def duplicate(self, index: int = -1) -> None:
        """Insert a copy of a waypoint after it."""
        now = self._now()
        i = self._index(now, index, 0)
        self._set(self._with(now, np.insert(now.waypoints, i + 1, now.waypoints[i], axis=0)))

    def insert(self, index: int) -> None:
        """Insert a waypoint halfway before waypoint ``index``: a rigid object stays rigid."""
        now = self._now()
        i = self._index(now, index)
        a, b = now.waypoints[i - 1], now.waypoints[i]
        half, keys = (a + b) / 2, now.moving
        if len(keys) >= 3:
            T = se3.fit_rigid(a[keys], b[keys])
            if np.abs(se3.apply(T, a[keys]) - b[keys]).max() < 1e-6:
                turn = Rotation.from_matrix(T[:3, :3]).as_rotvec() / 2
                middle = a[keys].mean(0)
                half[keys] = (a[keys] - middle) @ Rotation.from_rotvec(turn).as_matrix().T + half[keys].mean(0)
        self._set(self._with(now, np.insert(now.waypoints, i, half, axis=0)))

    def delete(self, index: int = -1) -> None:
        """Remove a waypoint."""
        now = self._now()
        self._set(self._with(now, np.delete(now.waypoints, self._index(now, index), axis=0)))

    def move(self, index: int, shift: Iterable[float]) -> None:
        """Shift the edited keypoints of a waypoint by ``(3,)`` metres, base frame."""
        now = self._now()
        way, i = now.waypoints.copy(), self._index(now, index)
        way[i] = self._shifted(now, way[i], shift)
        self._set(self._with(now, way))

    def turn(self, index: int, axis: Any, radians: float, through: Iterable[float] | None = None) -> None:
        """Turn the edited keypoints of a waypoint about a line.

        Args:
            axis: "x", "y" or "z" of the base frame, or a direction ``(3,)``.
            radians: -2 pi to 2 pi.
            through: ``(3,)`` a point of the line, base frame; None for the keypoints' centroid.
        """
        now = self._now()
        way, i = now.waypoints.copy(), self._index(now, index)
        way[i] = self._turned(now, way[i], axis, radians, through)
        self._set(self._with(now, way))

    # ---- templates ---------------------------------------------------------------------------------------------------

    def lift(self, height: float = 0.15) -> None:
        """Append a waypoint ``height`` metres higher."""
        check_range("height", float(height), 0.0, REACH_M)
        self.add((0.0, 0.0, height))

    def carry_to(self, place: Iterable[float], height: float = 0.15) -> None:
        """Append three waypoints: up, over and down, until the edited keypoints' centroid is at ``place``.

        Args:
            place: ``(3,)`` metres, base frame.
            height: metres of the way over the higher end.
        """
        now, place = self._now(), _vector("place", place)
        check_range("height", float(height), 0.0, REACH_M)
        last = now.waypoints[-1]
        start = self._centroid(now, last)
        top = max(start[2], place[2]) + height
        goals = ([start[0], start[1], top], [place[0], place[1], top], place)
        ways = [self._shifted(now, last, np.array(goal) - start)[None] for goal in goals]
        self._set(self._with(now, np.concatenate([now.waypoints, *ways])))

    def push_along(self, shift: Iterable[float]) -> None:
        """Append two waypoints along a level ``shift`` ``(2,)`` or ``(3,)`` metres, base frame; its height is 0."""
        now = self._now()
        level = np.zeros(3)
        given = np.asarray(shift, np.float64).ravel()
        if len(given) not in (2, 3) or not np.isfinite(given).all():
            raise InputError(f"shift: {given.tolist()}, must be 2 or 3 finite numbers")
        level[:2] = given[:2]
        check_range("shift", float(np.linalg.norm(level)), 0.0, REACH_M)
        ways = [self._shifted(now, now.waypoints[-1], part * level)[None] for part in (0.5, 1.0)]
        self._set(self._with(now, np.concatenate([now.waypoints, *ways])))

    def arc(self, axis: Any, radians: float, through: Iterable[float] | None = None) -> None:
        """Append waypoints that turn the edited keypoints about a line, by at most `STEP_RAD` each; see `turn`.

        About "z" it turns an object in place; about a level line through its edge it folds, tilts or pours.
        """
        now = self._now()
        check_range("radians", float(radians), -2 * np.pi, 2 * np.pi)
        steps = max(1, int(np.ceil(abs(radians) / STEP_RAD - 1e-9)))
        parts = np.linspace(0, 1, steps + 1)[1:]
        ways = [self._turned(now, now.waypoints[-1], axis, p * radians, through)[None] for p in parts]
        self._set(self._with(now, np.concatenate([now.waypoints, *ways])))

    def snap(self, surface: np.ndarray, table_height: float = 0.0, radius: float = 0.02) -> None:
        """Lower the last waypoint until the object rests on the surface below as it rested on the table at the start.

        Args:
            surface: ``(N, 3)`` metres, base frame: the frame's points without the object and the robot.
            table_height: metres, where the object stood, and where no surface is seen.
            radius: metres about a keypoint in which the surface below counts.
        """
        now = self._now()
        i, keys = self._index(now, -1), self._edited(now)
        start, last = now.waypoints[0, keys], now.waypoints[i, keys]
        below = [float(table_height)]
        surface = np.asarray(surface, np.float64).reshape(-1, 3)
        for x, y, z in last:
            beside = np.hypot(surface[:, 0] - x, surface[:, 1] - y) < radius
            heights = surface[beside & (surface[:, 2] < z), 2]
            if len(heights) >= 3:
                below.append(float(np.percentile(heights, 90)))
        rests = float(start[:, 2].min()) - table_height
        drop = float(last[:, 2].min()) - max(below) - rests
        way = now.waypoints.copy()
        way[i, keys, 2] -= drop
        self._set(self._with(now, way))

    # ---- result ------------------------------------------------------------------------------------------------------

    def reference(self) -> ReferenceMotion:
        """Return the motion in the camera frame. Raises `InputError` without an object."""
        return self._now().reference()

    @staticmethod
    def _with(now: Sketch, way: np.ndarray) -> Sketch:
        return replace(now, waypoints=way)

    @staticmethod
    def _index(now: Sketch, index: int, least: int = 1) -> int:
        count = len(now.waypoints)
        i = index + count if index < 0 else index
        if not least <= i < count:
            raise InputError(
                f"waypoint: {index} of {count}, must be {least} to {count - 1}; the first one is the start"
            )
        return int(i)

    @staticmethod
    def _edited(now: Sketch) -> np.ndarray:
        keys = now.edited
        if not len(keys):
            raise InputError("keypoints: all picked ones are pinned, at least 1 must be free")
        return keys

    def _centroid(self, now: Sketch, points: np.ndarray) -> np.ndarray:
        return points[self._edited(now)].mean(0)

    def _shifted(self, now: Sketch, points: np.ndarray, shift: Any) -> np.ndarray:
        out = points.copy()
        out[self._edited(now)] += _vector("shift", shift)
        return out

    def _turned(self, now: Sketch, points: np.ndarray, axis: Any, radians: float, through: Any) -> np.ndarray:
        check_range("radians", float(radians), -2 * np.pi, 2 * np.pi)
        if isinstance(axis, str) and axis not in AXES:
            raise InputError(f"axis: {axis!r}, must be one of {', '.join(AXES)} or a direction")
        direction = _vector("axis", AXES[axis] if isinstance(axis, str) else axis)
        length = float(np.linalg.norm(direction))
        if length < 1e-6:
            raise InputError(f"axis: {direction}, must be longer than 1e-6")
        keys = self._edited(now)
        point = points[keys].mean(0) if through is None else _vector("through", through)
        R = Rotation.from_rotvec(float(radians) * direction / length).as_matrix()
        out = points.copy()
        out[keys] = (points[keys] - point) @ R.T + point
        return out


def _vector(name: str, value: Any) -> np.ndarray:
    """Return ``(3,)`` float64, or raise `InputError` unless it is three numbers of at most `REACH_M`."""
    v = np.asarray(value if isinstance(value, np.ndarray) else list(value), np.float64)
    if v.shape != (3,) or not (np.abs(v) <= REACH_M).all():
        raise InputError(f"{name}: {v.tolist()}, must be 3 numbers of at most {REACH_M:g} m")
    return v
