"""The configuration of one benchmark run."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Literal

from uma.checkpoint.default import DEFAULT
from uma.policy.sampling import SamplerConfig
from uma.settings import within
from uma.sketch.human import STYLES
from uma.types import RATE_HZ

POLICIES = (
    "uma",
    "uma_mpc",
    "uma_text",
    "uma_prompt",
    "uma_zeroed",
    "uma_other_task",
    "hold_still",
    "grasp_and_follow",
    "demonstrator",
)
"""Names of the actors.

* ``uma``: the checkpoint, of whatever system, with the task from the reference motion. ``uma_mpc`` takes the best of
  ``candidates`` chunks (`uma.policy.planner`).
* ``uma_text``: task from the scene's instruction alone. ``uma_prompt``: task from the file ``prompt``.
* ``uma_zeroed``: zero task tokens. ``uma_other_task``: task tokens of the scene with seed + 500,000.
* ``hold_still``, ``grasp_and_follow``: without a network. ``demonstrator``: the scripted expert on the true state.
"""


def _cameras() -> tuple[str, ...]:
    from uma_sim.scene import CAMERAS

    return CAMERAS


def _holders() -> tuple[str, ...]:
    from uma_sim.tasks.insertion import HOLDERS

    return tuple(HOLDERS)


def _offers(task: str, option: str) -> bool:
    from uma_sim.tasks import load

    return option in signature(load(task).sample).parameters


@dataclass(frozen=True)
class BenchmarkConfig:
    """Configuration of one benchmark run.

    Attributes:
        task: a key of `uma_sim.tasks.MODULES`.
        checkpoint: bundle.
        episodes, first_seed: scenes ``first_seed`` to ``first_seed + episodes - 1``; training uses seeds below
            1,000,000.
        policies: of `POLICIES`.
        prompt: file of `uma adapt`, of the policy ``uma_prompt``.
        candidates: chunks of ``uma_mpc``.
        execute: control steps between two observations.
        streamed_ms: chunks pass through the node's controller, see `SimulatedController`, after this simulated latency
            in milliseconds (130 is typical of the node graph on two cores). 0 = without the controller: each action is
            the station's target for one step.
        delay: without ``streamed_ms``, latency of a chunk in control steps; the last chunk continues meanwhile.
        prefix: given leading actions from the previous chunk, see `uma.policy.prefix`; 0 = none. It should equal the
            delay.
        num_steps, num_samples, consensus_fraction: see `SamplerConfig`.
        keypoints, waypoints: of the reference motion.
        sketch: style of the reference, of `uma.sketch.human.STYLES`; "exact" is the planned motion itself.
        held_out: evaluation-only shapes, where the task offers them.
        holders: of insertion, a key of `uma_sim.tasks.insertion.HOLDERS`; empty = the task's default.
        pinned: additional points on a second, static object (holder, dustpan or the cloth's resting edge), 0 to 4.
        camera: a camera name of `uma_sim.scene.CAMERAS`; empty = the scene's camera.
        policy_frame: kind of the policy frame, overriding the checkpoint's; empty = its own.
        depth: "model", the true depth with stereo occlusion and noise, or "stereo", matched from two images, see
            `uma_sim.robot.stereo`.
        depth_noise: factor on the standard deviation of the depth noise of "model".
        camera_shift_mm, camera_turn_deg: displacement of the camera since its calibration, in a direction and about an
            axis drawn per scene.
        with_motion: sample actions jointly with motion tokens.
        linger: control steps after a success during which it must persist, within the time limit; 0 = the first
            success ends the episode. A task's own `Task.lasts` is a lower limit.
        max_steps: time limit in control steps; 0 = the task's limit for demonstrations.
        workers: processes, one torch thread each.
        films: number of first scenes that are filmed, per policy, with a contact sheet.
        out: folder of the result; a run with the same configuration resumes there.
    """

    task: str = "insertion"
    checkpoint: str = DEFAULT
    episodes: int = 50
    first_seed: int = 1_000_000
    policies: tuple[str, ...] = ("uma", "uma_zeroed", "uma_other_task", "hold_still", "grasp_and_follow")
    prompt: str = ""
    candidates: int = 8
    execute: int = 4
    streamed_ms: float = 130.0
    delay: int = 0
    prefix: int = 0
    num_steps: int = SamplerConfig.num_steps
    num_samples: int = SamplerConfig.num_samples
    consensus_fraction: float = SamplerConfig.consensus_fraction
    keypoints: int = 6
    waypoints: int = 4
    sketch: str = "exact"
    held_out: bool = False
    holders: str = ""
    pinned: int = 0
    camera: str = ""
    policy_frame: str = ""
    depth: Literal["model", "stereo"] = "model"
    depth_noise: float = 1.0
    camera_shift_mm: float = 0.0
    camera_turn_deg: float = 0.0
    with_motion: bool = False
    linger: int = 15
    max_steps: int = 0
    workers: int = 2
    films: int = 0
    out: str = "runs/benchmark"

    def __post_init__(self) -> None:
        if unknown := set(self.policies) - set(POLICIES):
            raise ValueError(f"policies: {sorted(unknown)[0]!r}, must be of {POLICIES}")
        if ("uma_prompt" in self.policies) != bool(self.prompt):
            raise ValueError(f"prompt: {self.prompt!r}, must be a file with the policy uma_prompt, and only with it")
        if not 0 <= self.delay <= self.execute or self.execute + self.delay > 16:
            raise ValueError(
                f"execute {self.execute}, delay {self.delay}: delay must be at most execute, and their sum at most 16"
            )
        if not 0 <= self.streamed_ms < 1e3 * self.execute / RATE_HZ:
            raise ValueError(
                f"streamed_ms: {self.streamed_ms:g}, must be at least 0 and below "
                f"{1e3 * self.execute / RATE_HZ:.0f} for {self.execute} executed actions"
            )
        if self.streamed_ms and self.delay:
            raise ValueError(
                f"delay: {self.delay}, must be 0 with streamed_ms {self.streamed_ms:g}; for a delay "
                "without the controller use --streamed-ms 0"
            )
        if not 0 <= self.prefix <= 16 - self.execute:
            raise ValueError(
                f"prefix: {self.prefix}, must be 0 to {16 - self.execute}, because {self.execute} actions of the "
                "previous chunk are executed"
            )
        within(
            self,
            {
                "keypoints": (1, 16),
                "candidates": (1, 256),
                "waypoints": (2, 64),
                "pinned": (0, 4),
                "depth_noise": (0, 100),
                "consensus_fraction": (0.01, 1),
                "camera_shift_mm": (0, 500),
                "camera_turn_deg": (0, 90),
                "linger": (0, 1000),
            },
        )
        if self.sketch not in STYLES:
            raise ValueError(f"sketch: {self.sketch!r}, must be one of {', '.join(STYLES)}")
        if self.held_out and not _offers(self.task, "held_out"):
            raise ValueError(f"held_out: True, must be False for task {self.task!r}, which has no held-out shapes")
        if self.holders and not _offers(self.task, "holders"):
            raise ValueError(f"holders: {self.holders!r}, must be empty for task {self.task!r}, which has no holders")
        if self.holders and self.holders not in (known := _holders()):
            raise ValueError(f"holders: {self.holders!r}, must be one of {known}")
        if self.camera and self.camera not in (known := _cameras()):
            raise ValueError(f"camera: {self.camera!r}, must be one of {known}")
        if self.depth not in ("model", "stereo"):
            raise ValueError(f"depth: {self.depth!r}, must be 'model' or 'stereo'")
        if self.depth == "stereo" and self.depth_noise != 1:
            raise ValueError(
                f"depth_noise: {self.depth_noise:g}, must be 1 with depth 'stereo', which has its own noise"
            )
        if self.policy_frame not in ("", "camera", "camera_nominal", "table"):
            raise ValueError(
                f"policy_frame: {self.policy_frame!r}, must be 'camera', 'camera_nominal', 'table' or empty"
            )
        if self.keypoints + self.pinned > 16:
            raise ValueError(f"keypoints {self.keypoints}, pinned {self.pinned}: must be at most 16 together")

    @property
    def scene_options(self) -> dict[str, bool | str]:
        """Options of the task's ``sample`` that differ from its defaults."""
        return {name: getattr(self, name) for name in ("held_out", "holders") if getattr(self, name)}

    @property
    def sampler(self) -> SamplerConfig:
        """The policy's sampler configuration."""
        return SamplerConfig(
            num_steps=self.num_steps, num_samples=self.num_samples, consensus_fraction=self.consensus_fraction
        )
