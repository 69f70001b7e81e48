"""A synthetic world: a hand carries a loosely held object, so motion follows action, and the goal is not observable.

The physics are closed-form. The object's frame has x forward (its red end), y to its left and z up; the camera views
the table from above at an angle. The hand has some play, so the object follows with a lag. An intent is a motion
relative to the object, equal in every scene. Every intent is possible from one observation.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.model.inputs import PointSet
from uma.types import HORIZON
from uma_train.data.episode import Episode, quantize

PLAY = 0.01
"""Displacement of the hand before the object follows, metres."""

DURATION = 14
"""Duration of a motion in control steps; the hand rests for the rest of the horizon."""


@dataclass(frozen=True)
class Intent:
    """The motion of the hand in the object's initial frame.

    Attributes:
        forward, left, up: displacement of the hand, metres.
        turn: about the vertical, radians, to the left.
        bow: lateral offset of the path at half way, to its own left, metres.
    """

    forward: float = 0.0
    left: float = 0.0
    up: float = 0.0
    turn: float = 0.0
    bow: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One object under the hand.

    Attributes:
        T_cam_object: ``(4, 4)`` initial pose of object and hand, which share a frame then.
        points: ``(N, 3)`` metres in that frame, shuffled; rows in ``is_hand`` move with the hand, the others with the
            object.
        rgb: ``(N, 3)`` uint8: the object's front half is red, the rear half has its own colour.
        is_hand, is_fixed: ``(N,)`` bool; fixed points belong to a static object nearby.
        keypoints: ``(16, 3)`` metres, on the object, in its frame.
    """

    T_cam_object: np.ndarray
    points: np.ndarray
    rgb: np.ndarray
    is_hand: np.ndarray
    is_fixed: np.ndarray
    keypoints: np.ndarray


