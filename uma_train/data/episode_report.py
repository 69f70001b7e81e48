"""Inspection of episodes: contents, and a check of the frames by projecting the stored data onto the stored images."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.geometry.camera import project
from uma.types import RATE_HZ, CameraModel
from uma_train.data.episode import METRE, Episode, EpisodeError, list_episodes, load_episode
from uma_train.data.episode_overlay import draw_overlay, image_camera
from uma_train.data.folder_report import card_lines, clip_line, episodes_in, is_clip, other_lines
from uma_train.data.shards import open_shards

MIN_INSIDE = 0.95
"""Least fraction of points inside the image for correct frames. Points come from the image, so all should be."""

MAX_COLOR = 16.0
"""Largest median colour difference between a point and the image at its projection, of 255.

It separates calibrated cameras from ones rotated by about 2 degrees or shifted by about 3 cm.
"""

BEFORE_SHUFFLED = 0.6
"""Largest ratio of the colour difference to the one with shuffled colours.

A scene of one colour would agree with any camera.
"""


@dataclass(frozen=True)
class FrameCheck:
    """Agreement of an episode's stored points, tracks and end effector with its images.

    Attributes:
        images: number of compared images.
        inside: fraction of points that project into the image from in front of the camera.
        tracks_inside: the same fraction of seen tracks.
        color: median difference, of 255, between a point's stored colour and the image at its projection, as a mean of
            the channels.
        shuffled: the same with shuffled point colours within each frame, as for a wrong camera.
        depth_m: median depth difference between seen, moving tracks and the nearest point in the image; NaN without
            one.
        end_effector_m: median distance of the end effector to the nearest point, metres; NaN without a robot.
    """

    images: int
    inside: float
    tracks_inside: float
    color: float
    shuffled: float
    depth_m: float
    end_effector_m: float

    @property
    def failure(self) -> str:
        """Why the frames are wrong; "" if they are right."""
        if self.inside < MIN_INSIDE:
            return f"{100 * self.inside:.1f} % of the points fall inside the image, must be {100 * MIN_INSIDE:.0f} %"
        limit = min(MAX_COLOR, BEFORE_SHUFFLED * self.shuffled)
        if self.color > limit:
            return f"points differ from the image in colour by {self.color:.1f} of 255 in the median, limit {limit:.1f}"
        return ""


def is_inside(uv: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return ``(...)`` bool: pixels ``(..., 2)`` inside the image; NaN (behind the camera) is outside."""
    with np.errstate(invalid="ignore"):
        return ((uv >= -0.5) & (uv < np.array([camera.width, camera.height]) - 0.5)).all(-1)


def check_frames(episode: Episode) -> FrameCheck | None:
    """Compare an episode with its images; None without images or intrinsics."""
    if not len(episode.images) or episode.camera is None:
        return None
    rng = np.random.default_rng(0)
    inside, tracks_inside, color, shuffled, depth, ee = ([] for _ in range(6))
    for image, frame in zip(episode.images, episode.image_frame, strict=True):
        camera, step = image_camera(episode, image), episode.frame_step[frame]
        xyz, rgb = episode.xyz[frame] * METRE, episode.rgb[frame].astype(float)
        uv = project(xyz, camera)
        is_in = is_inside(uv, camera)
        inside.append(is_in)
        u, v = np.round(uv[is_in]).astype(int).T
        there = image[v, u].astype(float)
        color.append(np.abs(there - rgb[is_in]).mean(-1))
        shuffled.append(np.abs(there - rng.permutation(rgb[is_in])).mean(-1))
        seen = episode.tracks[step][episode.track_valid[step]]
        tracks_inside.append(is_inside(project(seen, camera), camera))
        on = episode.tracks[step][episode.track_valid[step] & episode.track_moving]
        track_uv = project(on, camera)
        for point, pixel in zip(on[is_inside(track_uv, camera)], track_uv[is_inside(track_uv, camera)], strict=True):
            if is_in.any():
                nearest = np.linalg.norm(uv[is_in] - pixel, axis=1).argmin()
                depth.append(abs(float(xyz[is_in][nearest, 2] - point[2])))
        if episode.meta["has_robot"]:
            ee.append(float(np.linalg.norm(xyz - episode.pose[step, :3, 3], axis=1).min()))

    def middle(values: list) -> float:
        return float(np.median(values)) if len(values) else float("nan")

    def share(values: list[np.ndarray]) -> float:
        flat = np.concatenate(values)
        return float(flat.mean()) if len(flat) else float("nan")

    colors, dealt = (np.concatenate(v) for v in (color, shuffled))
    return FrameCheck(
        len(episode.images),
        share(inside),
        share(tracks_inside),
        middle(colors),
        middle(dealt),
        middle(depth),
        middle(ee),
    )


