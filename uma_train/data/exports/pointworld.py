"""Windows of episodes as the inputs of PointWorld, an action-conditioned model of point flow, and the truth to compare.

Its step is two of ours, about 0.133 s. The scene points are those of the stored frame, in the robot's base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.types import InputError
from uma_train.data.episode import METRE, Episode

STEPS = 10
"""Steps after the start."""
STRIDE = 2
"""Control steps of 15 Hz in one of them."""


@dataclass(frozen=True)
class Window:
    """One window of an episode, base frame, metres.

    Attributes:
        start: control step of the first frame.
        points, colors: ``(N, 3)`` float32 and uint8, the scene's points at the start.
        joints: ``(11, 7)`` float32 radians, measured, at the start and after each step.
        gripper: ``(11,)`` measured, 0 open to 1 closed.
        keypoints: ``(11, K, 3)`` float32, places of the object's keypoints that are valid throughout.
        T_base_cam: ``(4, 4)``.
    """

    start: int
    points: np.ndarray
    colors: np.ndarray
    joints: np.ndarray
    gripper: np.ndarray
    keypoints: np.ndarray
    T_base_cam: np.ndarray


def windows(episode: Episode, every: int = 8) -> list[Window]:
    """Return the windows that begin at stored frames, at least ``every`` control steps apart.

    Windows in which no keypoint is valid throughout are left out.

    Raises:
        InputError: the episode has no robot, no measured joints, or no camera pose in the base.
    """
    meta = episode.meta
    if not meta["has_robot"] or np.isnan(episode.joints).any():
        raise InputError("episode: no measured joints, must have those of a robot; record or import it again")
    if meta.get("T_base_cam") is None:
        raise InputError("episode: T_base_cam is unknown, must be in its meta")
    T_base_cam, out, last = np.array(meta["T_base_cam"], float), [], -every
    assert episode.track_valid is not None
    for frame, start in enumerate(episode.frame_step.tolist()):
        steps = start + STRIDE * np.arange(STEPS + 1)
        if start - last < every or steps[-1] >= len(episode.pose):
            continue
        is_valid = episode.track_valid[steps].all(0)
        if not is_valid.any():
            continue
        last = start
        xyz = episode.xyz[frame].astype(np.float64) * METRE
        out.append(
            Window(
                start,
                se3.apply(T_base_cam, xyz).astype(np.float32),
                episode.rgb[frame],
                episode.joints[steps],
                episode.gripper[steps],
                se3.apply(T_base_cam, episode.tracks[steps][:, is_valid].astype(np.float64)).astype(np.float32),
                T_base_cam,
            )
        )
    return out


def errors(window: Window, predicted: np.ndarray) -> dict[str, float]:
    """Return the errors of predicted keypoints, and of "nothing moves".

    Args:
        predicted: ``(11, K, 3)`` metres, base frame.

    Returns:
        ``mse_m2``, mean over steps after the start, keypoints and x, y, z; ``l2_mm``; and both for ``still``.
    """
    if predicted.shape != window.keypoints.shape:
        raise InputError(f"predicted: shape {predicted.shape}, must be {window.keypoints.shape}")
    truth, out = window.keypoints[1:], {}
    for name, guess in {"": predicted[1:], "still_": np.broadcast_to(window.keypoints[:1], truth.shape)}.items():
        away = guess - truth
        out[f"{name}mse_m2"] = float(np.square(away).mean())
        out[f"{name}l2_mm"] = float(1e3 * np.linalg.norm(away, axis=-1).mean())
    return out
