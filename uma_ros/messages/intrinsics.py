"""Intrinsics of a camera from its camera_info, and the rectification of raw images.

A camera_info describes the raw image of the whole sensor: ``k`` and ``d``. Its ``p`` describes the rectified image, in
which a driver or image_proc has removed the distortion. `is_raw` decides which of both an image is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import ModuleType

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

from uma.types import CameraModel, InputError
from uma_ros.messages.limits import check_intrinsics

MAX_PIXELS = 4096
MAX_BINNING = 16
DISTORTED = 1e-9
"""Smallest coefficient of a distortion."""
MODELS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "thin_prism_fisheye": (),
    "equidistant": (4,),
    "fisheye": (4,),
    "kannala_brandt4": (4,),
}
"""Distortion model -> its numbers of coefficients; none for a model that cannot be rectified here."""
FISHEYE = ("equidistant", "fisheye", "kannala_brandt4")


def is_raw(msg: CameraInfo, topic: str = "") -> bool:
    """Return whether the image of this camera_info is distorted.

    A topic with "rect" in its name is rectified, one with "raw" is not. For any other name, an image is raw if the
    camera_info has no matrix ``p`` of its own for a rectified image.
    """
    if not any(abs(c) > DISTORTED for c in msg.d):
        return False
    if "rect" in topic:
        return False
    p, k = (msg.p[0], msg.p[5], msg.p[2], msg.p[6]), (msg.k[0], msg.k[4], msg.k[2], msg.k[5])
    return "raw" in topic or not msg.p[0] or bool(np.allclose(p, k, rtol=1e-6))


def camera_from(msg: CameraInfo, name: str = "camera_info", topic: str = "") -> CameraModel:
    """Return the pinhole model of the rectified image.

    Of a rectified image, ``p`` counts if it is set, else ``k``. Of a raw image, ``k`` counts: see `rectified`. Binning
    and region of interest, which are in pixels of the whole sensor, scale and shift the model.

    Args:
        topic: topic of the image, see `is_raw`.

    Raises:
        InputError: malformed or implausible intrinsics, or a raw image that cannot be rectified.
    """
    if not msg.header.frame_id:
        raise InputError(f"{name}.header.frame_id: empty, must name the camera's optical frame")
    if not (0 < msg.width <= MAX_PIXELS and 0 < msg.height <= MAX_PIXELS):
        raise InputError(f"{name}: width x height {msg.width}x{msg.height}, both must be > 0 and at most {MAX_PIXELS}")
    if not any((msg.p[0], msg.p[5], *msg.k[:8])):
        raise InputError(f"{name}.fx: 0.0, must be finite and > 0; k is all zeros, so the camera is not calibrated")
    if not all(math.isfinite(c) for c in msg.d):
        raise InputError(f"{name}.d: {list(msg.d)[:8]}, must be finite")
    raw = is_raw(msg, topic)
    if raw:
        check_rectifiable(msg, name)
    use_p = msg.p[0] and not raw
    fx, fy, cx, cy = (msg.p[0], msg.p[5], msg.p[2], msg.p[6]) if use_p else (msg.k[0], msg.k[4], msg.k[2], msg.k[5])
    for key, value in {"fx": fx, "fy": fy, "cx": cx, "cy": cy}.items():
        if not math.isfinite(value) or (key[0] == "f" and value <= 0):
            raise InputError(f"{name}.{key}: {value}, must be finite{' and > 0' if key[0] == 'f' else ''}")
    (x, y, width, height), (bx, by) = _window(msg, name)
    camera = CameraModel(
        width // bx,
        height // by,
        float(fx) / bx,
        float(fy) / by,
        # Pixel centres are whole numbers: the first pixel covers -0.5 to 0.5.
        (float(cx) - x + 0.5) / bx - 0.5 if bx > 1 else float(cx) - x,
        (float(cy) - y + 0.5) / by - 0.5 if by > 1 else float(cy) - y,
        msg.header.frame_id,
    )
    is_cropped = (width, height) != (msg.width, msg.height)
    return check_intrinsics(camera, name, is_cropped)


def _window(msg: CameraInfo, name: str) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return the region of interest (x, y, width, height) and the binning, or raise `InputError`."""
    bx, by = max(msg.binning_x, 1), max(msg.binning_y, 1)
    if max(bx, by) > MAX_BINNING:
        raise InputError(f"{name}.binning: {bx}x{by}, both must be at most {MAX_BINNING}")
    roi = msg.roi
    if not (roi.width or roi.height or roi.x_offset or roi.y_offset):
        return (0, 0, msg.width, msg.height), (bx, by)
    region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    fits = roi.x_offset + roi.width <= msg.width and roi.y_offset + roi.height <= msg.height
    if not (roi.width >= bx and roi.height >= by and fits):
        raise InputError(
            f"{name}.roi: {roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset}), must be a part of the "
            f"{msg.width}x{msg.height} pixels, or all zeros"
        )
    return region, (bx, by)


def camera_to(camera: CameraModel, stamp: Time) -> CameraInfo:
    msg = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    msg.header.frame_id, msg.header.stamp = camera.frame, stamp
    msg.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    msg.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return msg


def check_camera_matches(camera: CameraModel, image: Image, name: str) -> None:
    if (image.width, image.height) != (camera.width, camera.height):
        raise InputError(
            f"{name}: {image.width}x{image.height} pixels, must be {camera.width}x{camera.height} as in camera_info"
        )


# -- rectification -----------------------------------------------------------------------------------------------------


def opencv() -> ModuleType | None:
    """Return cv2; None if it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def check_rectifiable(msg: CameraInfo, name: str) -> None:
    """Raise `InputError` if the raw image of this camera_info cannot be rectified here."""
    way = "publish a rectified image (image_proc, or the driver's rect topic)"
    known = MODELS.get(msg.distortion_model, ())
    if not known:
        names = ", ".join(model for model, counts in MODELS.items() if counts)
        raise InputError(f"{name}.distortion_model: {msg.distortion_model!r:.60}, must be one of {names}; or {way}")
    if len(msg.d) not in known:
        wanted = " or ".join(map(str, known))
        raise InputError(f"{name}.d: {len(msg.d)} coefficients of {msg.distortion_model}, must be {wanted}; or {way}")
    if opencv() is None:
        raise InputError(f"{name}.d: a raw image; rectifying it needs OpenCV: pip install 'uma[perception]'; or {way}")


def rectified(
    rgb: np.ndarray, depth: np.ndarray, msg: CameraInfo, camera: CameraModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return colour and depth without distortion.

    The focal length, the principal point and the optical frame stay. Depth takes the nearest pixel, and pixels from
    outside the image are black and NaN.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        depth: ``(H, W)`` float32 metres on the pixels of ``rgb``.
        msg: the camera_info of the raw image.
        camera: from `camera_from`.
    """
    cv2 = opencv()
    if cv2 is None:
        check_rectifiable(msg, "camera_info")
        raise AssertionError
    at = _maps(msg.distortion_model, tuple(msg.d), camera)
    colour = cv2.remap(rgb, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    z = cv2.remap(depth, *at, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))
    return colour, z


@lru_cache(maxsize=4)
def _maps(model: str, d: tuple[float, ...], camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``(H, W)`` float32 columns and rows of the raw image at the pixels of the rectified one."""
    cv2 = opencv()
    assert cv2 is not None
    K = np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
    undistort = cv2.fisheye.initUndistortRectifyMap if model in FISHEYE else cv2.initUndistortRectifyMap
    return undistort(K, np.array(d), np.eye(3), K, (camera.width, camera.height), cv2.CV_32FC1)
