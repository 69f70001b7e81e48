"""A clip in the layout of DROID's raw release, with the published JSON files and depth."""

from __future__ import annotations

import json
from pathlib import Path

import av
import h5py
import numpy as np
from demonstration_clips import Clip, millimetres
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.robot import DROID

NAME = "AUTOLab+5d05c5aa+2023-07-07-10h-20m-45s"
PLACE = "AUTOLab/success/2023-07-07/Fri_Jul__7_10:20:45_2023"
EXT1, EXT2, WRIST = "22008760", "24400334", "18026681"
BEGIN_MS = 1_688_725_245_000
BEFORE, AFTER = 5, 4
"""Idle rows at the ends."""
TEXTS = ("put the brush into the cup", "insert the brush", "brush in cup")
FOCAL = 527.0


def six(T: np.ndarray) -> np.ndarray:
    """(..., 6): position, and extrinsic Euler angles xyz."""
    R = Rotation.from_matrix(T[..., :3, :3].reshape(-1, 3, 3)).as_euler("xyz")
    return np.concatenate([T[..., :3, 3], R.reshape(*T.shape[:-2], 3)], -1)


def flange(poses: list) -> np.ndarray:
    return six(np.stack(poses) @ se3.invert(DROID.T_flange_ee.matrix()))


def padded(values) -> np.ndarray:
    """The rows of a clip between idle ones."""
    values = np.asarray(values)
    return np.concatenate([values[:1].repeat(BEFORE, 0), values, values[-1:].repeat(AFTER, 0)])


def other_camera(c: Clip) -> np.ndarray:
    """The second exterior camera, 0.8 m to the side and turned."""
    turned = se3.make_pose(Rotation.from_euler("z", 1.0).as_matrix(), np.array([0.0, 0.8, 0.0]))
    return turned @ c.T_base_cam


def write_video(path: Path, frames, rate: int = 60, codec: str = "libx264", options=None) -> Path:
    """A video whose container claims ``rate``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options or {"crf": "6", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        out.mux(stream.encode())
    return path


def stamps_ms(rows: int) -> np.ndarray:
    return BEGIN_MS + np.round(np.arange(rows) * 1000 / 15).astype(np.int64)


def write_droid(root: Path, c: Clip) -> Path:
    """The folder of the episode. The video has twice the size of the clip's, and one frame fewer than rows."""
    folder = root / PLACE
    folder.mkdir(parents=True)
    n = len(c.pose) + BEFORE + AFTER
    active = np.zeros(n, bool)
    active[BEFORE : n - AFTER] = True
    with h5py.File(folder / "trajectory.h5", "w") as f:
        f["action/cartesian_position"] = padded(flange(c.target_pose))
        f["action/gripper_position"] = padded(c.target_gripper).astype(float)
        f["action/joint_position"] = padded(c.joints)
        state = f.create_group("observation/robot_state")
        state["cartesian_position"] = padded(flange(c.pose))
        state["gripper_position"] = padded(c.gripper).astype(float)
        state["joint_positions"] = padded(c.joints)
        info = f.create_group("observation/controller_info")
        info["movement_enabled"] = active | (np.arange(n) > n - AFTER - 1)
        info["controller_on"] = np.ones(n, bool)
        times = f.create_group("observation/timestamp")
        times["skip_action"] = np.arange(n) >= n - AFTER
        for serial, kind, T in ((EXT1, 1, c.T_base_cam), (EXT2, 1, other_camera(c)), (WRIST, 0, np.stack(c.pose)[0])):
            f[f"observation/camera_type/{serial}"] = np.full(n, kind)
            for lens in ("left", "right"):
                f[f"observation/camera_extrinsics/{serial}_{lens}"] = np.tile(six(T), (n, 1))
            times[f"cameras/{serial}_frame_received"] = stamps_ms(n) + 41
            times[f"cameras/{serial}_estimated_capture"] = stamps_ms(n)
    about = {
        "uuid": NAME,
        "lab": "AUTOLab",
        "success": True,
        "hdf5_path": f"{PLACE.partition('/')[2]}/trajectory.h5",
        "current_task": "Move object into or out of container",
        "trajectory_length": n,
        "ext1_cam_serial": EXT1,
        "ext2_cam_serial": EXT2,
        "wrist_cam_serial": WRIST,
    }
    (folder / f"metadata_{NAME}.json").write_text(json.dumps(about))
    frames = [o.rgb.repeat(2, 0).repeat(2, 1) for o in padded_list(c.observations)[:-1]]
    write_video(folder / "recordings" / "MP4" / f"{EXT1}.mp4", frames)
    return folder


def padded_list(values: list) -> list:
    return [values[0]] * BEFORE + values + [values[-1]] * AFTER


def write_depth(root: Path, c: Clip, late_ms: int = 0, pad: bool = True) -> Path:
    """PointWorld's depth of an episode: the first exterior camera sees the clip, the second one a wall at 1 m."""
    path = root / f"{NAME}_depth.h5"
    root.mkdir(parents=True, exist_ok=True)
    depth = np.stack([millimetres(o.depth) for o in (padded_list(c.observations) if pad else c.observations)])
    with h5py.File(path, "w") as f:
        for group, values in ((f"{EXT1}+ext", depth), (f"{EXT2}+ext", np.full_like(depth, 1000))):
            f.create_dataset(f"{group}/depth", data=values, chunks=(1, *depth.shape[1:]), compression="lzf")
            f[f"{group}/timestamps"] = stamps_ms(len(depth)) + late_ms
        f[f"{WRIST}+wrist/depth"], f[f"{WRIST}+wrist/timestamps"] = depth[:1], stamps_ms(1)
    return path


def write_annotations(root: Path, c: Clip, T_base_cam: np.ndarray | None = None, focal: float = FOCAL) -> Path:
    """The published JSON files."""
    root.mkdir(parents=True, exist_ok=True)
    T = c.T_base_cam if T_base_cam is None else T_base_cam
    entry = {EXT1: six(T).tolist(), f"{EXT1}_metric_type": "IoU", f"{EXT1}_quality_metric": 0.9, "source": "GT"}
    files = {
        "cam2base_extrinsics.json": {NAME: entry},
        "intrinsics.json": {NAME: {EXT1: [focal, 639.5, focal, 359.5], EXT2: [0, 0, 0, 0]}},
        "camera_serials.json": {NAME: {"ext1_cam_serial": EXT1, "ext2_cam_serial": EXT2, "wrist_cam_serial": WRIST}},
        "droid_language_annotations.json": {NAME: {f"language_instruction{i + 1}": t for i, t in enumerate(TEXTS)}},
    }
    for name, value in files.items():
        (root / name).write_text(json.dumps(value))
    return root
