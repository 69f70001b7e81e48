"""Video files: the times of their frames, and colour or 16-bit depth frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import RATE_HZ, InputError
from uma_train.data.optional import needed

MAX_PIXELS = 4096 * 4096
COLOUR, DEPTH = "rgb24", "gray16le"


def frame_times(path: str | Path) -> np.ndarray:
    """Return the ``(N,)`` times of a video's frames by its container, seconds, increasing from 0.

    Raises:
        InputError: the file is missing, damaged, or without a video.
    """
    av = needed("av")
    try:
        with av.open(str(path)) as container:
            stream = _stream(path, container)
            ticks = [p.pts if p.pts is not None else p.dts for p in container.demux(stream) if p.size]
            tick_s = stream.time_base  # of the open container: a closed one frees it
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: no readable video: {error}") from error
    if not ticks or any(t is None for t in ticks) or not tick_s:
        raise InputError(f"{path}: {len(ticks)} frames with a time, must be at least 1")
    seconds = np.sort(np.array(ticks, np.float64)) * float(tick_s)
    return seconds - seconds[0]


def frames(path: str | Path, kind: str, wanted: Mapping[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the step and the pixels of the wanted frames: ``(H, W, 3)`` uint8, or ``(H, W)`` uint16.

    Args:
        kind: `COLOUR`, or `DEPTH` of 16 bit.
        wanted: index of the frame -> step.

    Raises:
        InputError: the file is damaged, or depth has 8 bit.
    """
    av = needed("av")
    try:
        with av.open(str(path)) as container:
            stream, last = _stream(path, container), max(wanted, default=-1)
            if kind == DEPTH and not str(stream.format.name).startswith("gray16"):
                raise InputError(f"{path}: pixels {stream.format.name}, must be gray16: 8 bit lose the depth")
            for i, frame in enumerate(container.decode(stream)):
                if i in wanted:
                    yield wanted[i], frame.to_ndarray(format=kind)
                if i >= last:
                    return
            raise InputError(f"{path}: {i + 1} frames can be decoded, must be at least {last + 1}")
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: damaged video: {error}") from error


def _stream(path: str | Path, container: Any) -> Any:
    if not container.streams.video:
        raise InputError(f"{path}: 0 video streams, must be 1")
    stream = container.streams.video[0]
    if not 0 < stream.width * stream.height <= MAX_PIXELS:
        raise InputError(f"{path}: {stream.width} x {stream.height} pixels, limit {MAX_PIXELS} in all")
    return stream


def grid(times: np.ndarray) -> np.ndarray:
    """Return the ``(S,)`` frames of the steps of 15 Hz: the nearest in time within half a period, otherwise -1.

    Args:
        times: ``(N,)`` of the frames, seconds, increasing.
    """
    period = 1.0 / RATE_HZ
    elapsed = times - times[0]
    due = np.arange(int(elapsed[-1] / period + 0.5) + 1) * period
    after = np.searchsorted(elapsed, due).clip(1, max(len(times) - 1, 1))
    nearest = np.where(due - elapsed[after - 1] <= elapsed[after.clip(max=len(times) - 1)] - due, after - 1, after)
    nearest = nearest.clip(max=len(times) - 1)
    is_seen = np.abs(elapsed[nearest] - due) <= period / 2 + 1e-9
    is_seen[1:] &= ~(is_seen[:-1] & (nearest[1:] == nearest[:-1]))
    return np.where(is_seen, nearest, -1)
