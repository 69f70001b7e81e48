"""The gizmo on the edited waypoint: arrows along the base frame's axes, rings, and the object's ghost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uma.types import InputError
from uma_ros.teach.draw import colour_of
from uma_ros.teach.lesson import Lesson

SCALE = 0.16
"""Size of the arrows, metres."""

UNIT = (1.0, 0.0, 0.0, 0.0)


class Gizmo:
    """Two nested gizmos. The outer one only moves, so that its arrows keep the base frame's axes; the inner one turns.

    Args:
        server: viser's server.
        edited: client, edit -> runs ``edit`` on the page's thread if the client has control, and draws again.
        released: clients that released a gizmo. A drag that ends because its page is gone is dropped.
    """

    def __init__(
        self,
        server: Any,
        lesson: Lesson,
        edited: Callable[[int | None, Callable[[], None]], None],
        released: set[int],
    ) -> None:
        self._scene, self._lesson, self._edited = server.scene, lesson, edited
        hidden = {"depth_test": False, "visible": False}
        self._arrows = self._scene.add_transform_controls("/gizmo", scale=SCALE, disable_rotations=True, **hidden)
        self._rings = self._scene.add_transform_controls(
            "/gizmo/turn", scale=0.8 * SCALE, disable_axes=True, disable_sliders=True, **hidden
        )
        self._place = np.zeros(3)

        @self._arrows.on_update
        async def _(event: Any) -> None:  # async: viser keeps the order of the phases
            if event.phase == "end" and event.client_id in released:
                released.discard(event.client_id)
                place = np.array(event.target.position, np.float64)
                self._edited(event.client_id, lambda: self._move(place))

        @self._rings.on_update
        async def _(event: Any) -> None:
            if event.phase == "end" and event.client_id in released:
                released.discard(event.client_id)
                wxyz = np.array(event.target.wxyz, np.float64)
                self._edited(event.client_id, lambda: self._lesson.turn_by(wxyz))

    def _move(self, place: np.ndarray) -> None:
        if place.shape != (3,) or not np.isfinite(place).all():
            raise InputError(f"waypoint: {place}, must be three finite numbers")
        self._lesson.move(place - self._place)

    def show(self) -> None:
        """Put the gizmo on the edited waypoint, or hide it."""
        lesson = self._lesson
        middle = lesson.centroid()
        is_shown = middle is not None and lesson.current > 0
        if is_shown:
            self._place = np.asarray(middle)
            self._arrows.position, self._arrows.wxyz = self._place, UNIT
            self._rings.position, self._rings.wxyz = np.zeros(3), UNIT
            points = lesson.ghost(lesson.current) - self._place
            color = np.broadcast_to(np.array(colour_of(lesson, lesson.current), np.uint8), points.shape)
            self._scene.add_point_cloud(
                "/gizmo/turn/ghost", points.astype(np.float32), color, point_size=0.006, precision="float32"
            )
        else:
            self._scene.remove_by_name("/gizmo/turn/ghost")
        self._arrows.visible = self._rings.visible = is_shown
