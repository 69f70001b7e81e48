"""One state of a sketch: an object's keypoints, and where they are at each waypoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.sketch.human import PARALLEL
from uma.types import MAX_KEYPOINTS, InputError, ReferenceMotion, check_pose


@dataclass(frozen=True)
class Sketch:
    """Keypoints and their waypoints in the base frame. Every state is valid.

    Attributes:
        waypoints: ``(T, K, 3)`` metres, base frame; the first one is where the object is.
        T_base_cam: ``(4, 4)`` camera pose.
        camera_frame: name of the camera's optical frame.
        pinned: indices of keypoints that stay.
        picked: indices of keypoints that an edit moves; empty for all. Pinned ones never move.
        label: free text for display.
        is_object: ``(H, W)`` bool, the object in the image; None if unknown.
        source: what the object was found from, for the caller alone.

    Raises:
        InputError: the numbers of keypoints or waypoints, an index, a coordinate or the pose is out of its limits.
    """

    waypoints: np.ndarray
    T_base_cam: np.ndarray
    camera_frame: str = "zed_left_camera_frame_optical"
    pinned: frozenset[int] = frozenset()
    picked: frozenset[int] = frozenset()
    label: str = ""
    is_object: np.ndarray | None = None
    source: object = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "T_base_cam", check_pose(self.T_base_cam, "T_base_cam"))
        way = np.array(self.waypoints, np.float64)
        if way.ndim != 3 or way.shape[2] != 3:
            raise InputError(f"waypoints: shape {way.shape}, must be (T, K, 3)")
        T, K = way.shape[:2]
        if not 1 <= K <= MAX_KEYPOINTS:
            raise InputError(f"keypoints: {K} given, must be 1 to {MAX_KEYPOINTS}")
        if not 1 <= T <= ReferenceMotion.MAX_WAYPOINTS:
            raise InputError(f"waypoints: {T} given, must be 1 to {ReferenceMotion.MAX_WAYPOINTS}")
        for name, indices in (("pinned", self.pinned), ("picked", self.picked)):
            wrong = [k for k in indices if not 0 <= k < K]
            if wrong:
                raise InputError(f"{name}: {wrong[0]}, must be 0 to {K - 1}")
        way.flags.writeable = False
        object.__setattr__(self, "waypoints", way)
        self.reference()  # checks the coordinates

    @property
    def moving(self) -> np.ndarray:
        """Sorted indices of the keypoints that are not pinned."""
        return np.array([k for k in range(self.waypoints.shape[1]) if k not in self.pinned], int)

    @property
    def edited(self) -> np.ndarray:
        """Sorted indices of the keypoints that an edit moves."""
        return np.array([k for k in self.moving if not self.picked or k in self.picked], int)

    def reference(self) -> ReferenceMotion:
        """Return the motion in the camera frame; pinned keypoints have one waypoint."""
        in_camera = se3.apply(se3.invert(self.T_base_cam), self.waypoints)
        ways = tuple(in_camera[:1, k] if k in self.pinned else in_camera[:, k] for k in range(in_camera.shape[1]))
        return ReferenceMotion(ways, frame=self.camera_frame, object_label=self.label)

    def motion(self, index: int) -> np.ndarray:
        """Return the rigid motion ``(4, 4)`` of the moving keypoints from the start to a waypoint, base frame.

        It is a translation if the keypoints do not determine a rotation.
        """
        keys = self.moving
        start, now = self.waypoints[0, keys], self.waypoints[index, keys]
        if not len(keys):
            return np.eye(4)
        if len(keys) < 3 or np.linalg.svd(start - start.mean(0), compute_uv=False)[1] < PARALLEL:
            return se3.make_pose(np.eye(3), now.mean(0) - start.mean(0))
        return se3.fit_rigid(start, now)


def from_reference(reference: ReferenceMotion, T_base_cam: np.ndarray) -> Sketch:
    """Return the sketch of a motion in the camera frame. Keypoints with one waypoint are pinned.

    Raises:
        InputError: moving keypoints with different numbers of waypoints or uneven phases, or a hidden waypoint.
    """
    counts = sorted({len(w) for w in reference.waypoints if len(w) > 1} or {1})
    if len(counts) > 1:
        raise InputError(f"waypoints: {counts[0]} and {counts[-1]}, must be equal for all moving keypoints")
    for k, (phase, valid) in enumerate(zip(reference.phase, reference.is_valid, strict=True)):
        if not valid.all():
            raise InputError(f"keypoints[{k}].is_valid: has a hidden waypoint, all must be valid")
        if len(phase) > 1 and not np.allclose(phase, np.linspace(0, 1, len(phase)), atol=1e-6):
            raise InputError(f"keypoints[{k}].phase: {phase}, must be evenly spaced")
    T_base_cam = check_pose(T_base_cam, "T_base_cam")
    ways = [np.broadcast_to(w, (counts[0], 3)) if len(w) == 1 else w for w in reference.waypoints]
    pinned = frozenset(k for k, w in enumerate(reference.waypoints) if len(w) == 1 and counts[0] > 1)
    way = se3.apply(T_base_cam, np.stack(ways, 1))
    return Sketch(way, T_base_cam, reference.frame, pinned, label=reference.object_label)
