"""Colour frames of video files by PyAV: by number, never by the container's times alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import InputError
from uma_train.data.optional import needed


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a video; its errors become `InputError` with the file's name.

    Raises:
        InputError: a missing or damaged file, or one without a video stream.
    """
    av = needed("av")
    if not path.is_file():
        raise InputError(f"video: {path}: no such file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"video: {path}: no video stream")
            container.streams.video[0].thread_type = "AUTO"
            yield container
    except av.FFmpegError as error:
        raise InputError(f"video: {path}: damaged or cut: {error}") from error


def size(path: Path) -> tuple[int, int, int]:
    """Return the number of frames, width and height, without decoding.

    Raises:
        InputError: as `opened`.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        number = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return number, stream.width, stream.height


def frames(path: Path, number: int, begin_s: float = 0.0) -> Iterator[np.ndarray]:
    """Yield ``number`` frames, ``(H, W, 3)`` uint8 RGB, one at a time.

    Args:
        begin_s: time of the first frame in a file of several episodes. The following ones are counted.

    Raises:
        InputError: as `opened`, or the video ends earlier.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        half = float(1 / stream.average_rate) / 2 if stream.average_rate else 0.0
        if begin_s > 0.0:
            container.seek(int(begin_s / stream.time_base), stream=stream)
        count = 0
        for frame in container.decode(stream):
            if begin_s > 0.0 and frame.time < begin_s - half:
                continue  # from the key frame before
            if count == number:
                return
            yield frame.to_ndarray(format="rgb24")
            count += 1
    if count < number:
        raise InputError(f"video: {path}: ends after {count} of {number} frames from {begin_s:g} s")
