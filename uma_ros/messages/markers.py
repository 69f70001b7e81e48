"""Markers of motions for rviz and Foxglove."""

from __future__ import annotations

import colorsys

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from uma.types import ActionChunk, KeypointState, MotionPrediction, ReferenceMotion


def _line(namespace: str, number: int, frame: str, stamp: Time, points, hue: float, width: float) -> Marker:
    marker = Marker(ns=namespace, id=number, type=Marker.LINE_STRIP, action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = frame, stamp
    marker.scale.x = width
    marker.pose.orientation.w = 1.0
    r, g, b = colorsys.hsv_to_rgb(hue, 0.8, 1.0)
    marker.color = ColorRGBA(r=r, g=g, b=b, a=1.0)
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return _spheres(marker, 3 * width) if len(marker.points) == 1 else marker  # viewers refuse a line of one point


def _spheres(marker: Marker, diameter: float) -> Marker:
    marker.type = Marker.SPHERE_LIST
    marker.scale.x = marker.scale.y = marker.scale.z = diameter
    return marker


def clear_markers() -> list[Marker]:
    """Return a marker that erases all others, for a new task."""
    return [Marker(action=Marker.DELETEALL)]  # without a namespace: rviz erases no more than the one that is named


def reference_markers(reference: ReferenceMotion, stamp: Time) -> list[Marker]:
    """Return one line per keypoint in the reference's frame."""
    lines = [w[v] for w, v in zip(reference.waypoints, reference.is_valid)]
    return [
        _line("reference", k, reference.frame, stamp, p, k / max(len(lines), 1) * 0.8, 0.004)
        for k, p in enumerate(lines)
    ]


def chunk_markers(chunk: ActionChunk, stamp: Time) -> list[Marker]:
    """Return the path of the end effector over the chunk."""
    return [_line("chunk", 0, chunk.frame, stamp, chunk.poses[:, :3, 3], 0.9, 0.006)]


def motion_markers(motion: MotionPrediction, stamp: Time) -> list[Marker]:
    """Return one line per keypoint over the horizon."""
    n = motion.points.shape[1]
    return [
        _line("predicted", k, motion.frame, stamp, motion.points[:, k], k / max(n, 1) * 0.8, 0.002) for k in range(n)
    ]


def keypoint_markers(state: KeypointState, frame: str, stamp: Time) -> list[Marker]:
    """Return a sphere at every visible keypoint."""
    return [_spheres(_line("keypoints", 0, frame, stamp, state.positions[state.is_visible], 0.15, 0.0), 0.012)]
