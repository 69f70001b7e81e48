"""Latency of a chunk, and the network evaluations behind it, on images along a scripted episode."""

from __future__ import annotations

import platform
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from uma.types import InputError
from uma_train.baselines.pixels.layers import DiffusionHead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uma.policy.systems import System
    from uma.types import Observation, ReferenceMotion

EVERY = 6
"""Control steps from one timed observation to the next."""


@dataclass(frozen=True)
class Course:
    """Observations of one episode in the order of time, and its reference."""

    observations: list[Observation]
    reference: ReferenceMotion


def course(task: str, seed: int, count: int) -> Course:
    """Record ``count`` observations of a scene in which the scripted expert acts; the last scene stays at its end."""
    from uma_sim import experts
    from uma_sim.planning import sketches
    from uma_sim.tasks import make_station

    station = make_station(seed, task)
    try:
        expert, seen = experts.expert(task), [station.observe()]
        reference = sketches.of_scene(station, 6, 4, 0, seed)
        while len(seen) < count:
            for _ in range(EVERY):
                station.act(*expert.act(station))
            seen.append(station.observe())
    finally:
        station.close()
    return Course(seen, reference)


class Counter:
    """Counts the calls of modules."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1

    @contextmanager
    def watching(self, modules: list[nn.Module]) -> Iterator[None]:
        hooks = [m.register_forward_pre_hook(self) for m in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def latency(policy: System, way: Course) -> dict[str, Any]:
    """Time `System.predict` on every observation, after two predictions that do not count.

    Returns:
        ``median_ms`` and ``p95_ms`` with the perception of points; ``passes`` of the transformer, ``head_passes`` of
        diffusion heads, each as [median, most]; ``samples`` per prediction, which share each pass; and the machine.
    """
    task = policy.encode_task(way.observations[0], way.reference)
    network: nn.Module = policy.model  # type: ignore[attr-defined]
    heads: list[nn.Module] = [m for m in network.modules() if isinstance(m, DiffusionHead)]
    for number in range(2):
        policy.predict(way.observations[0], task, sequence=number)
    ms, passes, head_passes, refused = [], [], [], 0
    for number, observation in enumerate(way.observations):
        body, head = Counter(), Counter()
        with body.watching([first_block(network)]), head.watching(heads):
            began = time.perf_counter()
            try:
                policy.predict(observation, task, sequence=number)
            except InputError:
                refused += 1
                continue
            ms.append(1e3 * (time.perf_counter() - began))
        passes.append(body.calls)
        head_passes.append(head.calls)
    if not ms:
        raise InputError(f"latency: all {refused} observations were refused")
    return {
        "median_ms": float(np.median(ms)),
        "p95_ms": float(np.percentile(ms, 95)),
        "passes": [float(np.median(passes)), max(passes)],
        "head_passes": [float(np.median(head_passes)), max(head_passes)],
        "samples": policy.config.num_samples,
        "num_steps": policy.config.num_steps,
        "predictions": len(ms),
        "refused": refused,
        "threads": torch.get_num_threads(),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU",
    }


def first_block(network: nn.Module) -> nn.Module:
    """Return the first block of a system's transformer: it runs once per pass."""
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.ModuleList):
        return blocks[0] if len(blocks) else network.action_blocks[0]  # type: ignore[index, no-any-return]
    if callable(blocks):
        return blocks()[0]
    return network.layers[0]
