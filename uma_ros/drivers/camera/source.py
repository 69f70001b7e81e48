"""RGB-D frames from any device or recording: one protocol for the sources, and a session that opens, reopens and
counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uma.types import CameraModel, InputError
from uma_ros.drivers.device import Backoff, LinkError


@dataclass(frozen=True)
class RgbdFrame:
    """One instant, as a camera gives it.

    Attributes:
        image: ``(H, W, 3)`` uint8, rectified.
        encoding: "rgb8" or "bgr8".
        depth: ``(H, W)`` float32 metres along the optical axis, NaN where invalid, on the image's pixels.
        camera: intrinsics of both.
        stamp_ns: capture time, ns since 1970; None if the source has no time of its own.
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
    """The device gave a frame and says that it is damaged; the next may be well."""


class EndOfStream(RuntimeError):
    """A recording is over."""


class CameraSource(Protocol):
    """A device or a recording.

    Attributes:
        period: seconds to wait between frames; 0 for a device that has a pace of its own.
    """

    period: float

    def open(self) -> str:
        """Returns a line for people about what was opened.

        Raises:
            LinkError: not now, perhaps later.
            DeviceError: not with these settings.
        """

    def grab(self) -> RgbdFrame:
        """Wait for the next frame. Raises `LinkError`, `CorruptFrame` or `EndOfStream`."""

    def close(self) -> None: ...


class FrameSession:
    """Asks a source for frames, one a cycle, on the caller's clock.

    Attributes:
        counts: good, dropped (by the gaps between time stamps), corrupt, repeated (a stamp that did not advance),
            links_lost.
        trouble: what is wrong; empty if nothing is.
        is_over: a recording has ended.
    """

    MANY_CORRUPT = 30
    """Damaged frames in a row after which the device is opened anew."""

    def __init__(self, source: CameraSource, rate: float) -> None:
        self.source, self.rate = source, rate
        self.backoff = Backoff(0.5, 10.0)
        self.counts: Counter[str] = Counter(good=0, dropped=0, corrupt=0, repeated=0, links_lost=0)
        self.trouble, self.said = "not opened yet", ""
        self.is_open = self.is_over = False
        self._last_ns: int | None = None
        self._bad_in_row = 0

    def cycle(self, now: float) -> RgbdFrame | None:
        """The next good frame, or None: not open, damaged, repeated, or over.

        Raises:
            DeviceError: the source cannot be opened with these settings; trying again does not help.
        """
        if self.is_over or not self.is_open and not self.backoff.is_due(now):
            return None
        try:
            if not self.is_open:
                self.said = self.source.open()
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
