"""Workers on a Ray cluster: actors, with shares of processors and GPUs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from uma.types import InputError
from uma_train.jobs.schedule import ENDED, ERROR, READY, attempt, set_up

ATTEMPTS = 3
"""A busy machine can take longer to start Ray than Ray's own fixed limits."""


def start_ray(**more: Any) -> Any:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start one of this machine; return the module ``ray``.

    Args:
        more: for ``ray.init`` on this machine, such as num_cpus.

    Raises:
        InputError: ray is not installed, or does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("executor: ray is not installed, needs the extra ray (pip install uma[ray])") from error
    is_cluster = bool(os.environ.get("RAY_ADDRESS"))
    here: dict[str, Any] = {} if is_cluster else {"_node_ip_address": "127.0.0.1", "include_dashboard": False, **more}
    for attempt_left in reversed(range(ATTEMPTS)):
        if ray.is_initialized():
            break
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
        except Exception as error:  # Ray raises bare ones when a part of it is late
            ray.shutdown()
            if not attempt_left:
                raise InputError(f"executor: ray does not start in {ATTEMPTS} attempts: {error}") from error
    return ray


class RayPool:
    """Actors of the cluster that ``RAY_ADDRESS`` names, or of this machine. All machines share the output folder.

    Args:
        work, setup: as in `uma_train.jobs.local.LocalPool`.
        num_cpus, num_gpus: of each worker; shares of a GPU are allowed.

    Raises:
        InputError: ray is not installed, or does not start.
    """

    def __init__(
        self,
        work: Callable[[Any, Any], Any],
        setup: Callable[[], Any] | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
    ) -> None:
        self._ray = start_ray()
        ray = self._ray
        options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_restarts": 0, "max_task_retries": 0}
        self._kind = ray.remote(**options)(_Actor)
        self._call = ray.put(work), ray.put(setup)
        self._calls: dict[Any, Any] = {}
        self._actors: set[Any] = set()

    def start(self) -> Any:
        actor = self._kind.remote(*self._call)
        self._actors.add(actor)
        self._calls[actor.ready.remote()] = actor
        return actor

    def submit(self, handle: Any, item: Any) -> None:
        self._calls[handle.run.remote(item)] = handle

    def wait(self, seconds: float) -> list[tuple[Any, str, Any]]:
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=seconds) if self._calls else ([], [])
        return [(self._calls.pop(call), *self._result(call)) for call in done]

    def _result(self, call: Any) -> tuple[str, Any]:
        try:
            kind, value = self._ray.get(call)
            return kind, value
        except self._ray.exceptions.RayActorError as error:
            return ENDED, f"the worker ended: {str(error).splitlines()[0]}"
        except self._ray.exceptions.RayError as error:
            return ERROR, f"{type(error).__name__}: {error}"

    def kill(self, handle: Any) -> None:
        self._calls = {call: actor for call, actor in self._calls.items() if actor is not handle}
        if handle in self._actors:
            self._actors.discard(handle)
            self._ray.kill(handle)

    def close(self) -> None:
        for actor in list(self._actors):
            self.kill(actor)


class _Actor:
    def __init__(self, work: Callable[[Any, Any], Any], setup: Callable[[], Any] | None) -> None:
        self._work, self._setup, self._state = work, setup, None

    def ready(self) -> tuple[str, Any]:
        kind, state = set_up(self._setup)
        if kind != READY:
            return kind, state
        self._state = state
        return READY, None

    def run(self, item: Any) -> tuple[str, Any]:
        return attempt(self._work, item, self._state)
