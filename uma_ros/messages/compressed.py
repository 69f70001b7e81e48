"""Compressed images as image_transport's `compressed` and `compressedDepth` plugins publish them.

A decoded image is an ordinary `sensor_msgs/Image` with the stamp and frame of its message, so that the code behind it
does not depend on the transport.
"""

from __future__ import annotations

import io
import struct
import zlib
from types import ModuleType

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from uma.types import InputError
from uma_ros.messages.convert import depth_from, image_to, rgb_from
from uma_ros.messages.intrinsics import MAX_PIXELS
from uma_ros.messages.limits import SATURATED

SUFFIX = {"rgb": "compressed", "depth": "compressedDepth"}
"""Kind of image -> last part of its topic's name."""
MAX_BYTES = 64 * 1024 * 1024
HEADER = struct.Struct("<iff")
"""Header before the PNG of a depth image: the format, and the parameters a and b of depth = a / (value - b)."""
QUALITY = 90


def image_from(msg: CompressedImage, kind: str) -> Image:
    """Return the decoded image: ``rgb8`` colour, or ``16UC1`` or ``32FC1`` depth.

    Args:
        kind: ``rgb`` or ``depth``.

    Raises:
        InputError: an unknown format, or data that are no such image.
    """
    if not 0 < len(msg.data) <= MAX_BYTES:
        raise InputError(f"{kind}.data: {len(msg.data)} bytes, must be 1 to {MAX_BYTES}")
    image = _colour(msg) if kind == "rgb" else _depth(msg)
    encoding = "rgb8" if kind == "rgb" else "16UC1" if image.dtype == np.uint16 else "32FC1"
    return image_to(image, encoding, msg.header.frame_id, msg.header.stamp)


def compressed(msg: Image, kind: str) -> CompressedImage:
    """Return an image as JPEG (colour), or as PNG of 16-bit millimetres (depth, beyond 65 m invalid).

    Raises:
        InputError: a malformed image.
    """
    out, pillow = io.BytesIO(), _pillow()
    if kind == "rgb":
        pillow.fromarray(rgb_from(msg)).save(out, "jpeg", quality=QUALITY)
        text = "rgb8; jpeg compressed bgr8"
    else:
        millimetres = np.rint(np.nan_to_num(depth_from(msg), nan=0.0) * 1e3)
        millimetres[millimetres >= SATURATED] = 0
        out.write(HEADER.pack(0, 0.0, 0.0))
        pillow.fromarray(millimetres.astype(np.uint16)).save(out, "png", compress_level=1, compress_type=zlib.Z_RLE)
        text = "16UC1; compressedDepth png"
    result = CompressedImage(header=msg.header, format=text)
    result.data = out.getvalue()
    return result


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise InputError("compressed images: the Python package Pillow is missing (python3-pil)") from None
    return PIL.Image


def _opened(data: bytes, name: str, formats: tuple[str, ...], modes: tuple[str, ...]) -> np.ndarray:
    """Decode an image of one of ``formats`` and ``modes``. Its size is checked before its pixels are decoded."""
    try:
        with _pillow().open(io.BytesIO(data), formats=formats) as image:
            if max(image.size) > MAX_PIXELS:
                raise InputError(f"{name}.data: {image.width}x{image.height} pixels, must be at most {MAX_PIXELS}")
            if image.mode not in modes:
                raise InputError(f"{name}.data: mode {image.mode}, must be one of {', '.join(modes)}")
            return np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged data
        raise InputError(f"{name}.data: no readable {' or '.join(formats)} image ({error})"[:200]) from None


def _colour(msg: CompressedImage) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 red, green and blue.

    The format names the order of the pixels before compression, which OpenCV takes for blue, green and red.
    """
    image = _opened(bytes(msg.data), "rgb", ("JPEG", "PNG"), ("RGB", "RGBA", "L"))
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    _, separator, rest = msg.format.partition(";")
    is_swapped = bool(separator) and "compressed" in rest and "compressed bgr" not in rest
    return image[..., 2::-1] if is_swapped else image[..., :3]


def _depth(msg: CompressedImage) -> np.ndarray:
    """Return ``(H, W)`` uint16 millimetres, or float32 metres with NaN where invalid."""
    encoding, _, rest = msg.format.partition(";")
    if "compressedDepth" not in rest or "rvl" in rest:
        raise InputError(
            f"depth.format: {msg.format!r:.80}, must be '16UC1; compressedDepth png' or '32FC1; compressedDepth png'"
        )
    if len(msg.data) <= HEADER.size:
        raise InputError(f"depth.data: {len(msg.data)} bytes, must be a header of {HEADER.size} and a PNG")
    data = bytes(msg.data)
    values = _opened(data[HEADER.size :], "depth", ("PNG",), ("I;16", "I;16B", "I"))
    if values.max(initial=0) > SATURATED:
        raise InputError(f"depth.data: a value of {values.max()}, must be at most {SATURATED}")
    values = values.astype(np.uint16)
    if encoding.strip() in ("16UC1", "mono16"):
        return values
    if encoding.strip() != "32FC1":
        raise InputError(f"depth.format: {msg.format!r:.80}, must begin with 16UC1 or 32FC1")
    _, a, b = HEADER.unpack_from(data)
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise InputError(f"depth.data: parameters {a:g} and {b:g} of the inverse depth, must be finite and positive")
    with np.errstate(divide="ignore"):
        depth = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    depth[(values == 0) | ~(depth > 0) | ~np.isfinite(depth)] = np.nan
    return depth
