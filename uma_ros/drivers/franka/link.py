"""Node side of the process that drives a Franka arm."""

from __future__ import annotations

import os
from multiprocessing import get_context

from uma.control.joints import JointLimits
from uma_ros.drivers.franka.exchange import ArmState, FciSettings, Target
from uma_ros.drivers.franka.fci import serve
from uma_ros.drivers.franka.shared_row import SharedRow


class FciLink:
    """Starts the process, sends it targets, and receives its state and its events."""

    def __init__(self, settings: FciSettings, limits: JointLimits) -> None:
        context = get_context("spawn")
        self._targets, self._states = SharedRow(context, 15), SharedRow(context, ArmState.SIZE)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(settings, limits, self._targets, self._states, theirs, os.getpid()),
            name="fci",
            daemon=True,
        )
        self._process.start()
        theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def state(self) -> ArmState | None:
        return ArmState.from_row(self._states.read())

    def follow(self, target: Target) -> None:
        self._targets.write(target.row())

    def recover(self) -> None:
        """Request a recovery. Its result is among the `events`."""
        self._pipe.send("recover")

    def events(self) -> list[tuple[str, str]]:
        """Return the events since the last call as (kind, text).

        The kinds are log, warn, unreached, lost, blocked, recovered, failed and fatal.
        """
        found = []
        try:
            while self._pipe.poll():
                found.append(self._pipe.recv())
        except (EOFError, OSError):
            pass
        return found

    def close(self, patience: float = 5.0) -> None:
        try:
            self._pipe.send("end")
        except (BrokenPipeError, OSError):
            pass
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