def box_surface(size: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sample ``(count, 3)`` points on the faces of a box of edges ``size`` about the origin."""
    p = rng.uniform(-0.5, 0.5, (count, 3))
    axis = rng.integers(0, 3, count)
    p[np.arange(count), axis] = rng.choice([-0.5, 0.5], count)
    return p * size


def draw_scene(
    rng: np.random.Generator,
    *,
    points: int,
    yaw: float = 0.8,
    rear_rgb: tuple[int, int, int] | None = None,
    size_m: tuple[float, float, float] | None = None,
) -> Scene:
    """Place an object at random under the hand, with its heading within ``yaw`` radians of the camera's.

    Args:
        points: N.
        rear_rgb, size_m: colour of the object's rear half, and its edges; None = random.
    """
    size = rng.uniform([0.07, 0.03, 0.03], [0.12, 0.06, 0.06])
    if size_m is not None:
        size = np.array(size_m)
    n_hand, n_fixed = points // 4, points // 8
    n_object = points - n_hand - n_fixed
    body = box_surface(size, n_object, rng)
    fingers = box_surface(np.array([0.02, 0.01, 0.05]), n_hand, rng) + [0, 0, 0.03]
    fingers[:, 1] += np.where(rng.random(n_hand) < 0.5, 1, -1) * (size[1] / 2 + PLAY)
    side = rng.uniform(0, 2 * np.pi)
    beside = box_surface(np.full(3, 0.05), n_fixed, rng) + [0.25 * np.cos(side), 0.25 * np.sin(side), 0]
    rear = rng.integers(30, 226, 3) if rear_rgb is None else np.array(rear_rgb)
    rgb = np.concatenate(
        [np.where(body[:, :1] > 0, [220, 30, 30], rear), np.full((n_hand, 3), 60), np.full((n_fixed, 3), 200)]
    )
    rgb = np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)
    order = rng.permutation(points)  # every prefix is spread over the scene
    part = np.repeat([0, 1, 2], [n_object, n_hand, n_fixed])[order]
    # The table frame: x away from the camera, y to its left, z up. The camera is 0.8 m away and tilted down by 45
    # degrees.
    R_cam_table = (
        np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ Rotation.from_euler("y", 45, degrees=True).as_matrix().T
    )
    R = R_cam_table @ Rotation.from_euler("z", rng.uniform(-yaw, yaw)).as_matrix()
    place = R_cam_table @ np.array([*rng.uniform(-0.12, 0.12, 2), size[2] / 2]) + [0, 0, 0.8]
    cloud = np.concatenate([body, fingers, beside])[order]
    return Scene(se3.make_pose(R, place), cloud, rgb[order], part == 1, part == 2, box_surface(size, 16, rng))


def hand_path(intent: Intent) -> np.ndarray:
    """Return ``(H + 1, 4, 4)`` poses of the hand in the object's first frame, at rest at both ends."""
    u = np.clip(np.arange(HORIZON + 1) / DURATION, 0, 1)
    s = (u**2 * (3 - 2 * u))[:, None]
    along = np.array([intent.forward, intent.left, intent.up])
    across = np.array([-intent.left, intent.forward, 0.0])
    across = across / max(np.linalg.norm(across), 1e-9)
    R = Rotation.from_euler("z", s * intent.turn).as_matrix()
    return se3.make_pose(R, s * along + 4 * s * (1 - s) * intent.bow * across)


def object_path(hand: np.ndarray) -> np.ndarray:
    """Return ``(T, 4, 4)`` poses of the object carried by a hand on ``(T, 4, 4)``; frames as in `hand_path`.

    The object rotates with the hand, and its centre stays within `PLAY` of the hand's.
    """
    p = np.zeros((len(hand), 3))
    for i in range(1, len(hand)):
        away = hand[i, :3, 3] - p[i - 1]
        distance = np.linalg.norm(away)
        p[i] = p[i - 1] + away * max(0.0, 1 - PLAY / max(distance, 1e-9))
    return se3.make_pose(hand[:, :3, :3], p)


def episode(scene: Scene, intent: Intent, *, is_video: bool = False) -> Episode:
    """Build one demonstration of ``intent`` with one frame, its first.

    Args:
        is_video: omit robot state and actions, as in sources without them.
    """
    T = scene.T_cam_object
    hand = hand_path(intent)
    body = object_path(hand)
    xyz = (scene.points @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    height = scene.points[:, 2] - scene.keypoints[:, 2].min()
    frame = quantize(PointSet(xyz, scene.rgb, height.astype(np.float32)))
    local = np.einsum("tij,kj->tki", body[:, :3, :3], scene.keypoints) + body[:, None, :3, 3]
    S = len(hand)
    poses, closed = (T @ hand).astype(np.float32), np.ones(S, np.float32)
    if is_video:
        poses, closed = np.repeat(np.eye(4, dtype=np.float32)[None], S, 0), np.zeros(S, np.float32)
    return Episode(
        *(part[None] for part in frame),
        frame_step=np.zeros(1, np.int32),
        pose=poses,
        gripper=closed,
        target_pose=np.concatenate([poses[1:], poses[-1:]]),
        target_gripper=closed,
        tracks=(local @ T[:3, :3].T + T[:3, 3]).astype(np.float32),
        static=xyz[scene.is_fixed],
        meta={
            "source": "push",
            "intent": astuple(intent),
            "T_cam_object": T.tolist(),
            "has_robot": not is_video,
            "has_actions": not is_video,
        },
    )


def carried(T_cam_object: np.ndarray, poses_cam: np.ndarray) -> np.ndarray:
    """Return the final object position ``(3,)``, first frame, metres, under ``(H, 4, 4)`` camera-frame hand targets."""
    hand = np.concatenate([np.eye(4)[None], se3.invert(T_cam_object) @ poses_cam])
    return object_path(hand)[-1, :3, 3]


HABIT = 0.85
"""Probability that an object with a blue rear half is pushed to its right. A green rear half has no preference."""


def push_episode(seed: int, *, points: int, habit: bool | None = None, side: int | None = None) -> Episode:
    """Build a push to the object's left or right by 8 to 12 cm, which only the colour's habit predicts.

    Args:
        seed: of everything; ``habit`` and ``side`` change only the colour of the scene.
        points: N.
        habit: whether the object has the habit. None = every other one.
        side: 1 = left, -1 = right. None = drawn by the habit.
    """
    rng = np.random.default_rng([1, seed])
    has_habit = rng.random() < 0.5
    if habit is not None:
        has_habit = habit
    usual = -1 if rng.random() < (HABIT if has_habit else 0.5) else 1
    distance = rng.uniform(0.08, 0.12)
    scene = draw_scene(rng, points=points, rear_rgb=(30, 60, 220) if has_habit else (40, 190, 60))
    return episode(scene, Intent(left=distance * (usual if side is None else side)))


HELD_OUT_RAD = np.radians(30)
"""Half-angle about straight left that `draw_intent` excludes, rad."""

HELD_OUT = Intent(left=0.11, up=0.05)
"""A task outside the training distribution."""


def draw_intent(rng: np.random.Generator) -> Intent:
    """Draw any motion except those to the left: 5 to 14 cm, half of them lifted, half of them rotated, some bowed."""
    direction = np.pi / 2 + rng.uniform(HELD_OUT_RAD, 2 * np.pi - HELD_OUT_RAD)
    distance = rng.uniform(0.05, 0.14)
    up, turn, bow = rng.uniform(0.03, 0.1), rng.uniform(-1, 1), rng.choice([-1, 1]) * rng.uniform(0.03, 0.06)
    lifts, turns, bows = rng.random(3) < [0.5, 0.5, 0.3]
    return Intent(distance * np.cos(direction), distance * np.sin(direction), up * lifts, turn * turns, bow * bows)


OBJECT_M = (0.1, 0.05, 0.04)
OBJECT_RGB = (40, 190, 60)
"""Edges and rear colour of the one object of the intent world.

If objects varied, an encoder could separate a batch's tasks by appearance and ignore the motion.
"""


def intent_episode(
    seed: int, *, points: int, yaw: float, intent: Intent | None = None, is_video: bool = False
) -> Episode:
    """Build an episode of a random intent, or of ``intent``, on the one object in a new pose within ``yaw``."""
    rng = np.random.default_rng([2, seed])
    scene = draw_scene(rng, points=points, yaw=yaw, rear_rgb=OBJECT_RGB, size_m=OBJECT_M)
    return episode(scene, draw_intent(rng) if intent is None else intent, is_video=is_video)
