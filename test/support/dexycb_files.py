"""A sequence of DexYCB with one camera in its true layout, from a clip of 640 x 480 pixels at 30 Hz."""

from pathlib import Path

import cv2
import numpy as np
import yaml
from human_clip import Clip

SERIAL = "836212060125"
IDS, GRASPED = [2, 14, 21], 1
"""A cracker box and a foam brick beside the grasped mug."""
HAND = 255


def write_dexycb(root: Path, clip: Clip, absent: tuple[int, ...] = ()) -> Path:
    """Write the frames, and poses of zero where the object is absent; return the camera's folder."""
    sequence = root / "20200709-subject-01" / "20200709_141754"
    folder = sequence / SERIAL
    folder.mkdir(parents=True)
    for i in range(len(clip)):
        cv2.imwrite(str(folder / f"color_{i:06d}.jpg"), clip.rgb[i][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(folder / f"aligned_depth_to_color_{i:06d}.png"), clip.depth[i])
        write_labels(folder / f"labels_{i:06d}.npz", clip, i, absent)
    meta = {
        "serials": [SERIAL],
        "num_frames": len(clip),
        "ycb_ids": IDS,
        "ycb_grasp_ind": GRASPED,
        "mano_sides": ["right"],
        "extrinsics": "20200702_151821",
    }
    (sequence / "meta.yml").write_text(yaml.safe_dump(meta))
    c = clip.camera
    intrinsics = root / "calibration" / "intrinsics" / f"{SERIAL}_640x480.yml"
    intrinsics.parent.mkdir(parents=True)
    intrinsics.write_text(yaml.safe_dump({"color": {"fx": c.fx, "fy": c.fy, "ppx": c.cx, "ppy": c.cy}}))
    return folder


def write_labels(path: Path, clip: Clip, frame: int, absent: tuple[int, ...] = (), **changes: np.ndarray) -> None:
    seg = np.where(clip.mask[frame], IDS[GRASPED], 0).astype(np.uint8)
    seg[:40] = HAND
    pose = np.zeros((len(IDS), 3, 4), np.float32)
    pose[0] = np.eye(4)[:3]
    if frame not in absent:
        pose[GRASPED] = clip.T_cam_box[frame][:3]
    values = {"seg": seg, "pose_y": pose, "pose_m": np.zeros((1, 51), np.float32)}
    hand = {"joint_3d": np.full((1, 21, 3), -1, np.float32), "joint_2d": np.full((1, 21, 2), -1, np.float32)}
    np.savez_compressed(path, **values | hand | changes)