def frame_lines(episode: Episode) -> tuple[list[str], bool]:
    """Format the result of `check_frames`, and return whether the frames are right (or unchecked)."""
    check = check_frames(episode)
    if check is None:
        return [
            f"frames     not checked: {'no camera intrinsics' if episode.camera is None else 'no image stored'}"
        ], True
    lines = [
        f"frames     {'WRONG: ' + check.failure if check.failure else 'right'}",
        f"  {check.images} images: {100 * check.inside:.1f} % of the points and "
        f"{100 * check.tracks_inside:.1f} % of the seen tracks fall inside",
        f"  colour of points and image differ by {check.color:.1f} of 255 in the median "
        f"({check.shuffled:.1f} with shuffled colours)",
        f"  depth of moving tracks and of the nearest point in the image differ by {1e3 * check.depth_m:.0f} "
        "mm in the median",
    ]
    if episode.meta["has_robot"]:
        lines.append(f"  end effector to the nearest point: {1e3 * check.end_effector_m:.0f} mm in the median")
    return lines, not check.failure


def _report(path: Path) -> tuple[str, bool]:
    e = load_episode(path)
    meta, (S, K) = e.meta, e.track_valid.shape
    xyz = e.xyz * METRE
    path_m = np.linalg.norm(np.diff(e.tracks, axis=0), axis=-1).sum(0)
    lines = [
        f"{path}",
        f"source     {meta['source'] or 'unknown'}; text {meta['text']!r}; coordinates in "
        f"{meta['camera_frame'] or 'an unnamed camera frame'}",
        f"steps      {S} at {RATE_HZ:.0f} Hz, {S / RATE_HZ:.1f} s; {len(xyz)} frames of {xyz.shape[1]} "
        "points, one every "
        f"{np.diff(e.frame_step).mean() / RATE_HZ if len(xyz) > 1 else 0:.2f} s; {len(e.images)} images"
        + (f" of {e.images.shape[2]}x{e.images.shape[1]}" if len(e.images) else ""),
        "points     "
        + ", ".join(f"{a} {xyz[..., i].min():.2f} to {xyz[..., i].max():.2f}" for i, a in enumerate("xyz"))
        + f", height {e.height.min() * METRE:.3f} to {e.height.max() * METRE:.3f} m",
        f"tracks     {K}, {int(e.track_moving.sum())} of them moving; seen in "
        f"{100 * e.track_valid.mean():.1f} % of the steps; "
        f"path {path_m.min():.2f} to {path_m.max():.2f} m; {len(e.static)} static points",
    ]
    if meta["has_robot"]:
        p = e.pose[:, :3, 3]
        lines.append(
            f"robot      measured over {np.linalg.norm(np.diff(p, axis=0), axis=-1).sum():.2f} m, gripper "
            f"{e.gripper.min():.2f} to {e.gripper.max():.2f}"
        )
    else:
        lines.append("robot      none")
    if meta["has_actions"]:
        ahead = 1e3 * np.linalg.norm(e.target_pose[:, :3, 3] - e.pose[:, :3, 3], axis=-1)
        lines.append(
            f"actions    commanded {np.median(ahead):.0f} mm ahead of the measured pose in the median, "
            f"{ahead.max():.0f} mm at most"
        )
    else:
        lines.append("actions    none: supervises motion only")
    frames, is_right = frame_lines(e)
    return "\n".join(lines + frames), is_right


