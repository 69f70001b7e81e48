"""An episode of Xperience in its true layout, from a clip of 512 x 512 pixels at 20 Hz."""

import json
from pathlib import Path

import h5py
import numpy as np
from hoi4d_files import write_video
from human_clip import Clip
from scipy.spatial.transform import Rotation

from uma.geometry import se3

FIRST_NS, STEP_NS = 72_857_807_732_824, 50_000_000
T_CAM_BODY = se3.make_pose(Rotation.from_euler("xyz", [-0.8, 0.01, 0.02]).as_matrix(), np.array([0.09, 0.16, -0.18]))


def ticks(count: int) -> np.ndarray:
    return FIRST_NS + np.arange(count) * STEP_NS


def caption(count: int) -> dict:
    """Two sub tasks; the last one's end is no time."""
    t, middle = ticks(count), count // 2
    segments = [
        {"segment_id": 0, "start_frame": str(t[0]), "end_frame": str(t[middle - 1]), "Sub Task": "Pick up the kettle"},
        {"segment_id": 1, "start_frame": int(t[middle]), "end_frame": f"frame_{count:07d}", "Sub Task": ""},
    ]
    return {"config": {"total_frames": count, "Main Task": "Making coffee"}, "segments": segments}


def write_xperience(root: Path, clip: Clip, is_inverse: bool = False) -> Path:
    """Write ``stereo_left.mp4`` and ``annotation.hdf5``; return the latter.

    Args:
        is_inverse: the trajectory is written body to world, which is wrong.
    """
    folder = root / "session_7" / "ep1"
    folder.mkdir(parents=True)
    write_video(folder / "stereo_left.mp4", clip.rgb, "libx264", "yuv444p", rate=20)
    poses = np.stack([se3.invert(T_CAM_BODY) @ se3.invert(T) for T in clip.T_world_cam])  # T_body_world
    poses = np.stack([se3.invert(T) for T in poses]) if is_inverse else poses
    N, c, t = len(clip), clip.camera, ticks(len(clip))
    with h5py.File(folder / "annotation.hdf5", "w") as f:
        f["calibration/cam01/K"] = np.array([c.fx, c.fy, c.cx, c.cy])
        f["calibration/cam01/T_c0_b"] = T_CAM_BODY
        f["calibration/cam01/baseline"] = 0.1453
        f["depth/depth"] = clip.depth[:, ::2, ::2].astype(np.float32) / 1000.0
        f["depth/confidence"] = np.full((N, 256, 256), 120, np.uint8)
        f["depth/scale"] = 0.5
        f["slam/quat_wxyz"] = se3.quaternion(poses)[:, [3, 0, 1, 2]]
        f["slam/trans_xyz"] = poses[:, :3, 3]
        f["slam/frame_names"] = np.array([f"{i}.jpg" for i in t], "S18")
        f["video/device_timestamp"] = np.array([str(i) for i in t], "S14")
        f["video/frame_number"] = np.arange(N)
        f["hand_mocap/left_joints_3d"] = np.zeros((N, 21, 3), np.float32)
        f["hand_mocap/right_joints_3d"] = np.zeros((N, 21, 3), np.float32)
        f["caption"] = json.dumps(caption(N))
    return folder / "annotation.hdf5"
