"""Markers as rviz keeps them: a task after another one leaves nothing of the first."""

import numpy as np
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker

from uma.types import ActionChunk, KeypointState, MotionPrediction, ReferenceMotion
from uma_ros.messages.markers import (
    chunk_markers,
    clear_markers,
    keypoint_markers,
    motion_markers,
    reference_markers,
)

STAMP = Time(sec=7)


class Viewer:
    """(namespace, id) -> marker, as rviz 14 has them: an erasure with a namespace is of that namespace alone."""

    def __init__(self):
        self.there = {}

    def show(self, markers):
        for m in markers:
            if m.action == Marker.DELETEALL:
                self.there = {key: kept for key, kept in self.there.items() if m.ns and key[0] != m.ns}
            else:
                self.there[m.ns, m.id] = m

    def count(self):
        return {ns: sum(key[0] == ns for key in self.there) for ns in ("reference", "chunk", "predicted", "keypoints")}


def task(keypoints):
    """What the policy publishes on a task with so many keypoints, and the chunk."""
    points = np.random.default_rng(keypoints).uniform(0.3, 0.6, (5, keypoints, 3))
    reference = ReferenceMotion([points[:, k] for k in range(keypoints)], frame="optical", object_label="cup")
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, :3, 3] = points[:4, 0]
    chunk = ActionChunk(poses=poses, gripper=np.zeros(4), rate_hz=15.0, stamp=7.0, frame="optical", ee_frame="tcp")
    state = KeypointState(points[0], np.ones(keypoints, bool))
    motion = MotionPrediction(points=points, rate_hz=15.0, stamp=7.0, frame="optical")
    lines = reference_markers(reference, STAMP)
    chunk_lines = [*lines, *chunk_markers(chunk, STAMP)]
    rest = [*motion_markers(motion, STAMP), *keypoint_markers(state, "optical", STAMP)]
    return [*clear_markers(), *lines], [*chunk_lines, *rest], chunk


def test_a_new_task_leaves_nothing_of_the_last_one():
    viewer = Viewer()
    for keypoints in (6, 2):
        first, rest, _ = task(keypoints)
        viewer.show(first)
        assert viewer.count() == {"reference": keypoints, "chunk": 0, "predicted": 0, "keypoints": 0}
        viewer.show(rest)
        assert viewer.count() == {"reference": keypoints, "chunk": 1, "predicted": keypoints, "keypoints": 1}
    viewer.show(clear_markers())
    assert not viewer.there


def test_a_viewer_that_comes_late_sees_everything_after_a_chunk():
    viewer = Viewer()
    _, rest, chunk = task(3)
    viewer.show(rest)
    assert viewer.count() == {"reference": 3, "chunk": 1, "predicted": 3, "keypoints": 1}
    path = [(p.x, p.y, p.z) for p in viewer.there["chunk", 0].points]
    assert np.allclose(path, chunk.poses[:, :3, 3]), "the end effector's path"
    assert {m.header.frame_id for m in viewer.there.values()} == {"optical"}
    assert all(m.header.stamp == STAMP and m.color.a == 1.0 for m in viewer.there.values())


def test_a_point_to_hold_is_a_sphere_and_a_path_a_line():
    pinned = ReferenceMotion([np.zeros((1, 3)), np.eye(3)], frame="optical")
    point, path = reference_markers(pinned, STAMP)
    assert (point.type, path.type) == (Marker.SPHERE_LIST, Marker.LINE_STRIP)
    assert point.scale.x == point.scale.y == point.scale.z > path.scale.x > path.scale.y == 0.0
    state = KeypointState(np.eye(3), np.array([True, False, True]))
    (spheres,) = keypoint_markers(state, "optical", STAMP)
    assert spheres.type == Marker.SPHERE_LIST and len(spheres.points) == 2 and spheres.scale.z == 0.012