def episode_report(path: str | Path) -> str:
    """Report the counts, rates, ranges, validity and frame check of one episode file.

    Raises:
        EpisodeError: the file is damaged.
    """
    return _report(Path(path))[0]


def folder_report(folder: str | Path) -> str:
    """Report the counts of a folder of episodes, packed or not, and the frame check of each episode with images.

    Raises:
        EpisodeError: no episode, or a damaged one.
    """
    return _folder(Path(folder))[0]


def _folder(folder: Path) -> tuple[str, bool]:
    if (folder / "index.json").exists():
        store = open_shards(folder)
        named, kind = (
            ((f"episode {i}", store[i]) for i in range(len(store))),
            f"{len(store.shards)} shards of {store.points} points a frame",
        )
    else:
        named, kind = ((p.name, load_episode(p)) for p in list_episodes(folder)), "one file each"
    count = steps = frames = images = robots = actions = texts = checked = 0
    seen, moving, wrong, sources = [], [], [], set()
    for name, e in named:
        count, steps, frames, images = count + 1, steps + len(e.pose), frames + len(e.xyz), images + len(e.images)
        robots, actions, texts = (
            robots + e.meta["has_robot"],
            actions + e.meta["has_actions"],
            texts + bool(e.meta["text"]),
        )
        sources.add(e.meta["source"] or "unknown")
        seen.append(e.track_valid.mean())
        moving.append(e.track_moving.mean())
        check = check_frames(e)
        checked += check is not None
        if check is not None and check.failure:
            wrong.append(f"  {name}: {check.failure}")
    lines = [
        f"{folder}: {count} episodes ({kind}) from {', '.join(sorted(sources))}",
        f"  {steps} steps ({steps / RATE_HZ / 60:.1f} min), {frames} frames, {images} images",
        f"  {robots} with a robot, {actions} with actions, {texts} with a text",
        f"  tracks seen in {100 * np.mean(seen):.1f} % of the steps, {100 * np.mean(moving):.1f} % of them move",
        f"frames     {f'WRONG in {len(wrong)} of' if wrong else 'right in all'} {checked} episodes that have images",
    ]
    return "\n".join(lines + wrong), not wrong


def _shown(what: Path) -> tuple[str, bool, Path | None]:
    """Return the text, whether the frames are right, and where the episodes are."""
    if not what.is_dir():
        return (clip_line(what), True, None) if what.is_file() and is_clip(what) else (*_report(what), what)
    at = episodes_in(what)
    if at is None:
        return "\n".join(other_lines(what)), True, None
    text, is_right = _folder(at)
    return "\n".join([text, *card_lines(what)]), is_right, at


def main(argv: list[str]) -> int:
    """``uma inspect EPISODE|FOLDER``. The exit code is 1 if a frame check fails and 2 if a file is damaged."""
    parser = argparse.ArgumentParser(
        prog="uma inspect", description="show a training episode or a folder of episodes, and check its frames"
    )
    parser.add_argument("what", type=Path, help="an episode (.npz), a folder of episodes, or a packed folder")
    parser.add_argument(
        "--out",
        type=Path,
        help="also draw the episode's data onto its images, into this PNG; for a folder: of its first episode",
    )
    args = parser.parse_args(argv)
    try:
        text, is_right, args.what = _shown(args.what)
        print(text)
        if args.out and args.what is None:
            raise EpisodeError("--out: no episode to draw")
        if args.out:
            from PIL import Image

            packed = args.what.is_dir() and (args.what / "index.json").exists()
            first = (
                open_shards(args.what)[0]
                if packed
                else load_episode(list_episodes(args.what)[0] if args.what.is_dir() else args.what)
            )
            Image.fromarray(draw_overlay(first)).save(args.out)
            print(f"drawn      {args.out}")
    except EpisodeError as e:
        print(f"uma inspect: {e}", file=sys.stderr)
        return 2
    return 0 if is_right else 1
