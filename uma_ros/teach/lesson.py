"""What a person has shown so far: the object, an answer that waits, and the waypoints. No page and no ROS."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.spatial.transform import Rotation

from uma.control.safety import SafetySettings
from uma.geometry import fr3, se3
from uma.sketch.editor import Editor
from uma.sketch.keypoints import keypoints
from uma.sketch.reach import Hint, hints
from uma.sketch.segment import KINDS
from uma.types import InputError, ReferenceMotion
from uma_ros.teach.clicks import Clicks, first
from uma_ros.teach.scene import View, surface_without

NEAR_M = 0.03
"""Largest distance of a click from the keypoint that it picks, metres."""


class Lesson:
    """The state of the page's object and waypoints. A refused operation leaves it as it was.

    An answer to a click counts at once while there is no object. One that would replace an object waits until it is
    kept or dropped.

    Attributes:
        editor: the sketch.
        waiting: the answer that waits; None without one.
        current: index of the edited waypoint.
        by: answer to the next click, one of `KINDS`.
        count: keypoints of the next click.
    """

    def __init__(self) -> None:
        self.editor = Editor()
        self.waiting: Clicks | None = None
        self.current, self.by, self.count = 0, "object", 6
        self.safety = SafetySettings()
        self._hints: tuple[object, list[Hint]] = (None, [])

    def limit(self, safety: SafetySettings) -> None:
        """Use the controller's limits in the hints."""
        self.safety, self._hints = safety, (None, [])

    # ---- object ------------------------------------------------------------------------------------------------------

    @property
    def clicks(self) -> Clicks | None:
        """The clicks on the object in force; None without an object, or for a loaded reference."""
        source = self.editor.sketch.source if self.editor.sketch is not None else None
        return source if isinstance(source, Clicks) else None

    def click(self, view: View, pixel: tuple[int, int]) -> None:
        """Answer a click at a pixel with an object."""
        self._answer(first(view, pixel, self.by))

    def click_more(self, pixel: tuple[int, int], is_object: bool) -> None:
        """Add a click on the object, or on a neighbour that is not part of it, in the frame of the first click."""
        self._answer(self.newest().with_click(pixel, is_object, self.by))

    def answer_by(self, by: str) -> None:
        """Answer the clicks once more by another kind."""
        if by not in KINDS:
            raise InputError(f"by: {by!r}, must be one of {', '.join(KINDS)}")
        if self.clicks is not None or self.waiting is not None:
            self._answer(self.newest().with_answer(by))
        self.by = by

    def newest(self) -> Clicks:
        """Return the answer that waits, else the clicks in force. Raises `InputError` without both."""
        clicks = self.waiting or self.clicks
        if clicks is None:
            raise InputError("object: none clicked, must be clicked first")
        return clicks

    def keep(self) -> None:
        """Make the answer that waits the object. Its first waypoint is a copy of the start, ready to be dragged."""
        if self.waiting is None:
            raise InputError("keep: no answer waits, must be asked for by a click first")
        self._choose(self.waiting)

    def drop(self) -> None:
        """Discard the answer that waits. Raises `InputError` without one."""
        if self.waiting is None:
            raise InputError("drop: no answer waits, must be asked for by a click first")
        self.waiting, self.by = None, self.clicks.by if self.clicks is not None else self.by

    def _answer(self, clicks: Clicks) -> None:
        keypoints(clicks.scene, clicks.mask, self.count)  # refused now rather than when it is kept
        if self.editor.sketch is None:
            self._choose(clicks)
        else:
            self.waiting = None if clicks.equals(self.clicks) else clicks

    def _choose(self, clicks: Clicks) -> None:
        points = keypoints(clicks.scene, clicks.mask, self.count).points
        view = clicks.view
        label = self.editor.sketch.label if self.editor.sketch is not None else ""
        self.editor.choose(points, view.T_base_cam, view.camera.frame, label, clicks.mask, clicks, 2)
        self.waiting, self.current, self.by = None, 1, clicks.by

    def load(self, reference: ReferenceMotion, T_base_cam: np.ndarray) -> None:
        """Start from a reference motion in the camera frame."""
        self.editor.load(reference, T_base_cam)
        self.waiting, self.current = None, self.last

    def clear(self) -> None:
        """Discard the object and an answer that waits."""
        self.editor.clear()
        self.waiting, self.current = None, 0

    # ---- waypoints ---------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """Index of the last waypoint; 0 without one."""
        return len(self.editor.sketch.waypoints) - 1 if self.editor.sketch is not None else 0

    def go_to(self, index: int) -> None:
        """Edit another waypoint."""
        if not 0 <= index <= self.last:
            raise InputError(f"waypoint: {index}, must be 0 to {self.last}")
        self.current = index

    def add(self) -> None:
        """Append a copy of the last waypoint and edit it."""
        self.editor.add()
        self.current = self.last

    def insert(self) -> None:
        """Insert a waypoint halfway before the edited one and edit it."""
        self.editor.insert(self.current)

    def duplicate(self) -> None:
        """Insert a copy after the edited waypoint and edit it."""
        self.editor.duplicate(self.current)
        self.current += 1

    def delete(self) -> None:
        """Delete the edited waypoint."""
        self.editor.delete(self.current)
        self.current = min(self.current, self.last)

    def undo(self) -> bool:
        """Drop an answer that waits, else take back the last edit; return whether there was one."""
        if self.waiting is not None:
            self.drop()
            return True
        return self._stepped(self.editor.undo())

    def redo(self) -> bool:
        """Repeat the last undone edit; return whether there was one. An answer that waits is dropped."""
        self.waiting = None
        return self._stepped(self.editor.redo())

    def _stepped(self, done: bool) -> bool:
        self.current = min(max(self.current, 1), self.last)
        return done

    def move(self, shift: Iterable[float]) -> None:
        """Shift the edited waypoint by ``(3,)`` metres, base frame."""
        self.editor.move(self.current, shift)

    def turn(self, axis: str, degrees: float) -> None:
        """Turn the edited waypoint about an axis of the base frame through its centroid."""
        self.editor.turn(self.current, axis, np.radians(degrees))

    def turn_by(self, wxyz: Iterable[float]) -> None:
        """Turn the edited waypoint about its centroid by a quaternion (w, x, y, z), base frame."""
        q = np.asarray(list(wxyz), np.float64)
        if q.shape != (4,) or not np.isfinite(q).all() or np.linalg.norm(q) < 1e-6:
            raise InputError(f"rotation: {q.tolist()}, must be a quaternion")
        rotation = Rotation.from_quat(q[[1, 2, 3, 0]]).as_rotvec()
        angle = float(np.linalg.norm(rotation))
        if angle > 1e-6:
            self.editor.turn(self.current, rotation / angle, angle)

    def template(self, name: str, value: float, direction: float = 0.0) -> None:
        """Append waypoints of a template to the sketch.

        The untouched first waypoint of a new object is replaced.

        Args:
            name: lift, carry to, turn or push along.
            value: metres, or degrees for turn.
            direction: degrees about z from the base's x axis, for carry to and push along.
        """
        sketch = self.editor.sketch
        if sketch is None:
            raise InputError("object: none chosen, must be chosen by a click first")
        ahead = np.array([np.cos(np.radians(direction)), np.sin(np.radians(direction)), 0.0])
        self._drop_untouched()
        start = self.editor.sketch
        assert start is not None
        middle = start.waypoints[-1][start.edited].mean(0)
        if name == "lift":
            self.editor.lift(value)
        elif name == "carry to":
            self.editor.carry_to(middle + value * ahead)
        elif name == "turn":
            self.editor.arc("z", np.radians(value))
        elif name == "push along":
            self.editor.push_along(value * ahead)
        else:
            raise InputError(f"template: {name!r}, must be lift, carry to, turn or push along")
        self.current = self.last

    def arc(self, axis: str, degrees: float) -> None:
        """Append waypoints that turn the edited keypoints about a line along an axis of the base frame.

        The line passes through the pinned keypoints, as a fold does; without any, through the centroid.
        """
        sketch = self.editor.sketch
        pinned = sorted(sketch.pinned) if sketch is not None else []
        through = None if sketch is None or not pinned else sketch.waypoints[0][pinned].mean(0)
        self._drop_untouched()
        self.editor.arc(axis, np.radians(degrees), through)
        self.current = self.last

    def _drop_untouched(self) -> None:
        """Delete the first waypoint of a new object if it was not edited."""
        sketch = self.editor.sketch
        if sketch is not None and len(sketch.waypoints) == 2 and np.allclose(sketch.waypoints[0], sketch.waypoints[1]):
            self.editor.delete()

    def toggle(self, keypoint: int) -> None:
        """Pick a keypoint, or leave it out again."""
        sketch = self.editor.sketch
        if sketch is not None:
            self.editor.pick(sketch.picked ^ {keypoint})

    def toggle_nearest(self, origin: np.ndarray, direction: np.ndarray) -> None:
        """Pick, or leave out again, the keypoint nearest to a ray in the base frame.

        Raises:
            InputError: no keypoint within `NEAR_M` of it.
        """
        sketch = self.editor.sketch
        if sketch is None:
            raise InputError("object: none chosen, must be chosen by a click first")
        d = direction / np.linalg.norm(direction)
        way = sketch.waypoints[0] - origin
        off = np.linalg.norm(way - (way @ d)[:, None] * d, axis=1)
        if not off.min() < NEAR_M:
            raise InputError(f"keypoint: the nearest one is {off.min():.3f} m beside the click, limit {NEAR_M} m")
        self.toggle(int(off.argmin()))

    def pin_picked(self) -> None:
        """Pin the picked keypoints too, and pick none."""
        sketch = self.editor.sketch
        if sketch is not None:
            self.editor.pin(sketch.pinned | sketch.picked)
            self.editor.pick()

    def snap(self, view: View) -> None:
        """Lower the last waypoint onto what is below it in a frame."""
        sketch = self.editor.sketch
        self.editor.snap(
            surface_without(view, None if sketch is None else sketch.is_object), self.safety.collision.table_height
        )

    # ---- results -----------------------------------------------------------------------------------------------------

    def centroid(self) -> np.ndarray | None:
        """Return where the edited keypoints of the edited waypoint are, ``(3,)`` base frame; None without one."""
        return self.centroid_at(self.current)

    def centroid_at(self, index: int) -> np.ndarray | None:
        """Return the same for another waypoint."""
        sketch = self.editor.sketch
        if sketch is None or not len(sketch.edited):
            return None
        return np.asarray(sketch.waypoints[index][sketch.edited].mean(0))

    def object_points(self, most: int = 500) -> np.ndarray:
        """Return points ``(N, 3)`` of the object at the start, base frame: its pixels, or its keypoints."""
        sketch = self.editor.sketch
        if sketch is None:
            return np.zeros((0, 3))
        return sketch.waypoints[0] if self.clicks is None else self.clicks.points(most)

    def ghost(self, index: int) -> np.ndarray:
        """Return the object's points at a waypoint ``(N, 3)``, base frame.

        Rigid if the moving keypoints moved rigidly; else the keypoints alone, since half of a folded cloth stays.
        """
        sketch = self.editor.sketch
        if sketch is None:
            return np.zeros((0, 3))
        T, keys = sketch.motion(index), sketch.moving
        is_rigid = np.abs(se3.apply(T, sketch.waypoints[0, keys]) - sketch.waypoints[index, keys]).max(initial=0) < 1e-4
        return se3.apply(T, self.object_points()) if is_rigid and not sketch.pinned else sketch.waypoints[index]

    def hints(self, joints: np.ndarray | None = None) -> list[Hint]:
        """Return the objections to the sketch."""
        sketch = self.editor.sketch
        if sketch is None:
            return []
        if self._hints[0] is not sketch:
            self._hints = (
                sketch,
                hints(sketch, self.safety, self.safety.collision, fr3.REST if joints is None else joints),
            )
        return self._hints[1]
