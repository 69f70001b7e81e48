"""Bytes that this project's own code allocates for one RGB-D frame from the camera to the model, hop by hop.

    python bench/copies.py [--width 1280] [--height 720] [--json FILE]

tracemalloc measures the peak of allocations per hop, including NumPy arrays and Python buffers. Copies by rclpy and DDS
are not included. Frames of the simulated camera skip the first hop, because they are passed on as bytes.
"""

from __future__ import annotations

import argparse
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from uma_ros.messages.convert import depth_from, image_to, rgb_from, stamp_from
from uma_ros.messages.frame_buffer import FrameBuffer, check_image


def allocated(call: Callable[[], object]) -> tuple[object, int]:
    """Return the result of a call, and its peak of newly allocated bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = call()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def scene(width: int, height: int, share_invalid: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(H, W, 3)`` uint8 and ``(H, W)`` float32 metres, with that share of NaN."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 2.0, (height, width)).astype(np.float32)
    depth[rng.random((height, width)) < share_invalid] = np.nan
    return rng.integers(0, 256, (height, width, 3), np.uint8), depth


def measure(width: int, height: int) -> dict[str, int]:
    """Return the bytes per hop."""
    stamp, buffer = stamp_from(1.7e9), FrameBuffer()
    rgb, depth = scene(width, height, 0.1)
    millimetres = np.where(np.isnan(depth), 0, depth * 1e3).astype(np.uint16)
    rows = {"the frame itself (rgb8 + 32FC1)": rgb.nbytes + depth.nbytes}
    messages = {}
    for name, image, encoding in (
        ("rgb8", rgb, "rgb8"),
        ("bgr8", rgb, "bgr8"),
        ("32FC1", depth, "32FC1"),
        ("16UC1", millimetres, "16UC1"),
    ):
        messages[name], rows[f"camera: array to message, {name}"] = allocated(
            lambda i=image, e=encoding: image_to(i, e, "camera", stamp)
        )

    def take() -> None:
        for kind, name in (("rgb", "rgb8"), ("depth", "32FC1")):
            check_image(messages[name], kind)
            buffer.add_image(kind, messages[name])

    _, rows["policy: check and buffer, rgb8 + 32FC1"] = allocated(take)
    for name, convert in (("rgb8", rgb_from), ("bgr8", rgb_from), ("32FC1", depth_from), ("16UC1", depth_from)):
        _, rows[f"policy: message to array, {name}"] = allocated(lambda c=convert, m=messages[name]: c(m))
    rows["rgb8 + 32FC1, all hops"] = sum(v for k, v in rows.items() if k.endswith(("rgb8", "32FC1", "rgb8 + 32FC1")))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    measure(64, 48)  # excludes imports and caches of the first call
    rows = measure(args.width, args.height)
    whole = rows["the frame itself (rgb8 + 32FC1)"]
    for hop, size in rows.items():
        print(f"{hop:<42}{size:>12} bytes{size / whole:>8.2f} x the frame")
    if args.json:
        args.json.write_text(json.dumps({"width": args.width, "height": args.height, "bytes": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
