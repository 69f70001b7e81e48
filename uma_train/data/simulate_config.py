"""The configuration of one simulated data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uma.model.config import PRESETS
from uma.settings import within

EXECUTED = 4
"""Executed actions per chunk of a policy, as in the benchmark."""


@dataclass(frozen=True)
class SimulateConfig:
    """Configuration of one data set.

    Attributes:
        task: a key of `uma_sim.tasks.MODULES`, or one of `uma_sim.tasks.MIXTURES`, drawn per scene.
        out: folder of the episodes.
        episodes: number of scenes; only successful demonstrations are kept (paper B.2).
        first_seed: of the scenes; keep below 1,000,000, where the benchmark's seeds begin.
        preset: model preset that determines the stored point counts.
        workers: processes.
        images: frames that keep their colour image: none, first or all. Training with image features needs all.
        image_width, image_height: of the kept images, pixels; the camera has 320x180.
        embodiment: "hand" draws a person's hand in place of the robot, and the episodes have neither robot nor actions.
        without_actions: fraction of episodes without actions, as stand-ins for motion-only sources. Unlike in human
            video, the robot is still visible and measured.
        noise: largest scale of the execution noise, drawn from 0 per episode; labels stay clean. 0 = none.
        policy: bundle that acts for up to six stretches of some episodes at random times. The expert continues from
            there, and only its chunks are kept (DAgger). Empty = none.
        policy_share: fraction of episodes with such a policy.
        policy_attempts: the policy acts for one or two whole attempts instead, including its own end of the task.
        policy_delay: largest delay of the policy's chunks in control steps, drawn from 0 per episode.
        wander: fraction of the other episodes in which the hand drifts off by centimetres, and the expert returns it.
        camera: "scene", the scene's own random camera. "nominal", near the cameras of the benchmark and the station,
            for a policy of that view only. "around", anywhere from the robot's right over the front to its left;
            `nominal_share` of these are near the nominal one. Scenes whose object is out of view are left out.
        nominal_share: fraction of "around" cameras near the nominal one.
        stereo_share: fraction of episodes whose depth is matched from two images, see `uma_sim.robot.stereo`; slower.
        disturbances: fraction of episodes with one disturbance (a dropped object, a missed grasp, a closed gripper at
            the start).
        record: False runs the demonstrations without rendering or storing, for the yield only; much faster.
    """

    task: str = "insertion"
    out: str = "data/insertion"
    episodes: int = 1000
    first_seed: int = 0
    preset: str = "small"
    workers: int = 2
    images: Literal["none", "first", "all"] = "first"
    image_width: int = 160
    image_height: int = 90
    embodiment: Literal["robot", "hand"] = "robot"
    without_actions: float = 0.0
    noise: float = 1.6
    disturbances: float = 0.25
    policy: str = ""
    policy_share: float = 0.5
    policy_attempts: bool = False
    policy_delay: int = 0
    wander: float = 0.0
    camera: Literal["scene", "nominal", "around"] = "scene"
    nominal_share: float = 0.4
    stereo_share: float = 0.0
    record: bool = True

    def __post_init__(self) -> None:
        from uma_sim import tasks

        known = (*tasks.MODULES, *tasks.MIXTURES)
        if self.task not in known:
            raise ValueError(f"task '{self.task}': must be one of {', '.join(known)}")
        shares = {
            name: (0, 1)
            for name in ("without_actions", "disturbances", "policy_share", "wander", "nominal_share", "stereo_share")
        }
        sizes = {"policy_delay": (0, EXECUTED), "image_width": (1, 4096), "image_height": (1, 4096)}
        within(self, shares | sizes | {"noise": (0, 4)})
        if self.embodiment == "hand" and self.policy:
            raise ValueError(
                f"policy {self.policy!r}: must be empty with embodiment 'hand', which a policy does not drive"
            )
        if self.preset not in PRESETS:
            raise ValueError(f"preset '{self.preset}': must be one of {sorted(PRESETS)}")
        if not 0 <= self.first_seed <= self.first_seed + self.episodes <= 1_000_000:
            raise ValueError(f"first_seed {self.first_seed} + episodes {self.episodes}: must lie in 0 to 1,000,000")
