"""A sequence of HOI4D in its true layout, from a clip."""

import json
import pickle
from pathlib import Path

import av
import cv2
import numpy as np
from human_clip import SIZE, Clip
from scipy.spatial.transform import Rotation

from uma.geometry import se3

CAMERA = "ZY20210800001"
PLACE = f"{CAMERA}/H1/C2/N14/S71/s05/T1"
"""A mug that is picked and placed."""
OBJECT, HAND = (128, 0, 0), (0, 128, 0)
"""Colours of the labels 1 and 2."""


def write_video(path: Path, images: np.ndarray, codec: str, pixels: str, rate: int = 15) -> None:
    """Write ``(S, H, W, 3)`` uint8 or ``(S, H, W)`` uint16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], pixels
        if codec == "libx264":
            stream.options = {"crf": "8", "preset": "ultrafast"}
        for image in images:
            kind = "rgb24" if image.ndim == 3 else "gray16le" if image.dtype == np.uint16 else "gray"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=kind)))
        container.mux(stream.encode())


def box_of(T_cam_box: np.ndarray) -> dict:
    angles = Rotation.from_matrix(T_cam_box[:3, :3]).as_euler("XYZ")
    size = dict(zip(("length", "width", "height"), SIZE.tolist()))
    return {"center": dict(zip("xyz", T_cam_box[:3, 3])), "rotation": dict(zip("xyz", angles)), "dimensions": size}


def write_poses(folder: Path, T_cam_box: np.ndarray, name: str = "{:05d}", key: str = "dataList") -> None:
    """The box, and before it a thing that rests."""
    folder.mkdir(parents=True, exist_ok=True)
    at_rest = box_of(np.eye(4)) | {"center": {"x": 0.4, "y": 0.0, "z": 1.0}}
    for step, T in enumerate(T_cam_box):
        (folder / f"{name.format(step)}.json").write_text(json.dumps({key: [at_rest, box_of(T)]}))


def write_masks(folder: Path, mask: np.ndarray) -> None:
    """The box but for its left half, which a hand covers."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, is_box in enumerate(mask):
        image = np.zeros((*is_box.shape, 3), np.uint8)
        middle = int(np.median(np.flatnonzero(is_box.any(0))))
        image[is_box] = OBJECT
        image[:, :middle][is_box[:, :middle]] = HAND
        cv2.imwrite(str(folder / f"{step:05d}.png"), image[:, :, ::-1])


def write_log(path: Path, matrices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [
        f"{i} {i} {i + 1}\n" + "\n".join(" ".join(map(repr, row)) for row in T.tolist()) for i, T in enumerate(matrices)
    ]
    path.write_text("\n".join(blocks) + "\n")


def write_hand(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hand = {"poseCoeff": np.zeros(48), "beta": np.zeros(10), "trans": np.zeros(3), "kps2D": points}
    path.write_bytes(pickle.dumps(hand))


def write_hoi4d(root: Path, clip: Clip, is_inverse: bool = False, has_log: bool = True) -> Path:
    """Write colour, depth, poses, trajectory and intrinsics; return the sequence's folder."""
    folder = root / PLACE
    write_video(folder / "align_rgb" / "image.mp4", clip.rgb, "libx264", "yuv444p")
    write_video(folder / "align_depth" / "depth_video.avi", clip.depth, "ffv1", "gray16le")
    write_poses(folder / "objpose", clip.T_cam_box)
    T = clip.T_first_cam
    if has_log:
        write_log(folder / "3Dseg" / "output.log", np.stack([se3.invert(t) for t in T]) if is_inverse else T)
    c = clip.camera
    params = root / "camera_params" / CAMERA
    params.mkdir(parents=True, exist_ok=True)
    np.save(params / "intrin.npy", np.array([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1.0]]))
    return folder
