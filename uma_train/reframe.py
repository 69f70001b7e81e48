"""`uma reframe`: episodes from cameras all about the scene, told in the frame of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from uma.geometry import se3
from uma_train.data.episode import METRE, Episode, EpisodeError, list_episodes, load_episode, save_episode


@dataclass(frozen=True)
class ReframeConfig:
    """What is told anew.

    Attributes:
        source: folder of episodes whose calibration is known (``T_base_cam`` in their meta).
        out: folder of the new ones, of the same names; those that are there are kept.
    """

    source: str
    out: str


def told_from(episode: Episode, T_base_cam: np.ndarray) -> Episode:
    """An episode in the frame of a camera at ``T_base_cam`` ``(4, 4)``, without images: they were not taken from there.

    What is seen of every surface stays what the episode's own camera saw. A policy lives in the camera's frame (paper 3.3); where training is
    too short to learn to act in any, episodes told in the frame of the camera that it will have keep the variety of views without asking for that.

    Raises:
        EpisodeError: the episode does not say where its camera stood, or it has no robot.
    """
    if "T_base_cam" not in episode.meta:
        raise EpisodeError("episode: meta has no T_base_cam, so where its camera stood is not known")
    T = se3.invert(T_base_cam) @ np.array(episode.meta["T_base_cam"])

    def points(x: np.ndarray) -> np.ndarray:
        return se3.apply(T, x.astype(np.float64))

    return replace(
        episode,
        xyz=np.clip(np.round(points(episode.xyz * METRE) / METRE), -32767, 32767).astype(np.int16),
        pose=(T @ episode.pose).astype(np.float32),
        target_pose=(T @ episode.target_pose).astype(np.float32),
        tracks=points(episode.tracks).astype(np.float32),
        static=points(episode.static).astype(np.float32),
        plan=points(episode.plan).astype(np.float32),
        images=None,
        image_frame=None,
        meta={**episode.meta, "camera": None, "T_base_cam": T_base_cam.tolist(), "T_base_seen_from": episode.meta["T_base_cam"]},
    )


def reframe(config: ReframeConfig, console: Console | None = None) -> int:
    """Tell all episodes of a folder in the frame of the simulated station's camera at its nominal place; returns how many are new.

    Raises:
        EpisodeError: as `told_from`, naming the file.
    """
    from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at

    console = console or Console()
    T_base_cam = look_at(CAMERA_POSITION, CAMERA_TARGET)
    out = Path(config.out)
    if out.resolve() == Path(config.source).resolve():
        raise ValueError(f"out {out}: must be another folder than source")
    files = list_episodes(config.source)
    out.mkdir(parents=True, exist_ok=True)
    missing = [f for f in files if not (out / f.name).exists()]
    for file in track(missing, "episodes", console=console):
        episode = load_episode(file)
        try:
            episode = told_from(episode, T_base_cam)
        except EpisodeError as e:
            raise EpisodeError(f"{file}: {e}") from e
        save_episode(out / file.name, episode)
    console.print(f"{len(missing)} of {len(files)} episodes are new in {out}")
    return len(missing)
