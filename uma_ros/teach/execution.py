"""The page's task in execution: a goal of the action, the start of the controller, and the stop of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from uma_ros.action import ExecuteTask
from uma_ros.teach.link import Answer
from uma_ros.teach.operator import SILENCE_S
from uma_ros.teach.requests import OUTCOMES, filled
from uma_ros.teach.task import Ask
from uma_ros.teach.waiting import Waiting

START_PATIENCE_S = 10.0
"""A started task that is not in force by then is cancelled, so that a late answer moves nothing, seconds."""

MOVING = ("start", "home")
"""Services after which the robot may move."""


class _Run:
    """One started task.

    Attributes:
        handle: its goal; None before the policy accepted it.
        is_stopped: a stop, or a missing answer, ended it: it must start nothing any more.
    """

    def __init__(self, ask: Ask, done: Answer) -> None:
        self.ask, self.done = ask, done
        self.handle: Any = None
        self.is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True
        if self.handle is not None:
            self.handle.cancel_goal_async()


class Execution:
    """Sends tasks to the policy and calls the operator's services. Every method may be called from any thread.

    The controller starts once the policy reports the goal's own task in force. A refused task leaves the one before in
    force, and another client may give one; the controller must start for neither.

    Args:
        action: client of `ExecuteTask`.
        name: of the action, for messages.
        call: calls one of the operator's services.
        stop: stops the controller, without waiting for its answer.
    """

    def __init__(self, action: Any, name: str, call: Callable[[str, Answer], None], stop: Callable[[], object]) -> None:
        self.action, self._name, self._call, self._stop = action, name, call, stop
        self._lock, self._waiting = threading.RLock(), Waiting()
        self._runs: list[_Run] = []  # those whose result is unknown, the newest last
        self._stops, self._repeated_at = 0, 0.0

    def start(self, ask: Ask, done: Answer) -> None:
        """Send the task as a goal, and start the controller once it is in force."""
        if not self.action.server_is_ready():
            done(False, f"no action {self._name}; is the policy running?")
            return
        run = _Run(ask, done)
        with self._lock:
            self._runs.append(run)
        until = time.monotonic() + START_PATIENCE_S
        begin = self._waiting.expect(lambda: self._begin(run), lambda: self._give_up(run), until)

        def progress(message: Any) -> None:
            if message.feedback.in_force:
                begin()

        goal = filled(ExecuteTask.Goal(), ask)
        future = self.action.send_goal_async(goal, feedback_callback=progress)
        future.add_done_callback(lambda future: self._accepted(run, future.result(), begin))

    def stop(self) -> None:
        """Stop the controller first, then drop the task, so that a later start does not resume it."""
        with self._lock:
            self._stops += 1
            runs = list(self._runs)
        self._stop()
        for run in runs:
            run.stop()

    def call(self, service: str, done: Answer) -> None:
        """Call one of the operator's services. A stop that overtakes a start on its way is sent again."""
        stops = self._stops

        def answered(is_done: bool, text: str) -> None:
            if service in MOVING and self._stops != stops:
                self._stop()
                done(False, f"stopped meanwhile; {service}: {text}")
            else:
                done(is_done, text)

        self._call(service, answered)

    def check(self, now: float, silence: float) -> bool:
        """Give up what has no answer. Return whether the operator's silence has just stopped a task.

        A cancellation that is lost is sent again every `SILENCE_S`.

        Args:
            now: monotonic, seconds.
            silence: of the operator's page, seconds; 0 where the controller watches it.
        """
        self._waiting.check(now)
        with self._lock:
            runs = list(self._runs)
        if now - self._repeated_at > SILENCE_S:
            self._repeated_at = now
            for run in runs:
                if run.is_stopped:
                    run.stop()
        if silence < SILENCE_S or all(run.is_stopped for run in runs):
            return False
        self.stop()
        return True

    def _begin(self, run: _Run) -> None:
        with self._lock:
            if run.is_stopped or run not in self._runs[-1:]:
                return
        self.call("start", lambda is_done, text: run.done(is_done, f"task in force; controller: {text}"))

    def _give_up(self, run: _Run) -> None:
        with self._lock:
            if run.is_stopped or run not in self._runs:
                return
        run.stop()
        run.done(
            False, f"not started: the task was not in force within {START_PATIENCE_S:g} s; preview and start again"
        )

    def _accepted(self, run: _Run, handle: Any, begin: Callable[..., bool]) -> None:
        if not handle.accepted:
            self._forget(run)
            run.done(False, f"task refused: {self._name} rejects goals")
            return
        run.handle = handle
        if run.is_stopped:  # meanwhile
            handle.cancel_goal_async()
        handle.get_result_async().add_done_callback(lambda future: self._ended(run, future.result().result))

    def _forget(self, run: _Run) -> None:
        with self._lock:
            self._runs.remove(run)

    def _ended(self, run: _Run, result: Any) -> None:
        self._forget(run)
        word = OUTCOMES[result.outcome] if result.outcome < len(OUTCOMES) else str(result.outcome)
        way = f", {100 * result.end_distance_m:.0f} cm from the end" if result.end_distance_m >= 0 else ""
        run.done(word == "finished", f"task {word}: {result.message}{way}")
