"""What is drawn in the page's 3D view. All of it is in the robot's base frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from uma.control.safety import SafetySettings
from uma.robot import RobotConfig
from uma_ros.messages.description.robot import fr3_2f85
from uma_ros.messages.description.tree import COLORS, Box, Cylinder
from uma_ros.teach.clicks import IN_FORCE, WAITING
from uma_ros.teach.kinematics import link_poses, positions_of
from uma_ros.teach.lesson import Lesson
from uma_ros.teach.link import Outlook
from uma_ros.teach.scene import View

OK, WARNING, REFUSED = (40, 190, 90), (240, 160, 30), (225, 50, 45)
TOOL, MOTION, PICKED, PINNED = (215, 40, 200), (40, 110, 240), (255, 220, 0), (130, 130, 130)
"""Colours: red, green and blue, 0 to 255."""


def quaternion(T: np.ndarray) -> np.ndarray:
    """Return the rotation of a pose as (w, x, y, z)."""
    return Rotation.from_matrix(T[:3, :3]).as_quat()[[3, 0, 1, 2]]


def colour_of(lesson: Lesson, index: int) -> tuple[int, int, int]:
    """Return the colour of a waypoint: green, orange with a warning, red if Start is refused."""
    found = [hint.is_refusal for hint in lesson.hints() if hint.waypoint == index]
    return REFUSED if any(found) else WARNING if found else OK


class Drawing:
    """The nodes of the scene.

    Args:
        server: viser's server.
    """

    def __init__(self, server: Any, config: RobotConfig) -> None:
        self.server, self.scene, self._config = server, server.scene, config
        self._tree, self._places = fr3_2f85(config), {}
        self._cloud = self.scene.add_point_cloud(
            "/cloud", np.zeros((1, 3)), np.zeros((1, 3), np.uint8), point_size=0.004
        )
        self._frustum: Any = None
        self._add_robot()

    def _add_robot(self) -> None:
        for link in self._tree.links:
            self._places[link.name] = self.scene.add_frame(f"/robot/{link.name}", show_axes=False)
            for i, solid in enumerate(link.solids):
                rgb = tuple(int(255 * c) for c in COLORS[solid.color][:3])
                where = {
                    "color": rgb,
                    "position": solid.T_link_shape[:3, 3],
                    "wxyz": quaternion(solid.T_link_shape),
                    "cast_shadow": False,
                    "receive_shadow": False,
                }
                name, shape = f"/robot/{link.name}/{i}", solid.shape
                if isinstance(shape, Box):
                    self.scene.add_box(name, dimensions=shape.size, **where)
                elif isinstance(shape, Cylinder):
                    self.scene.add_cylinder(name, radius=shape.radius, height=shape.length, radial_segments=16, **where)
                else:
                    self.scene.add_icosphere(name, radius=shape.radius, subdivisions=2, **where)

    def show_workspace(self, safety: SafetySettings) -> None:
        """Show the box of the end effector and the table."""
        low, high = np.array(safety.workspace_min), np.array(safety.workspace_max)
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
        pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
        edges = low + np.array([[corners[a], corners[b]] for a, b in pairs]) * (high - low)
        self.scene.add_line_segments("/workspace", edges, (90, 140, 200), thickness=1.0, thickness_units="screen")
        size, middle = (high - low)[:2], (low + high)[:2] / 2
        self.scene.add_grid(
            "/table",
            width=float(size[0]),
            height=float(size[1]),
            cell_size=0.1,
            section_size=0.5,
            cell_color=(210, 210, 210),
            section_color=(180, 180, 180),
            position=(*middle, safety.collision.table_height),
        )

    # -- what the robot's side reports ---------------------------------------------------------------------------------

    def show_cloud(self, points: np.ndarray, colors: np.ndarray) -> None:
        """Show the camera's points ``(N, 3)`` with colours ``(N, 3)`` uint8."""
        with self.server.atomic():
            self._cloud.points, self._cloud.colors = points.astype(np.float16), colors

    def show_robot(self, joints: np.ndarray, gripper: float) -> None:
        """Pose the robot. A link that did not move is not sent."""
        poses = link_poses(self._tree, positions_of(joints, gripper, self._config))
        with self.server.atomic():
            for name, T in poses.items():
                place = self._places[name]
                wxyz = quaternion(T)
                if np.abs(place.position - T[:3, 3]).max() > 2e-4 or 1 - abs(float(place.wxyz @ wxyz)) > 1e-7:
                    place.position, place.wxyz = T[:3, 3], wxyz

    def show_camera(self, view: View) -> None:
        """Show the camera with its image."""
        image = view.rgb[:: max(1, view.rgb.shape[0] // 180), :: max(1, view.rgb.shape[0] // 180)]
        c, T = view.camera, view.T_base_cam
        if self._frustum is None:
            self._frustum = self.scene.add_camera_frustum(
                "/camera",
                fov=float(2 * np.arctan(0.5 * c.height / c.fy)),
                aspect=c.width / c.height,
                scale=0.06,
                thickness=1.5,
                thickness_units="screen",
                color=(80, 80, 80),
                image=image,
                format="jpeg",
                jpeg_quality=70,
            )
        self._frustum.image = image
        if np.abs(self._frustum.position - T[:3, 3]).max() > 1e-5:
            self._frustum.position, self._frustum.wxyz = T[:3, 3], quaternion(T)

    def show_outlook(self, outlook: Outlook | None, name: str) -> None:
        """Show a predicted chunk under ``name``: magenta for the tool, blue for the keypoints. None clears it."""
        if outlook is None:
            self._remove(f"/{name}/tool", f"/{name}/motion")
            return
        self._lines(f"/{name}/tool", outlook.tool[:, None], TOOL, 4.0)
        if outlook.motion is not None:
            self._lines(f"/{name}/motion", outlook.motion, MOTION, 3.0)

    # -- the sketch ----------------------------------------------------------------------------------------------------

    def show_sketch(self, lesson: Lesson) -> None:
        """Show the object, an answer that waits, the keypoints, their paths and the waypoints.

        The gizmo stands in a file of its own.
        """
        if lesson.waiting is None:
            self._remove("/waiting")
        else:
            self._points("/waiting", lesson.waiting.points(2000), WAITING, 0.006)
        sketch = lesson.editor.sketch
        if sketch is None:
            self._remove("/sketch")
            return
        way = sketch.waypoints
        colors = [colour_of(lesson, i) for i in range(len(way))]
        with self.server.atomic():
            self._points("/sketch/object", lesson.object_points(), IN_FORCE, 0.005)
            keys = np.array(
                [PINNED if k in sketch.pinned else PICKED if k in sketch.picked else OK for k in range(way.shape[1])]
            )
            self._points("/sketch/keypoints", way[0], keys, 0.014)
            self._remove("/sketch/paths", "/sketch/waypoints")
            if len(way) > 1:
                segments = np.stack([way[:-1], way[1:]], 2).reshape(-1, 2, 3)
                shade = np.repeat(np.array(colors[1:], np.uint8), way.shape[1], 0)[:, None].repeat(2, 1)
                self.scene.add_line_segments(
                    "/sketch/paths", segments.astype(np.float32), shade, thickness=2.0, thickness_units="screen"
                )
                shade = np.repeat(np.array(colors[1:], np.uint8), way.shape[1], 0)
                self._points("/sketch/waypoints", way[1:].reshape(-1, 3), shade, 0.010)

    def _points(self, name: str, points: np.ndarray, color: Any, size: float) -> None:
        color = np.asarray(color, np.uint8)
        color = np.broadcast_to(color, (len(points), 3)) if color.ndim == 1 else color
        self.scene.add_point_cloud(
            name, points.astype(np.float32), color, point_size=size, point_shape="circle", precision="float32"
        )

    def _lines(self, name: str, paths: np.ndarray, color: tuple[int, int, int], width: float) -> None:
        """Draw paths ``(H, K, 3)``."""
        segments = np.stack([paths[:-1], paths[1:]], 2).reshape(-1, 2, 3).astype(np.float32)
        self.scene.add_line_segments(name, segments, color, thickness=width, thickness_units="screen")

    def _remove(self, *names: str) -> None:
        for name in names:
            self.scene.remove_by_name(name)
