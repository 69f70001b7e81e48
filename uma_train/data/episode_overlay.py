"""An episode's stored points, tracks and end effector drawn onto its stored images."""

from __future__ import annotations

import numpy as np

from uma.geometry.camera import project
from uma.types import RATE_HZ, CameraModel
from uma_train.data.episode import METRE, Episode, EpisodeError


def image_camera(episode: Episode, image: np.ndarray) -> CameraModel:
    """Return the intrinsics at the resolution of a stored image, which shows the camera's whole image."""
    c, (h, w) = episode.camera, image.shape[:2]
    sx, sy = w / c.width, h / c.height
    # Image edges, not pixel centres, keep their position when an image is resized.
    return CameraModel(w, h, c.fx * sx, c.fy * sy, (c.cx + 0.5) * sx - 0.5, (c.cy + 0.5) * sy - 0.5, c.frame)


def draw_overlay(episode: Episode, scale: int = 5) -> np.ndarray:
    """Draw the stored data onto the first, middle and last image, side by side: ``(h, w, 3)`` uint8.

    Points are small squares in their own colour with a dark rim, so they blend in if the frames are right. Tracks are
    green if they move, blue if they rest and red if unseen; a line shows their next second. The end effector is three
    axes of 5 cm: x red, y green, z blue.

    Raises:
        EpisodeError: no image or no intrinsics.
    """
    from PIL import Image, ImageDraw

    if not len(episode.images) or episode.camera is None:
        raise EpisodeError("episode: no overlay without a stored image and camera intrinsics")
    pictures = []
    for i in np.unique(np.linspace(0, len(episode.images) - 1, 3).round().astype(int)):
        frame = episode.image_frame[i]
        step = int(episode.frame_step[frame])
        image = Image.fromarray(episode.images[i])
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        camera = image_camera(episode, np.asarray(image))
        canvas = ImageDraw.Draw(image)

        def line(points: np.ndarray, color: tuple, width: int, canvas=canvas, camera=camera) -> None:
            uv = project(points, camera)
            if np.isfinite(uv).all():
                canvas.line([tuple(p) for p in uv], fill=color, width=width)

        for p, c in zip(project(episode.xyz[frame] * METRE, camera), episode.rgb[frame], strict=True):
            if np.isfinite(p).all():
                canvas.rectangle([*(p - 2), *(p + 2)], fill=tuple(int(v) for v in c), outline=(40, 40, 40))
        if episode.meta["has_robot"]:
            T = episode.pose[step]
            for axis, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
                line(np.stack([T[:3, 3], T[:3, 3] + 0.05 * T[:3, axis]]), color, 3)
        for k in range(episode.tracks.shape[1]):
            color = (
                (255, 40, 40)
                if not episode.track_valid[step, k]
                else (40, 255, 40)
                if episode.track_moving[k]
                else (60, 120, 255)
            )
            line(episode.tracks[step : step + int(RATE_HZ) + 1, k], color, 1)
            p = project(episode.tracks[step, k], camera)
            if np.isfinite(p).all():
                canvas.ellipse([*(p - 3), *(p + 3)], fill=color)
        pictures.append(np.asarray(image))
    return np.concatenate(pictures, 1)
