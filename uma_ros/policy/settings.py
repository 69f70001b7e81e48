"""The policy node's settings, and the checkpoint that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from uma.policy.sampling import DEVICES, PRECISIONS, SamplerConfig
from uma.robot import DROID
from uma.settings import setting
from uma_ros.runtime.resources import find
from uma_ros.runtime.topics import Topics


@dataclass(frozen=True)
class PolicySettings:
    """The checkpoint, how it is sampled, and how old its inputs may be. What shapes an answer is not live, so that a
    bag's answers can be made again."""

    checkpoint: str = setting("models/primitives-small", "folder of the checkpoint")
    seed: int = setting(0, "of the sampler's noise", 0, 2**31 - 1)
    num_steps: int = setting(SamplerConfig.num_steps, "Euler steps of the flow", 1, 100)
    num_samples: int = setting(SamplerConfig.num_samples, "chunks that are sampled", 1, 32)
    agreeing: float = setting(
        SamplerConfig.consensus_fraction, "share of them that is averaged: those that lie closest together", 0.01, 1.0
    )
    device: str = setting("auto", "where the model runs; auto takes a GPU where there is one", choices=DEVICES)
    precision: str = setting(
        SamplerConfig.precision, "of the model's products; bfloat16 is for GPUs", choices=PRECISIONS
    )
    compile: bool = setting(
        SamplerConfig.compile, "fuse the model's operations with torch.compile; the start then takes minutes"
    )
    threads: int = setting(1, "threads of torch", 1, 64)
    replan_steps: int = setting(4, "actions after which a new chunk is made", 1, 64, live=True)
    prefix: int = setting(
        0,
        "leading actions of a chunk that are taken from the chunk before it, because they will have been "
        "executed by the time this one is ready; 0 = none",
        0,
        15,
    )
    predict_motion: bool = setting(
        True, "after each chunk, also predict the object motion that it will cause (dynamics mode)", live=True
    )
    track_keypoints: bool = setting(
        True,
        "follow the task's keypoints from image to image and give them to the model for predicted motion",
        live=True,
    )
    motion_samples: int = setting(1, "motions that are sampled and averaged for that", 1, 32, live=True)
    motion_steps: int = setting(
        2, "Euler steps of the flow for that; more are slower and were not nearer to the truth", 1, 100
    )
    base_frame: str = setting(DROID.base_frame, "base frame of the robot")
    robot_ee_frame: str = setting(DROID.flange_frame, "the frame whose pose the robot reports")
    max_image_age: float = setting(0.4, "s; older images are refused, longer silence is a HOLD", 0.02, 10.0, live=True)
    max_state_age: float = setting(0.3, "s; the same for robot and gripper state", 0.005, 10.0, live=True)
    max_frozen: float = setting(
        1.0,
        "s; a camera that shows the same image for longer under new stamps is not believed; 0 = it is, as "
        "for noiseless images",
        0.0,
        60.0,
        live=True,
    )
    require_controller: bool = setting(
        True, "make no chunks while the controller is silent, stopped or in FAULT; off for replays"
    )
    prompt: str = setting("", "prompt file for this checkpoint, the task until another one comes; empty = none")
    recorded_task: str = setting(
        "", "topic on which a recorded policy says its task (uma_ros/msg/ReferenceMotion), to be taken up; for replays"
    )
    topics: Topics = field(default_factory=Topics)


def load_policy(settings: PolicySettings) -> tuple[Any, Any]:
    """The checkpoint twice, over the same weights: one samples chunks, the other predicts what they cause."""
    from uma.policy import Policy

    s = settings
    placed = {"seed": s.seed, "device": s.device, "precision": s.precision, "compile": s.compile}
    policy = Policy.load(
        find(s.checkpoint),
        threads=s.threads,
        num_steps=s.num_steps,
        num_samples=s.num_samples,
        consensus_fraction=s.agreeing,
        **placed,
    )
    motion = Policy(policy.bundle, num_steps=s.motion_steps, num_samples=s.motion_samples, **placed)
    policy.warm_up()  # a CUDA graph is captured before the first image comes
    return policy, motion
