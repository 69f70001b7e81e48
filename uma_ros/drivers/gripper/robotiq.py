"""The Robotiq 2F-85 over Modbus RTU: registers, and a session that survives slow replies, faults and cable pulls.

Positions are 0 open to 1 closed, as in the whole package. The gripper uses counts, 0 open to 255 closed. At the stops
it reports about 3 and 230 counts. `counts` and `opening` convert between the two.
"""

from __future__ import annotations

import reprlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from uma.control.cadence import Cadence
from uma.settings import check_settings, setting
from uma.types import InputError
from uma_ros.drivers.device import Backoff, DeviceError, LinkError, require

WRITE_AT, READ_AT = 1000, 2000
"""First of the gripper's three input registers (0x03E8) and of its three output registers (0x07D0)."""

STROKE = 0.085
"""Distance between the open fingertips, m."""
SPEED_RANGE = (0.020, 0.150)
"""Speeds of the counts 0 and 255, m/s."""
FORCE_RANGE = (20.0, 235.0)
"""Forces of the counts 0 and 255, N."""

FAULTS = {
    0x05: "action delayed, the gripper must be activated first",
    0x07: "the activation bit must be set before an action",
    0x08: "over the maximum operating temperature",
    0x09: "no communication for at least 1 s",
    0x0A: "under the minimum operating voltage",
    0x0B: "automatic release in progress",
    0x0C: "internal fault",
    0x0D: "activation fault",
    0x0E: "overcurrent",
    0x0F: "automatic release completed",
}
"""Fault codes (gFLT). From `MAJOR_FAULT` on the gripper needs a new activation before it moves."""
MAJOR_FAULT = 0x0A


class JawMotion(IntEnum):
    """Motion of the fingers (gOBJ)."""

    MOVING = 0
    CONTACT_OPENING = 1
    CONTACT_CLOSING = 2
    AT_POSITION = 3


@dataclass(frozen=True)
class RobotiqSettings:
    """Settings of the gripper's serial link, and limits of its goals."""

    port: str = setting(
        "/dev/ttyUSB0", "serial port of the gripper; /dev/serial/by-id/... does not depend on the USB socket"
    )
    baudrate: int = setting(115200, "baud; of the serial port", 9600, 1_000_000)
    device_id: int = setting(9, "Modbus address of the gripper", 1, 247)
    reply_timeout: float = setting(0.2, "s; longest wait for a reply; a longer one counts as a lost link", 0.01, 2.0)
    activate: bool = setting(True, "activate an inactive gripper at the start; the fingers open and close once")
    activation_timeout: float = setting(8.0, "s; longest duration of an activation", 1.0, 60.0)
    goal_timeout: float = setting(4.0, "s; longest duration of a motion", 0.5, 30.0)
    speed: float = setting(0.15, "m/s; speed of the fingertips for goals without a speed", *SPEED_RANGE)
    force: float = setting(40.0, "N; force for goals without a force", *FORCE_RANGE)
    max_speed: float = setting(0.15, "m/s; largest speed; faster goals are clamped", *SPEED_RANGE)
    max_force: float = setting(100.0, "N; largest force; stronger goals are clamped", *FORCE_RANGE)
    open_counts: int = setting(3, "counts; reported position of the open gripper", 0, 60)
    closed_counts: int = setting(230, "counts; reported position of the closed, empty gripper", 150, 255)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Status:
    """Status of the gripper.

    Attributes:
        is_activated: activation is complete.
        motion: motion of the fingers.
        fault: 0, or a code of `FAULTS`.
        requested, position: last requested and present position, counts, 0 open to 255 closed.
        current: motor current, A.
    """

    is_activated: bool
    motion: JawMotion
    fault: int
    requested: int
    position: int
    current: float

    @property
    def fault_text(self) -> str:
        """Code and meaning of the fault; empty without one."""
        return f"fault 0x{self.fault:02X}: {FAULTS.get(self.fault, 'unknown')}" if self.fault else ""


def decode(registers: list[int]) -> Status:
    """Return the `Status` in the three output registers.

    Raises:
        LinkError: not three registers of 16 bits.
    """
    if (
        not isinstance(registers, list)
        or len(registers) != 3
        or not all(isinstance(r, int) and 0 <= r <= 0xFFFF for r in registers)
    ):
        raise LinkError(f"gripper status: registers {reprlib.repr(registers)}, must be 3 of 16 bits")
    state, _, fault, requested, position, current = (b for r in registers for b in (r >> 8, r & 0xFF))
    return Status(
        bool(state & 1) and (state >> 4) & 3 == 3,
        JawMotion(state >> 6),
        fault & 0x0F,
        requested,
        position,
        current * 0.01,
    )


def counts(opening: float, settings: RobotiqSettings) -> int:
    """Return the counts for an opening, 0 open to 1 closed. 0 and 1 move the fingers to their stops."""
    if opening <= 0.0:
        return 0
    if opening >= 1.0:
        return 255
    return round(settings.open_counts + opening * (settings.closed_counts - settings.open_counts))


