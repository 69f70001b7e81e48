"""RGB-D frames from a device or a recording: the protocol of the sources, and a session that reopens a lost one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.types import CameraModel, InputError
from uma_ros.drivers.device import Backoff, LinkError


@dataclass(frozen=True)
class RgbdFrame:
    """An RGB-D frame of a camera.

    Attributes:
        image: ``(H, W, 3)`` uint8, rectified.
        encoding: "rgb8" or "bgr8".
        depth: ``(H, W)`` float32 metres along the optical axis, registered to the image, NaN where invalid.
        camera: intrinsics of image and depth.
        stamp_ns: capture time, ns since 1970; None if the source has no clock.
    """

    image: np.ndarray
    encoding: str
    depth: np.ndarray
    camera: CameraModel
    stamp_ns: int | None = None

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        if self.image.shape != (*shape, 3) or self.image.dtype != np.uint8:
            raise InputError(f"image: {self.image.dtype} {self.image.shape}, must be uint8 {(*shape, 3)}")
        if self.depth.shape != shape or self.depth.dtype != np.float32:
            raise InputError(f"depth: {self.depth.dtype} {self.depth.shape}, must be float32 {shape}")


class CorruptFrame(RuntimeError):
    """The device reports a damaged frame. The next frame may be good."""


class EndOfStream(RuntimeError):
    """A recording has ended."""


class CameraSource(Protocol):
    """A device or a recording.

    Attributes:
        period: seconds to wait between frames; 0 for a device with its own frame rate.
    """

    period: float

    def open(self) -> str:
        """Open the source. Return one line that describes it.

        Raises:
            LinkError: the source is unreachable; a later attempt may succeed.
            DeviceError: the settings are unusable.
        """

    def grab(self) -> RgbdFrame:
        """Wait for the next frame and return it. Raises `LinkError`, `CorruptFrame` or `EndOfStream`."""

    def close(self) -> None: ...


class FrameSession:
    """Grabs one frame per cycle from a source, and reopens a lost source.

    Attributes:
        counts: good, dropped (from the gaps between time stamps), corrupt, repeated (a stamp that did not advance),
            links_lost.
        trouble: present problem; empty without one.
        description: line of the source that describes it.
        is_over: a recording has ended.
    """

    MANY_CORRUPT = 30
    """Number of consecutive damaged frames after which the device is reopened."""

    def __init__(self, source: CameraSource, rate: float) -> None:
        self.source, self.rate = source, rate
        self.backoff = Backoff(0.5, 10.0)
        self.counts: Counter[str] = Counter(good=0, dropped=0, corrupt=0, repeated=0, links_lost=0)
        self.trouble, self.description = "not opened yet", ""
        self.is_open = self.is_over = False
        self._last_ns: int | None = None
        self._bad_in_row = 0

    def cycle(self, now: float) -> RgbdFrame | None:
        """Return the next good frame; None if the source is closed or over, or the frame damaged or repeated.

        Args:
            now: s, monotonic clock.

        Raises:
            DeviceError: the source cannot be opened with these settings.
        """
        if self.is_over or not self.is_open and not self.backoff.is_due(now):
            return None
        try:
            if not self.is_open:
                self.description = self.source.open()
                self.is_open, self._last_ns, self._bad_in_row = True, None, 0
            frame = self.source.grab()
        except CorruptFrame as error:
            self.counts["corrupt"] += 1
            self._bad_in_row += 1
            self.trouble = f"{self._bad_in_row} damaged frames in a row: {error}"
            if self._bad_in_row >= self.MANY_CORRUPT:
                self._lost(self.trouble, now)
            return None
        except EndOfStream as error:
            self.is_over, self.trouble = True, str(error)
            self.close()
            return None
        except LinkError as error:
            self._lost(str(error), now)
            return None
        self.backoff.succeeded()
        self._bad_in_row, self.trouble = 0, ""
        return frame if self._is_new(frame.stamp_ns) else None

    def _is_new(self, stamp_ns: int | None) -> bool:
        if stamp_ns is not None and self._last_ns is not None:
            gap = (stamp_ns - self._last_ns) * 1e-9
            if gap <= 0:
                self.counts["repeated"] += 1
                self.trouble = f"the time stamp does not advance ({gap * 1e3:.0f} ms)"
                return False
            self.counts["dropped"] += max(round(gap * self.rate) - 1, 0)
        self._last_ns = stamp_ns
        self.counts["good"] += 1
        return True

    def _lost(self, text: str, now: float) -> None:
        self.counts["links_lost"] += self.is_open
        self.close()
        self.trouble = f"{text}; next attempt in {self.backoff.failed(now):.1f} s"

    def close(self) -> None:
        if self.is_open:
            self.source.close()
        self.is_open = False
