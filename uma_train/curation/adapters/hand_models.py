"""MediaPipe's two hand models, run by LiteRT: a palm is found, then 21 landmarks in a turned square around it.

OpenCV 4.14 also loads them. But the landmarks in metres that it returns are wrong by up to 0.3 m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.types import InputError
from uma_train.data.optional import needed

FILES = "palm_detection_full.tflite", "hand_landmark_full.tflite"
"""As in the wheel of mediapipe 0.10, under modules/palm_detection and modules/hand_landmark."""
PALM_PX, HAND_PX = 192, 224
"""Sides of the models' square images."""
LEAST_PALM, LEAST_HAND = 0.5, 0.5
"""Least scores of a palm, and of the landmarks."""
STRIDES = (8, 2), (16, 6)
"""Stride of the palm detector's cells, pixels, and anchors in each."""
BASE = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Landmarks that place the square in the next image."""
Net = Callable[[np.ndarray], list[np.ndarray]]
"""``(1, side, side, 3)`` float32 RGB, 0 to 1 -> the model's outputs, in the order of `OUTPUTS`."""
OUTPUTS = ("Identity", "Identity_1"), ("Identity", "Identity_1", "Identity_3")
"""Palm: boxes and points ``(1, 2016, 18)``, scores ``(1, 2016, 1)``. Hand: landmarks in pixels of the square
``(1, 63)``, score ``(1, 1)``, landmarks in metres ``(1, 63)``."""


@dataclass(frozen=True)
class Found:
    """A hand in an image.

    Attributes:
        pixels: ``(21, 2)`` (u, v).
        shape: ``(21, 3)`` metres, in a frame of its own.
    """

    pixels: np.ndarray
    shape: np.ndarray


@dataclass(frozen=True)
class HandModels:
    """The two models."""

    palm: Net
    hand: Net

    @staticmethod
    def load(folder: str | Path) -> HandModels:
        """Load `FILES` from a local folder.

        Raises:
            InputError: a file is absent or no such model, or LiteRT is not installed.
        """
        for file in FILES:
            if not (Path(folder) / file).is_file():
                raise InputError(f"hands: {folder} lacks {file}; must hold {' and '.join(FILES)}")
        palm, hand = (_net(Path(folder) / file, names) for file, names in zip(FILES, OUTPUTS, strict=True))
        return HandModels(palm, hand)

    def find(self, image: np.ndarray, last: Found | None = None) -> Found | None:
        """Return the hand in an image ``(H, W, 3)`` RGB; None without one.

        Args:
            last: the hand in the image before, near which it is looked for first.
        """
        found = None if last is None else self._landmarks(image, around(last.pixels))
        if found is None and (square := self._palm(image)) is not None:
            found = self._landmarks(image, square)
        return found

    def _palm(self, image: np.ndarray) -> np.ndarray | None:
        import cv2

        H, W = image.shape[:2]
        side = max(H, W)
        padded = np.zeros((side, side, 3), np.uint8)
        top, left = (side - H) // 2, (side - W) // 2
        padded[top : top + H, left : left + W] = image
        small = cv2.resize(padded, (PALM_PX, PALM_PX), interpolation=cv2.INTER_AREA)
        raw, logits = self.palm(_blob(small))[:2]
        best = int(logits[0, :, 0].argmax())
        if 1 / (1 + np.exp(-np.clip(logits[0, best, 0], -100, 100))) < LEAST_PALM:
            return None
        values = raw[0, best].reshape(-1, 2) / PALM_PX
        values[[0, *range(2, 9)]] += anchors()[best]
        pixels = values * side - (left, top)
        size = values[1] * side
        wrist, middle = pixels[2], pixels[4]  # points 0 and 2, after the box
        return square_at(pixels[0], size, angle(wrist, middle), 2.6, -0.5)

    def _landmarks(self, image: np.ndarray, square: np.ndarray) -> Found | None:
        """Return the hand in a square ``(4,)``: centre (u, v), side, and turn."""
        import cv2

        M = to_square(square)
        crop = cv2.warpAffine(np.ascontiguousarray(image), M[:2], (HAND_PX, HAND_PX))
        points, score, shape = self.hand(_blob(crop))[:3]
        if float(score.ravel()[0]) < LEAST_HAND:
            return None
        uv = points.reshape(21, 3)[:, :2].astype(np.float64)
        pixels = np.concatenate([uv, np.ones((21, 1))], 1) @ np.linalg.inv(M)[:2].T
        return Found(pixels, shape.reshape(21, 3).astype(np.float64))


def _net(path: Path, names: tuple[str, ...]) -> Net:
    kind = needed("ai_edge_litert.interpreter", "hands").Interpreter
    try:
        net = kind(model_path=str(path))
        net.allocate_tensors()
        (given,) = net.get_input_details()
        found = {detail["name"]: detail["index"] for detail in net.get_output_details()}
        order = [found[name] for name in names]
    except (ValueError, RuntimeError, LookupError) as error:
        raise InputError(f"hands: {path}: no such model: {type(error).__name__}: {error}") from error

    def run(image: np.ndarray) -> list[np.ndarray]:
        net.set_tensor(given["index"], image)
        net.invoke()
        return [net.get_tensor(index) for index in order]

    return run


def _blob(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[None], np.float32) / 255


def anchors() -> np.ndarray:
    """Return the centres ``(2016, 2)`` of the palm detector's cells, as shares of the image."""
    out = []
    for stride, count in STRIDES:
        cells = PALM_PX // stride
        v, u = np.mgrid[0:cells, 0:cells]
        out.append(((np.stack([u, v], -1).reshape(-1, 2) + 0.5) / cells).repeat(count, 0))
    return np.concatenate(out)


def angle(wrist: np.ndarray, middle: np.ndarray) -> float:
    """Return the turn after which a hand points upwards in the image, radians."""
    d = middle - wrist
    return float(np.arctan2(d[0], -d[1]))


def square_at(centre: np.ndarray, size: np.ndarray, turn: float, scale: float, shift: float) -> np.ndarray:
    """Return a square ``(4,)`` around a box.

    Args:
        size: width and height of the box.
        scale: side of the square over the longer side of the box.
        shift: along the box's own height, as a share of it.
    """
    c, s = np.cos(turn), np.sin(turn)
    u, v = centre + shift * size[1] * np.array([-s, c])
    return np.array([u, v, scale * size.max(), turn])


def around(pixels: np.ndarray) -> np.ndarray:
    """Return the square in which landmarks ``(21, 2)`` are looked for again."""
    turn = angle(pixels[0], (pixels[5] + 2 * pixels[9] + pixels[13]) / 4)
    c, s = np.cos(turn), np.sin(turn)
    R = np.array([[c, s], [-s, c]])  # image to the hand's own axes
    local = pixels[list(BASE)] @ R.T
    low, high = local.min(0), local.max(0)
    return square_at((low + high) / 2 @ R, high - low, turn, 2.0, -0.1)


def to_square(square: np.ndarray) -> np.ndarray:
    """Return ``(3, 3)``, pixels of the image to pixels of the square."""
    u, v, side, turn = square
    c, s = np.cos(turn), np.sin(turn)
    f = HAND_PX / max(side, 1.0)
    R = f * np.array([[c, s], [-s, c]])
    M = np.eye(3)
    M[:2, :2], M[:2, 2] = R, HAND_PX / 2 - R @ (u, v)
    return M
