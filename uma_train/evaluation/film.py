"""Films of closed-loop episodes: a short film of each, a strip of moments, and a sheet of strips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from uma_sim.station import Station

SIZE = (480, 270)
TILES = 6
EVERY = 2
"""Control steps between two frames of a film: 7.5 frames per second."""


class Film:
    """Captures a frame every `EVERY` control steps from the station's camera."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def look(self, station: Station, step: int) -> None:
        if step % EVERY == 0:
            self.frames.append(station.picture(*SIZE))

    def save(self, path: Path, title: str) -> None:
        """Write ``path``.webp, a film, and ``path``.png, a strip of `TILES` moments; nothing without frames."""
        from PIL import Image, ImageDraw

        if not self.frames:
            return
        images = [Image.fromarray(f) for f in self.frames]
        images[0].save(
            path.with_suffix(".webp"),
            save_all=True,
            append_images=images[1:],
            duration=round(EVERY * 1000 / 15),
            quality=70,
        )
        picks = np.linspace(0, len(images) - 1, TILES).round().astype(int)
        w, h = SIZE[0] // 2, SIZE[1] // 2
        strip = Image.new("RGB", (TILES * (w + 2) - 2, h + 16), "white")
        for i, pick in enumerate(picks):
            strip.paste(images[pick].resize((w, h), Image.Resampling.LANCZOS), (i * (w + 2), 16))
        ImageDraw.Draw(strip).text((2, 2), title, fill="black")
        strip.save(path.with_suffix(".png"))


def sheet(strips: list[Path], path: Path) -> None:
    """Stack several strips in one image."""
    from PIL import Image

    images = [Image.open(s) for s in strips]
    whole = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), "white")
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    whole.save(path, quality=85)
