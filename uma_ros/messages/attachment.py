"""Where the calibration joins a camera's own tree of frames, in which each frame has one parent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uma.geometry.se3 import invert
from uma.types import InputError

Parents = Mapping[str, tuple[str, np.ndarray]]
"""Frame -> its parent, and ``(4, 4)`` T_parent_frame."""


def attachment(parents: Parents, camera: str, base: str, T_base_cam: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the frame to hang below the base, and its ``(4, 4)`` pose in the base frame.

    It is the camera's optical frame, or the root of the tree that a driver publishes above it. tf2 keeps one parent per
    frame, so a second parent of the optical frame would cut that tree off.

    Args:
        parents: transforms of other publishers.

    Raises:
        InputError: other transforms already connect the camera to the base, or go round in a circle.
    """
    root, T_cam_root, path = camera, np.eye(4), [camera]
    while root in parents:
        root, T_parent_root = parents[root]
        T_cam_root = T_cam_root @ invert(T_parent_root)
        if root == base:
            raise InputError(
                f"{camera}: already below {base} by {' > '.join([base, *path[::-1]])[:200]}, must be placed by the "
                "calibration alone; remove the camera's mount from the robot description"
            )
        if root in path:
            raise InputError(f"{camera}: transforms go round in a circle by {' > '.join(path)[:200]}")
        path.append(root)
    return root, T_base_cam @ T_cam_root
