"""Compressed images: what image_transport sends, our own, and damaged ones."""

import io
import struct

import numpy as np
import PIL.Image
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage

from uma.types import InputError
from uma_ros.messages.compressed import HEADER, compressed, image_from
from uma_ros.messages.convert import depth_from, image_to, rgb_from

STAMP = Time(sec=12, nanosec=345)
RED = np.full((8, 16, 3), (200, 30, 60), np.uint8)


def message(data, text):
    msg = CompressedImage(format=text)
    msg.header.stamp, msg.header.frame_id, msg.data = STAMP, "camera", data
    return msg


def encoded(image, kind, **options):
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "text, swapped",
    [
        ("rgb8; jpeg compressed bgr8", False),
        ("bgra8; jpeg compressed bgr8", False),
        ("bgr8; jpeg compressed rgb8", True),  # rgb8 pixels that OpenCV took for bgr8
        ("jpeg", False),
    ],
)
def test_colours_keep_their_order(text, swapped):
    image = image_from(message(encoded(RED[..., ::-1] if swapped else RED, "jpeg", quality=95), text), "rgb")
    assert (image.encoding, image.header.frame_id, image.header.stamp) == ("rgb8", "camera", STAMP)
    assert np.abs(rgb_from(image).astype(int) - RED).max() <= 6


@pytest.mark.parametrize("pixels", [RED[..., 0], np.dstack([RED, RED[..., :1]])])
def test_grey_and_transparent_images_become_rgb(pixels):
    image = rgb_from(image_from(message(encoded(pixels, "png"), "png"), "rgb"))
    assert image.shape == RED.shape
    assert np.array_equal(image, RED if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))


def test_inverse_depth_is_that_of_image_transport():
    """Its encoder: a = q (q + 1), b = 1 - a / depth_max, value = a / depth + b."""
    depth = np.array([[0.3, 0.7, 2.5], [np.nan, 9.9, 0.5]], np.float32)
    quantum, longest = 100.0, 10.0
    a = quantum * (quantum + 1)
    b = 1 - a / longest
    values = np.nan_to_num(a / depth + b).astype(np.uint16)
    msg = message(struct.pack("<iff", 0, a, b) + encoded(values, "png"), "32FC1; compressedDepth png")
    image = image_from(msg, "depth")
    found = depth_from(image)
    assert image.encoding == "32FC1" and np.array_equal(np.isnan(found), np.isnan(depth))
    step = depth**2 / a  # of the depth for one step of the value
    assert (np.abs(found - depth) <= step * 1.01)[~np.isnan(depth)].all()


@pytest.mark.parametrize("text", ["16UC1; compressedDepth png", "16UC1; compressedDepth"])
def test_millimetres_stay_exact(text):
    values = np.array([[0, 700, 65535], [1, 1234, 20000]], np.uint16)
    image = image_from(message(HEADER.pack(0, 0, 0) + encoded(values, "png"), text), "depth")
    assert image.encoding == "16UC1"
    assert np.array_equal(np.frombuffer(image.data, np.uint16).reshape(values.shape), values)


def test_our_own_images_return():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 3.0, (20, 30)).astype(np.float32)
    depth[0, 0], depth[0, 1] = np.nan, 70.0
    again = depth_from(image_from(compressed(image_to(depth, "32FC1", "camera", STAMP), "depth"), "depth"))
    assert np.isnan(again[0, :2]).all()
    assert np.abs(again - depth)[1:].max() <= 0.5e-3 + 1e-6
    colour = compressed(image_to(RED, "rgb8", "camera", STAMP), "rgb")
    assert colour.header.stamp == STAMP and colour.header.frame_id == "camera"
    assert np.abs(rgb_from(image_from(colour, "rgb")).astype(int) - RED).max() <= 6


PNG = encoded(np.ones((4, 4), np.uint16), "png")


@pytest.mark.parametrize(
    "kind, data, text, words",
    [
        ("rgb", b"", "jpeg", "rgb.data: 0 bytes, must be 1 to"),
        ("rgb", b"no image", "jpeg", "rgb.data: no readable JPEG or PNG image"),
        ("rgb", encoded(RED, "jpeg")[:-40], "jpeg", "rgb.data: no readable JPEG or PNG image"),
        ("rgb", encoded(RED, "gif"), "gif", "rgb.data: no readable JPEG or PNG image"),
        ("rgb", encoded(np.zeros((1, 20000, 3), np.uint8), "png"), "png", "rgb.data: 20000x1 pixels, must be at most"),
        ("rgb", PNG, "png", "rgb.data: mode I;16, must be one of RGB"),
        ("depth", PNG, "16UC1; png", "depth.format: '16UC1; png', must be '16UC1; compressedDepth png'"),
        ("depth", PNG, "16UC1; compressedDepth rvl", "depth.format: .* rvl', must be"),
        ("depth", b"\0" * 12, "16UC1; compressedDepth png", "depth.data: 12 bytes, must be a header of 12 and a PNG"),
        ("depth", b"\0" * 12 + PNG[:-30], "16UC1; compressedDepth png", "depth.data: no readable PNG image"),
        ("depth", b"\0" * 12 + encoded(RED, "png"), "16UC1; compressedDepth png", "depth.data: mode RGB, must be"),
        ("depth", b"\0" * 12 + PNG, "64FC1; compressedDepth png", "depth.format: .*must begin with 16UC1 or 32FC1"),
        ("depth", b"\0" * 12 + PNG, "32FC1; compressedDepth png", "depth.data: parameters 0 and 0 of the inverse"),
        (
            "depth",
            HEADER.pack(0, float("nan"), 0) + PNG,
            "32FC1; compressedDepth png",
            "depth.data: parameters nan and 0",
        ),
    ],
)
def test_what_is_no_compressed_image_is_refused(kind, data, text, words):
    with pytest.raises(InputError, match=words):
        image_from(message(data, text), kind)
