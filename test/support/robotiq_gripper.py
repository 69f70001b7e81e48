"""A 2F-85 as it is seen from its serial cable: a Modbus RTU server of its own on a pseudo-terminal. It shares no code
with the driver, CRC included."""

from __future__ import annotations

import os
import struct
import termios
import threading
import time
import tty


def crc(frame: bytes) -> bytes:
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


class FakeGripper:
    """Answers FC03 and FC16 for its address alone, on `port`.

    Attributes:
        object_at: counts at which the fingers meet an object; None = nothing is there.
        delay: seconds by which answers are late.
        is_silent: whole requests are swallowed.
        damage: answers carry a wrong checksum.
        requests: (function, registers written) in the order of arrival.
    """

    COUNTS_PER_S = 255 / 0.085 * 0.15  # at full speed

    def __init__(self, device_id: int = 9, pace: float = 1.0) -> None:
        self.device_id, self.pace = device_id, pace
        self.object_at: int | None = None
        self.delay, self.is_silent, self.damage = 0.0, False, False
        self.requests: list[tuple[int, tuple[int, ...]]] = []
        self.power_cut()
        self._master = self._slave = -1
        self._link = threading.Lock()
        self._ended = threading.Event()
        self.port = ""
        self.plug_in()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # -- what happens to it
    # ---------------------------------------------------------------------------------------------------

    def power_cut(self) -> None:
        """Restart the gripper: inactive, with the fingers at their position."""
        self.action = self.requested = self.speed = self.force = self.fault = 0
        self.position = getattr(self, "position", 40.0)
        self._activating = 0.0
        self.is_active, self.contact = False, 0
        self._moved_at = time.monotonic()

    def plug_in(self) -> None:
        with self._link:
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave, termios.TCSANOW)
            self.port = os.ttyname(self._slave)

    def pull_cable(self) -> None:
        """The port goes away, as with a USB converter that is pulled."""
        with self._link:
            for end in (self._master, self._slave):
                os.close(end)
            self._master = self._slave = -1

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5.0)
        if self._master >= 0:
            self.pull_cable()

    # -- the hand ------------------------------------------------------------------------------------------------------

    def _move(self) -> None:
        now = time.monotonic()
        dt, self._moved_at = (now - self._moved_at) * self.pace, now
        if self._activating:
            self._activating -= dt
            if self._activating <= 0:
                self._activating, self.is_active, self.position = 0.0, True, 3.0
        if not (self.is_active and self.action & 8 and self.fault < 0x0A):
            return
        goal = float(min(max(self.requested, 3), 230))
        step = self.COUNTS_PER_S * (20 + self.speed / 255 * 130) / 150 * dt
        before = self.position
        self.position += min(max(goal - self.position, -step), step)
        self.contact = 0
        if (
            self.object_at is not None
            and before <= self.object_at < self.position
            or self.position == self.object_at
            and goal > self.position
        ):
            self.position, self.contact = float(self.object_at), 2
        elif abs(goal - self.position) < 0.5:
            self.contact = 3

    def _status(self) -> bytes:
        state = 3 if self.is_active else 1 if self._activating else 0
        first = self.action & 1 | self.action & 8 | state << 4 | self.contact << 6
        return bytes(
            [
                first,
                0,
                self.fault,
                self.requested,
                round(self.position),
                10 if self.contact == 0 and self.action & 8 else 0,
            ]
        )

    def _obey(self, values: tuple[int, ...]) -> None:
        before, self.action = self.action, values[0] >> 8
        self.requested, self.speed, self.force = values[1] & 0xFF, values[2] >> 8, values[2] & 0xFF
        if not self.action & 1:
            self.is_active, self._activating, self.fault, self.contact = False, 0.0, 0, 0
        elif not before & 1:
            self._activating = 1.5
        elif self.action & 8 and not self.is_active:
            self.fault = 0x05
        if self.action & 8:
            self.contact = 0

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        buffer = b""
        while not self._ended.is_set():
            with self._link:
                master = self._master
                if master >= 0:
                    os.set_blocking(master, False)
                    try:
                        buffer += os.read(master, 256)
                    except (BlockingIOError, OSError):
                        pass
            self._move()
            while (request := self._take(buffer)) is not None:
                size, reply = request
                buffer = buffer[size:]
                if reply and not self.is_silent:
                    if self.delay:
                        time.sleep(self.delay)
                    answer = reply + (b"\x00\x00" if self.damage else crc(reply))
                    with self._link:
                        if self._master == master >= 0:
                            os.write(master, answer)
            time.sleep(0.001)

    def _take(self, buffer: bytes) -> tuple[int, bytes] | None:
        """Length of the first request and what is answered; None if it is not complete."""
        if len(buffer) < 8:
            return None
        function = buffer[1]
        size = 9 + buffer[6] if function == 16 else 8
        if len(buffer) < size:
            return None
        frame = buffer[:size]
        if crc(frame[:-2]) != frame[-2:]:
            return len(buffer), b""
        address, count = struct.unpack(">HH", frame[2:6])
        if frame[0] != self.device_id:
            return size, b""
        if function == 3 and (address, count) == (2000, 3):
            self.requests.append((3, ()))
            return size, bytes([self.device_id, 3, 6]) + self._status()
        if function == 16 and (address, count) == (1000, 3):
            values = struct.unpack(">HHH", frame[7:13])
            self.requests.append((16, values))
            self._obey(values)
            return size, frame[:6]
        return size, bytes([self.device_id, function | 0x80, 2])  # illegal address

    def written(self) -> list[tuple[int, ...]]:
        return [values for function, values in self.requests if function == 16]
