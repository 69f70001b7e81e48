"""The policy node's settings, and the loading of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from uma.checkpoint.default import DEFAULT
from uma.policy.goal import Matcher
from uma.policy.matchers import matcher_of
from uma.policy.sampling import DEVICES, PRECISIONS, SamplerConfig
from uma.settings import setting
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import robot
from uma_ros.runtime.topics import Topics


@dataclass(frozen=True)
class PolicySettings:
    """Checkpoint, sampler and age limits of the inputs.

    Settings that change a prediction are not live, so that a replay can reproduce the predictions of a bag.
    """

    checkpoint: str = setting(DEFAULT, "folder of the checkpoint")
    system: str = setting("", "system that the checkpoint must be of, such as uma or coil; empty = any")
    seed: int = setting(0, "seed of the sampler's noise", 0, 2**31 - 1)
    num_steps: int = setting(SamplerConfig.num_steps, "Euler steps of the flow", 1, 100)
    num_samples: int = setting(SamplerConfig.num_samples, "samples per chunk", 1, 32)
    agreeing: float = setting(
        SamplerConfig.consensus_fraction, "fraction of the samples that is averaged: the closest ones", 0.01, 1.0
    )
    device: str = setting("auto", "device of the model; auto = a GPU if available", choices=DEVICES)
    precision: str = setting(
        SamplerConfig.precision, "precision of matrix products; bfloat16 is for GPUs", choices=PRECISIONS
    )
    compile: bool = setting(SamplerConfig.compile, "use torch.compile; the start then takes minutes")
    threads: int = setting(1, "torch threads", 1, 64)
    replan_steps: int = setting(4, "actions from one chunk to the next", 1, 64, live=True)
    candidates: int = setting(
        1,
        "chunks drawn per replan for a task with keypoints; the one whose predicted motion gets farthest along the "
        "reference is taken; 1 = no choice",
        1,
        32,
    )
    prefix: int = setting(
        0,
        "leading actions that a chunk takes over from the previous one, because they are executed before it is "
        "ready; 0 = none",
        0,
        15,
    )
    predict_motion: bool = setting(True, "after each chunk, also predict its object motion (dynamics mode)", live=True)
    track_keypoints: bool = setting(
        True,
        "track the task's keypoints from image to image as inputs of the predicted motion",
        live=True,
    )
    motion_samples: int = setting(1, "samples per predicted motion, which are averaged", 1, 32, live=True)
    motion_steps: int = setting(2, "Euler steps of the flow for the predicted motion", 1, 100)
    finish_after_s: float = setting(
        1.5,
        "s; a task is finished after chunks that stay where the arm is for this long, once the arm has moved; "
        "0 = never",
        0.0,
        60.0,
        live=True,
    )
    max_hold_s: float = setting(
        4.0,
        "s; a longer HOLD of the policy or the controller aborts the goal of the action; 0 = never",
        0.0,
        3600.0,
        live=True,
    )
    image_transport: str = setting(
        "raw",
        "images to subscribe to: raw, or compressed (topics.rgb/compressed and topics.depth/compressedDepth), for a "
        "policy on another host",
        choices=("raw", "compressed"),
    )
    base_frame: str = setting("", "base frame of the robot; empty: as in the robot file")
    robot_ee_frame: str = setting("", "the end-effector frame of the reported robot pose; empty: as in the robot file")
    max_image_age: float = setting(
        0.4, "s; an older image is refused, and a longer silence causes HOLD", 0.02, 10.0, live=True
    )
    max_state_age: float = setting(0.3, "s; the same limit for robot and gripper state", 0.005, 10.0, live=True)
    max_frozen: float = setting(
        1.0,
        "s; an unchanged image with new stamps for longer counts as a frozen camera; 0 = no check, as for "
        "noiseless images",
        0.0,
        60.0,
        live=True,
    )
    require_controller: bool = setting(
        True, "predict no chunks while the controller is silent, stopped or in FAULT; false for replays"
    )
    goal_matcher: str = setting(
        "", "local folder of RoMaV2, or file of matches, for goal images; empty: SIFT features of OpenCV"
    )
    prompt: str = setting("", "prompt file of this checkpoint as the initial task; empty = none")
    recorded_task: str = setting(
        "", "topic of a recorded policy's task (uma_ros/msg/ReferenceMotion), which this node adopts; for replays"
    )
    topics: Topics = field(default_factory=Topics)


def goal_matcher(settings: PolicySettings) -> Matcher | None:
    """Return the matcher of goal images; None for the default.

    Raises:
        InputError: no such folder or file.
    """
    return matcher_of(str(find(settings.goal_matcher))) if settings.goal_matcher else None


def load_policy(settings: PolicySettings) -> tuple[Any, Any]:
    """Load two policies with shared weights: one samples chunks, the other predicts their motion.

    Raises:
        InputError: the checkpoint is of another system than ``system``.
    """
    from uma.policy.systems import load_system

    s = settings
    placed = {"seed": s.seed, "device": s.device, "precision": s.precision, "compile": s.compile}
    policy = load_system(
        find(s.checkpoint),
        system=s.system,
        threads=s.threads,
        num_steps=s.num_steps,
        num_samples=s.num_samples,
        consensus_fraction=s.agreeing,
        **placed,
    )
    motion = policy.twin(num_steps=s.motion_steps, num_samples=s.motion_samples, **placed)
    for each in (policy, motion):  # the frame of the actions on this robot
        each.contract = replace(each.contract, ee_frame=robot().frame_of(each.contract.ee_frame))
    policy.warm_up()  # captures the CUDA graph before the first image
    return policy, motion