def opening(position: int, settings: RobotiqSettings) -> float:
    """Return the opening, 0 open to 1 closed, of a position in counts."""
    value = (position - settings.open_counts) / (settings.closed_counts - settings.open_counts)
    return min(max(value, 0.0), 1.0)


def _scaled(value: float, low: float, high: float) -> int:
    return round(255 * min(max((value - low) / (high - low), 0.0), 1.0))


class Registers(Protocol):
    """The used part of a Modbus client, such as pymodbus's."""

    def connect(self) -> bool: ...
    def close(self) -> None: ...
    def read_holding_registers(self, address: int, *, count: int, device_id: int) -> Any: ...
    def write_registers(self, address: int, values: list[int], *, device_id: int) -> Any: ...


def serial_client(settings: RobotiqSettings) -> Registers:
    """Return a pymodbus client on the serial port.

    It does not repeat requests: a late reply to the first would be taken for the reply to the second.
    """
    client = require("pymodbus.client", "robot")
    require("serial", "robot")
    return client.ModbusSerialClient(
        settings.port, baudrate=settings.baudrate, timeout=settings.reply_timeout, retries=0
    )


class Robotiq:
    """One gripper on one port. Every method blocks until the reply.

    Args:
        open_client: factory of the Modbus client.
    """

    def __init__(
        self, settings: RobotiqSettings, open_client: Callable[[RobotiqSettings], Registers] = serial_client
    ) -> None:
        self.settings = settings
        self._client = open_client(settings)
        self.replies = Cadence("replies", keep=2000)

    def connect(self) -> None:
        """Open the port. Raises `LinkError` if this fails."""
        if not self._client.connect():
            raise LinkError(f"gripper: cannot open {self.settings.port} (no such device, in use, or not permitted)")

    def close(self) -> None:
        self._client.close()

    def status(self) -> Status:
        reply = self._request(
            lambda: self._client.read_holding_registers(READ_AT, count=3, device_id=self.settings.device_id)
        )
        return decode(getattr(reply, "registers", None))

    def reset(self) -> None:
        """Clear activation and faults. The fingers stop."""
        self._write([0, 0, 0])

    def activate(self) -> None:
        """Start the activation. The fingers open and close once."""
        self._write([0x0100, 0, 0])

    def goto(self, position: float, speed: float, force: float) -> int:
        """Start a motion to ``position``, 0 open to 1 closed. ``speed`` (m/s) and ``force`` (N) are clamped.

        Returns:
            The requested counts.
        """
        s = self.settings
        target = counts(position, s)
        self._write(
            [
                0x0900,
                target,
                _scaled(min(speed, s.max_speed), *SPEED_RANGE) << 8 | _scaled(min(force, s.max_force), *FORCE_RANGE),
            ]
        )
        return target

    def stop(self) -> None:
        """Stop the fingers. They hold their position."""
        self._write([0x0100, 0, 0])

    def _write(self, values: list[int]) -> None:
        self._request(lambda: self._client.write_registers(WRITE_AT, values, device_id=self.settings.device_id))

    def _request(self, request: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            reply = request()
        except Exception as error:  # pymodbus and pyserial raise many types, such as termios.error
            raise LinkError(f"gripper on {self.settings.port}: {error}") from None
        if reply is None or reply.isError():
            raise LinkError(f"gripper on {self.settings.port}: refused the request ({reply})")
        now = time.monotonic()
        self.replies.beat(now, (now - began) * 1e3)
        return reply


@dataclass(frozen=True)
class Outcome:
    """Outcome of a goal.

    Attributes:
        reached: the fingers reached the position.
        stalled: the fingers stalled on an object: a grasp.
        failed: reason of a failure; empty without one.
    """

    reached: bool = False
    stalled: bool = False
    failed: str = ""


class GripperSession:
    """State machine of the gripper link. `cycle` runs in the serial thread; other methods run in any thread.

    Only the first connection activates the gripper automatically. After a power cut or a major fault the fingers may
    hold an object, which an activation drops. `reactivate` is then required.
    """

    SETTLE = 0.1
    """Seconds after a command in which its outcome is ignored: the gripper may still report the previous motion."""

    def __init__(self, device: Robotiq) -> None:
        self.device, self.settings = device, device.settings
        self.backoff = Backoff()
        self.status: Status | None = None
        self.status_at = float("-inf")
        self.trouble = "not connected yet"
        self.num_lost = 0
        self._connected = False
        self._wanted, self._forced = self.settings.activate, False  # activation if inactive, activation always
        self._phase, self._phase_since = "", 0.0
        self._is_well = False
        self._lock = threading.Lock()
        self._next: tuple[int, float, float, float] | None = None  # unsent goal: number, position, speed, force
        self._running: tuple[int, int, float] | None = None  # number, counts, time of transmission
        self._outcomes: dict[int, Outcome] = {}
        self._number = 0

    @property
    def is_ready(self) -> bool:
        """Whether the gripper accepts goals."""
        return self._connected and self._is_well

    def opening(self) -> float | None:
        """Return the position of the fingers, 0 open to 1 closed; None before the first reply."""
        return None if self.status is None else opening(self.status.position, self.settings)

    def goto(self, position: float, speed: float = 0.0, force: float = 0.0) -> int:
        """Replace the current goal. Return the goal's number, for `outcome`.

        Args:
            position: 0 open to 1 closed.
            speed: m/s; 0 = default.
            force: N; 0 = default.

        Raises:
            InputError: the position is outside [0, 1], or a value is not finite or negative.
            DeviceError: the gripper is not ready.
        """
        for name, value, high in (
            ("position", position, 1.0),
            ("speed", speed, float("inf")),
            ("force", force, float("inf")),
        ):
            if not (0.0 <= value <= high) or value == float("inf"):
                raise InputError(
                    f"{name}: {value}, must be finite and {'in [0, 1]' if name == 'position' else 'at least 0'}"
                )
        if not self.is_ready:
            raise DeviceError(f"the gripper is not ready: {self.trouble or 'not activated'}")
        with self._lock:
            self._drop("replaced by another goal")
            self._number += 1
            self._next = self._number, position, speed or self.settings.speed, force or self.settings.force
            return self._number

    def outcome(self, number: int) -> Outcome | None:
        """Return the outcome of goal ``number``; None while it is running."""
        with self._lock:
            return self._outcomes.get(number)

    def cancel(self, number: int) -> None:
        """Stop the fingers if goal ``number`` is still running."""
        with self._lock:
            if self._next and self._next[0] == number or self._running and self._running[0] == number:
                self._drop("cancelled")
                self._next = (0, -1.0, 0.0, 0.0)

    def reactivate(self) -> None:
        """Activate the gripper again, also after a fault. The fingers release the object."""
        with self._lock:
            self._drop("the gripper is reactivated")
            self._forced, self._is_well = True, False

    def _drop(self, why: str) -> None:
        for goal in (self._next, self._running):
            if goal:
                self._finish(goal[0], Outcome(failed=why))
        self._next = self._running = None

    def _finish(self, number: int, outcome: Outcome) -> None:
        self._outcomes[number] = outcome
        self._outcomes.pop(number - 100, None)

    def cycle(self, now: float) -> None:
        """Exchange status and command with the gripper at time ``now``, seconds. A broken link raises nothing."""
        if not self._connected and not self.backoff.is_due(now):
            return
        try:
            if not self._connected:
                self.device.connect()
            status = self.device.status()
            self._connected = True
            self.backoff.succeeded()
            self._activate(status, now)
            self._act(status, now)
        except LinkError as error:
            self._lost(str(error), now)

    def _lost(self, text: str, now: float) -> None:
        self.num_lost += self._connected
        self._connected = self._is_well = False
        self.device.close()  # also discards a reply in transit
        self.trouble = f"{text}; next attempt in {self.backoff.failed(now):.1f} s"
        with self._lock:
            self._drop(text)
            self._forced |= bool(self._phase)  # an interrupted activation is repeated
        self._phase = ""

    def _activate(self, status: Status, now: float) -> None:
        """Run the activation: reset, wait for the gripper to report it, activate."""
        is_well = status.is_activated and status.fault < MAJOR_FAULT
        with self._lock:
            wanted = self._forced or self._wanted and not is_well
            self._wanted = self._forced = False
        late = now - self._phase_since > self.settings.activation_timeout
        if wanted:
            self._phase, self._phase_since = "reset", now
            self.device.reset()
        elif self._phase == "reset" and not status.is_activated and not late:
            self.device.activate()
            self._phase = "activate"
        elif self._phase == "activate" and is_well or self._phase and late:
            self._phase = ""
        self._is_well = is_well and not self._phase
        if self._is_well:
            self.trouble = status.fault_text
        elif self._phase:
            self.trouble = "activating"
        else:
            self.trouble = (
                status.fault_text or "not activated"
            ) + "; call the activation service (the fingers release the object)"

    def _act(self, status: Status, now: float) -> None:
        with self._lock:
            goal, self._next = self._next, None
            self.status, self.status_at = status, now
            if goal and goal[0]:
                self._running = goal[0], counts(goal[1], self.settings), now
            elif self._running:
                self._judge(status, now)
        if goal is None:
            return
        if goal[0]:
            self.device.goto(*goal[1:])
        else:
            self.device.stop()

    def _judge(self, status: Status, now: float) -> None:
        number, target, since = self._running
        outcome = None
        if not self._is_well:
            outcome = Outcome(failed=self.trouble)
        elif now - since > self.settings.goal_timeout:
            outcome = Outcome(failed=f"the fingers are still moving after {self.settings.goal_timeout:g} s")
        elif now - since >= self.SETTLE and status.requested == target and status.motion is not JawMotion.MOVING:
            outcome = Outcome(
                reached=status.motion is JawMotion.AT_POSITION, stalled=status.motion is not JawMotion.AT_POSITION
            )
        if outcome:
            self._running = None
            self._finish(number, outcome)
