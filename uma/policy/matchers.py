"""Other matchers for goal images: RoMaV2 from a local folder, and matches from a file (paper D.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uma.checkpoint.npz import load_arrays
from uma.types import InputError

WEIGHTS = "checkpoints/romav2.0.1.pt"
DINOV3 = "facebookresearch_dinov3_adc254450203739c8149213a7a69d8d905b4fcfa"
"""Files of RoMaV2 2.0.1 in a folder of `torch.hub`: its weights, and the code of its image features."""
LICENCE = "RoMaV2: MIT; its features under the DINOv3 License"
MIN_MOTION_PX = 2.0
"""Least motion of a pair without masks, pixels; the rest of the scene does not move."""


@dataclass(frozen=True)
class RomaMatcher:
    """Dense matches of RoMaV2, sampled evenly. See `uma.policy.goal.Matcher`.

    Nothing is downloaded. The folder is as `torch.hub` lays it out, see `WEIGHTS` and `DINOV3`. Its code is executed.

    Attributes:
        folder: local folder.
        count: largest number of pairs.
        min_overlap: least confidence that both images show a point, 0 to 1.
    """

    folder: str
    count: int = 500
    min_overlap: float = 0.5

    def __post_init__(self) -> None:
        for name in (WEIGHTS, DINOV3):
            if not (Path(self.folder) / name).exists():
                raise InputError(f"goal matcher: {self.folder} lacks {name}; must be a local folder of RoMaV2 2.0.1")

    def __call__(
        self,
        rgb: np.ndarray,
        goal_rgb: np.ndarray,
        is_object: np.ndarray | None = None,
        is_goal_object: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `uma.policy.goal.Matcher`.

        Raises:
            InputError: a library is missing, or the weights are damaged.
        """
        import torch

        model = self._model
        with torch.inference_mode():
            found = model.match(np.ascontiguousarray(rgb), np.ascontiguousarray(goal_rgb))
            matches, overlap, *_ = model.sample(found, self.count)
        keep = overlap.float().cpu().numpy() >= self.min_overlap
        pairs = in_pixels(matches.float().cpu().numpy()[keep], rgb.shape, goal_rgb.shape)
        return on_object(*pairs, is_object, is_goal_object)

    @cached_property
    def _model(self) -> Any:
        import torch

        try:
            import romav2
        except ImportError as error:
            raise InputError(
                f"goal matcher: {error.name or 'romav2'} is not installed: RoMaV2 needs torchvision for this torch, "
                "and then pip install romav2==2.0.1"
            ) from error
        before = torch.hub.get_dir()
        try:
            torch.load(Path(self.folder) / WEIGHTS, map_location="cpu", mmap=True, weights_only=True)  # no code in it
            torch.hub.set_dir(self.folder)
            return romav2.RoMaV2(romav2.RoMaV2.Cfg(compile=False)).eval()
        except Exception as error:  # pickle, torch and the code of the features raise their own kinds
            raise InputError(f"goal matcher: {self.folder}: {type(error).__name__}: {error}") from error
        finally:
            torch.hub.set_dir(before)


@dataclass(frozen=True)
class FileMatcher:
    """Matches of one pair of images from a file ``.npz``, read without pickle. See `uma.policy.goal.Matcher`.

    Keys: ``pixels`` and ``goal_pixels`` (N, 2) (u, v), whole numbers at pixel centres. Or ``matches`` (N, 4), (x, y) in
    both images from -1 to 1 between the images' edges, as RoMaV2 gives them.

    Attributes:
        path: the file.
    """

    path: str

    def __call__(
        self,
        rgb: np.ndarray,
        goal_rgb: np.ndarray,
        is_object: np.ndarray | None = None,
        is_goal_object: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `uma.policy.goal.Matcher`.

        Raises:
            InputError: no such file, or a key of the wrong shape.
        """
        try:
            arrays = load_arrays(Path(self.path))
        except InputError as error:
            raise InputError(f"{self.path}: no readable matches: {error}") from error
        if "matches" in arrays:
            return on_object(
                *in_pixels(self._pairs(arrays, "matches", 4), rgb.shape, goal_rgb.shape), is_object, is_goal_object
            )
        pixels, goal_pixels = (self._pairs(arrays, key, 2) for key in ("pixels", "goal_pixels"))
        if len(pixels) != len(goal_pixels):
            raise InputError(f"{self.path}: goal_pixels: {len(goal_pixels)}, must be as many as pixels, {len(pixels)}")
        return on_object(pixels, goal_pixels, is_object, is_goal_object)

    def _pairs(self, arrays: dict[str, np.ndarray], key: str, width: int) -> np.ndarray:
        value = arrays.get(key)
        if value is None or value.ndim != 2 or value.shape[1] != width or value.dtype.kind not in "fiu":
            shape = None if value is None else f"{value.dtype} {value.shape}"
            raise InputError(f"{self.path}: {key}: {shape}, must be numbers (N, {width})")
        return value.astype(np.float64)


def in_pixels(
    matches: np.ndarray, shape: tuple[int, ...], goal_shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels ``(N, 2)`` in both images of matches ``(N, 4)`` from -1 to 1 between the edges."""
    share = (matches.astype(np.float64) + 1) / 2
    return share[:, :2] * (shape[1], shape[0]) - 0.5, share[:, 2:] * (goal_shape[1], goal_shape[0]) - 0.5


def on_object(
    pixels: np.ndarray, goal_pixels: np.ndarray, is_object: np.ndarray | None, is_goal_object: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs on the object: inside the given masks; without a mask, those that move."""
    keep = np.isfinite(pixels).all(1) & np.isfinite(goal_pixels).all(1)
    for uv, mask in ((pixels, is_object), (goal_pixels, is_goal_object)):
        if mask is not None:
            H, W = mask.shape
            at = np.round(np.nan_to_num(uv, nan=-1.0))
            inside = (at >= 0).all(1) & (at < (W, H)).all(1)
            u, v = np.where(inside[:, None], at, 0).astype(int).T
            keep &= inside & mask[v, u].astype(bool)
    if is_object is None and is_goal_object is None:
        keep &= np.linalg.norm(pixels - goal_pixels, axis=1) >= MIN_MOTION_PX
    return pixels[keep], goal_pixels[keep]


def matcher_of(where: str) -> RomaMatcher | FileMatcher:
    """Return the matcher that a path names: a folder of RoMaV2, or a file of matches.

    Raises:
        InputError: neither.
    """
    return FileMatcher(where) if Path(where).is_file() else RomaMatcher(where)
