"""Hindsight references: sparse waypoints drawn from an episode's own later motion (paper 3.3, Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from uma.settings import within
from uma.sketch.human import STYLES as HUMAN_STYLES
from uma.sketch.human import HumanNoise, human
from uma.types import MAX_KEYPOINTS, ReferenceMotion
from uma_train.data.episode import MOVED_M

REST_M, REST_STEPS = 0.01, 6
"""A keypoint is at rest if it stays within this distance of its final position for at least this many steps."""

STRAIGHT_M = 0.005
"""Largest deviation from straight legs without a further corner, root mean square over keypoints, metres."""


STYLES: tuple[tuple[float, str | HumanNoise], ...] = (
    (0.4, "careful"),
    (0.3, "sloppy"),
    (0.15, "translate"),
    (0.15, HumanNoise()),
)
"""Shares of the styles of human sketches, see `uma.sketch.human`."""

AS_DRAWN = ("lift", "carry", "put", "turn", "slide", "tilt", "out", "primitives/move")
"""Intents that nothing in the scene completes: the sketch itself says where to. Their ends and turns get no errors, for
the actions of the episode would contradict them; the clicks do. A holder completes the intent "into"."""


@dataclass(frozen=True)
class ReferenceSampling:
    """Distribution of the sampled references.

    Attributes:
        min_keypoints, max_keypoints, min_waypoints, max_waypoints: ranges, drawn uniformly.
        to_the_end: fraction whose last waypoint lies in the episode's last steps.
        at_rest: fraction, of those, whose last waypoint is where the last object comes to rest. Like a person's sketch,
            they omit the retreat of the tool.
        at_corners: fraction with waypoints at the sharpest bends of the path, as a person places a few waypoints.
        by_distance: fraction, of the others, with waypoints spread over the travelled distance instead of over time,
            because the object is at rest most of the time.
        even_phase: fraction with evenly spaced phases, as of a person who gives none.
        pinned: fraction that also contains 1 to 3 static points of a second object.
        planned: fraction, of those that start with an episode with a plan (`Episode.plan`), sketched from the plan. A
            plan omits detours that happened during the execution, as a person's sketch does.
        noise_m: largest standard deviation of the waypoint noise, drawn per reference, metres.
        human: fraction with the errors of a person's sketch (`STYLES`), in episodes with known extrinsics.
    """

    min_keypoints: int = 3
    max_keypoints: int = 8
    min_waypoints: int = 2
    max_waypoints: int = 6
    to_the_end: float = 0.85
    at_rest: float = 0.0
    at_corners: float = 0.0
    by_distance: float = 0.75
    even_phase: float = 0.7
    pinned: float = 0.15
    planned: float = 0.0
    noise_m: float = 0.003
    human: float = 0.0

    def __post_init__(self) -> None:
        for name, least, most in (("keypoints", 1, MAX_KEYPOINTS), ("waypoints", 2, ReferenceMotion.MAX_WAYPOINTS)):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not least <= low <= high <= most:
                raise ValueError(
                    f"sampling.min_{name} {low}, max_{name} {high}: must be {least} <= min <= max <= {most}"
                )
        shares = ("to_the_end", "at_rest", "at_corners", "by_distance", "even_phase", "pinned", "planned", "human")
        within(self, {name: (0, 1) for name in shares}, "sampling.")


def draw_reference(
    tracks: np.ndarray,
    static: np.ndarray,
    start: int,
    frame: str,
    config: ReferenceSampling,
    rng: np.random.Generator,
    is_valid: np.ndarray | None = None,
    is_moving: np.ndarray | None = None,
    plan: np.ndarray | None = None,
    T_base_cam: np.ndarray | None = None,
    intent: str = "",
) -> ReferenceMotion:
    """Draw a sparse reference for the motion after step ``start``.

    Keypoints are drawn among those that are seen at ``start`` and move in the episode. If there are none, they are
    drawn among the seen keypoints, and otherwise among all.

    Args:
        tracks: ``(S, K, 3)`` metres.
        static: ``(Q, 3)`` points that may be pinned.
        frame: name of the frame of both.
        is_valid: ``(S, K)`` bool, where a track was seen; other waypoints are marked invalid. None = everywhere.
        is_moving: ``(K,)`` bool. None = all.
        plan: ``(W, K, 3)`` metres, planned motion of the keypoints from ``start`` on (`Episode.plan`). None or empty =
            unknown.
        T_base_cam: ``(4, 4)`` extrinsics of the frame; None = unknown, without the errors of a person.
        intent: of the episode.
    """
    if config.planned and plan is not None and len(plan) and rng.random() < config.planned:
        drawn = sketch_plan(plan, static, frame, config, rng, None if is_valid is None else is_valid[start])
    else:
        drawn = _hindsight(tracks, static, start, frame, config, rng, is_valid, is_moving)
    if not config.human or T_base_cam is None or rng.random() >= config.human:
        return drawn
    style = STYLES[int(rng.choice(len(STYLES), p=[share for share, _ in STYLES]))][1]
    noise = HUMAN_STYLES[style] if isinstance(style, str) else style
    if intent in AS_DRAWN:
        noise = replace(noise, waypoint_m=0.0, bias_m=0.0, rotation_rad=0.0, translate_only=0.0, hovers=0.0)
    return human(drawn, T_base_cam, rng, noise)


def _hindsight(
    tracks: np.ndarray,
    static: np.ndarray,
    start: int,
    frame: str,
    config: ReferenceSampling,
    rng: np.random.Generator,
    is_valid: np.ndarray | None,
    is_moving: np.ndarray | None,
) -> ReferenceMotion:
    """Draw a sparse reference from the recorded motion, see `draw_reference`."""
    S, K, _ = tracks.shape
    if rng.random() >= config.to_the_end:
        last = int(rng.integers(start, S))
    elif config.at_rest and rng.random() < config.at_rest:
        last = comes_to_rest(tracks if is_moving is None else tracks[:, is_moving]) + int(rng.integers(0, 4))
    else:
        last = S - 1 - int(rng.integers(0, 4))
    last = min(max(last, start), S - 1)
    pool = np.arange(K)
    if is_valid is not None and is_valid[start].any():
        pool = np.flatnonzero(is_valid[start])
    if is_moving is not None and is_moving[pool].any():
        pool = pool[is_moving[pool]]
    span = tracks[start : last + 1]
    middle = span[:, pool].mean(1)
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=-1))])
    n = int(rng.integers(config.min_waypoints, config.max_waypoints + 1))
    inner = np.sort(rng.random(max(n - 2, 0)))
    fraction = np.concatenate([[0.0], inner, [1.0]])
    keypoints = rng.choice(
        pool, min(len(pool), int(rng.integers(config.min_keypoints, config.max_keypoints + 1))), replace=False
    )
    if config.at_corners and rng.random() < config.at_corners and travelled[-1] > 0.02:
        steps = corners(span[:, keypoints], n)
        n, fraction = len(steps), travelled[steps] / travelled[-1]
    elif rng.random() < config.by_distance and travelled[-1] > 0.02:
        steps = np.searchsorted(travelled, fraction * travelled[-1]).clip(0, len(span) - 1)
        steps[0], steps[-1] = 0, len(span) - 1
    else:
        steps = np.round(fraction * (len(span) - 1)).astype(int)
    phase = np.linspace(0, 1, n) if rng.random() < config.even_phase else fraction
    noise = config.noise_m * rng.random()
    waypoints = [*(span[steps][:, keypoints] + rng.normal(0, noise, (n, len(keypoints), 3))).transpose(1, 0, 2)]
    phases = [phase] * len(waypoints)
    valid = [np.ones(n, bool)] * len(waypoints)
    if is_valid is not None:
        seen = is_valid[start : last + 1][steps][:, keypoints].T
        valid = [v if v.any() else np.arange(n) == 0 for v in seen]
    still = _pinned(static, MAX_KEYPOINTS - len(waypoints), config, rng)
    waypoints += [still[q : q + 1] for q in range(len(still))]
    phases += [np.zeros(1)] * len(still)
    valid += [np.ones(1, bool)] * len(still)
    return ReferenceMotion(tuple(waypoints), tuple(phases), tuple(valid), frame)


def sketch_plan(
    plan: np.ndarray,
    static: np.ndarray,
    frame: str,
    config: ReferenceSampling,
    rng: np.random.Generator,
    is_seen: np.ndarray | None = None,
) -> ReferenceMotion:
    """Draw a sparse reference from a plan ``(W, K, 3)``: some moving keypoints at its corners or evenly spaced.

    Args:
        is_seen: ``(K,)`` bool, keypoints that are seen at the start; others are drawn only if no seen one moves.

    The other arguments are those of `draw_reference`.
    """
    moves = np.linalg.norm(plan - plan[0], axis=-1).max(0) > MOVED_M
    pools = (moves if is_seen is None else moves & is_seen, moves, np.ones(plan.shape[1], bool))
    pool = np.flatnonzero(next(p for p in pools if p.any()))
    keypoints = rng.choice(
        pool, min(len(pool), int(rng.integers(config.min_keypoints, config.max_keypoints + 1))), replace=False
    )
    count = int(rng.integers(config.min_waypoints, config.max_waypoints + 1))
    is_bent = config.at_corners and rng.random() < config.at_corners
    at = corners(plan[:, keypoints], count).astype(float) if is_bent else np.linspace(0, len(plan) - 1, count)
    before = np.floor(at).astype(int).clip(0, max(len(plan) - 2, 0))
    share = (at - before)[:, None, None]
    way = (1 - share) * plan[before][:, keypoints] + share * plan[np.minimum(before + 1, len(plan) - 1)][:, keypoints]
    way = way + rng.normal(0, config.noise_m * rng.random(), way.shape)
    still = _pinned(static, MAX_KEYPOINTS - len(keypoints), config, rng)
    return ReferenceMotion((*way.transpose(1, 0, 2), *still[:, None]), frame=frame)


def _pinned(static: np.ndarray, most: int, config: ReferenceSampling, rng: np.random.Generator) -> np.ndarray:
    """Return ``(n, 3)`` pinned points: none or, in a fraction of the references, up to three of ``static``."""
    if not len(static) or rng.random() >= config.pinned:
        return static[:0]
    return static[rng.choice(len(static), min(len(static), most, int(rng.integers(1, 4))), replace=False)]


def corners(path: np.ndarray, most: int) -> np.ndarray:
    """Return the first step, the last step, and the steps between with the sharpest corners of the path.

    Each new corner is the step with the largest distance from the straight legs so far.

    Args:
        path: ``(S, K, 3)`` of all keypoints together, metres.
        most: largest number of steps, 2 or more; a straight path has fewer.

    Returns:
        ``(n,)`` increasing steps.
    """
    flat = path.reshape(len(path), -1)
    steps = np.array([0, len(flat) - 1] if len(flat) > 1 else [0])
    while 1 < len(steps) < most:
        leg = np.searchsorted(steps, np.arange(len(flat)), "right").clip(1, len(steps) - 1)
        a, along = flat[steps[leg - 1]], flat[steps[leg]] - flat[steps[leg - 1]]
        share = ((flat - a) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
        off = np.linalg.norm(flat - a - share.clip(0, 1)[:, None] * along, axis=1)
        off[steps] = 0.0
        if off.max() < STRAIGHT_M * np.sqrt(path.shape[1]):
            break
        steps = np.sort(np.append(steps, off.argmax()))
    return steps


def comes_to_rest(tracks: np.ndarray) -> int:
    """Return the last step at which a keypoint of ``(S, K, 3)`` that rests at the end comes to rest.

    It is the last step of the episode if no keypoint rests.
    """
    is_off = np.linalg.norm(tracks - tracks[-1], axis=-1) > REST_M
    stops = np.where(is_off.any(0), len(tracks) - is_off[::-1].argmax(0), 0)
    stops = stops[stops <= len(tracks) - REST_STEPS]
    return int(stops.max()) if len(stops) else len(tracks) - 1
