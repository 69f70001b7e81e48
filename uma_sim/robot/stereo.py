"""Depth by matching a left with a right image, as a stereo camera computes it."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from uma.geometry import se3
from uma.types import CameraModel
from uma_sim.robot.camera import BASELINE, RANGE, Renderer

SCALE = 2
"""Pixels of the matched images per pixel of the station's image and axis."""

AMPLITUDE = (0.015, 0.05)
"""Range of the standard deviation of each layer of the texture, as a fraction of a surface's brightness."""

TEXELS = (0.004, 0.008, 0.02, 0.06)
"""Edges of the texture's cells, metres: one layer each. A layer fades where a pixel covers more than a cell."""

GRAIN = 1.0
"""Standard deviation of the sensor's noise in each image, grey levels of 255."""

BLUR = 0.6
"""Standard deviation of the lens's blur, pixels of the matched images."""

WINDOW = (9, 9)
"""Window of `refine`, pixels of the matched images."""

BACKGROUND = 5.0
"""Depth at which everything farther has its texture, metres. The sky of the scene moves with the camera."""

BLOCK = 3
"""Window of `match`, pixels."""

TILE = 512
"""Edge of the repeated texture, cells."""


class Texture:
    """A fixed random pattern in space that modulates the brightness of every surface.

    Equal points in both images have equal brightness. The pattern does not move with objects.

    Args:
        rng: source of the pattern and of its amplitude in `AMPLITUDE`.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        import cv2

        self.amplitude = float(rng.uniform(*AMPLITUDE))
        tile = cv2.GaussianBlur(rng.standard_normal((TILE, TILE), dtype=np.float32), (0, 0), 0.7)
        self._tile = tile / tile.std()
        # Points are projected along a random direction per layer, so no surface is without texture in all of them.
        self._axes = [np.linalg.qr(rng.normal(size=(3, 3)))[0][:2] / edge for edge in TEXELS]
        self._offsets = rng.uniform(0, TILE, (len(TEXELS), 2))

    def applied(self, grey: np.ndarray, depth: np.ndarray, camera: CameraModel, T_base_cam: np.ndarray) -> np.ndarray:
        """Return a textured image, ``(H, W)`` float32, from ``(H, W)`` brightness and depth in metres."""
        import cv2

        u = (np.arange(camera.width) - camera.cx) / camera.fx
        v = (np.arange(camera.height) - camera.cy) / camera.fy
        z = np.minimum(depth.astype(np.float32), np.float32(BACKGROUND))
        pattern = np.zeros_like(z)
        for edge, axes, offset in zip(TEXELS, self._axes, self._offsets):
            rows, shift = axes @ T_base_cam[:3, :3], axes @ T_base_cam[:3, 3] + offset
            x, y = (
                z * (row[0] * u[None] + row[1] * v[:, None] + row[2]).astype(np.float32) + np.float32(s)
                for row, s in zip(rows, shift)
            )
            layer = cv2.remap(self._tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            pattern += layer / (1 + (z / np.float32(camera.fx * edge)) ** 4)
        return grey * (1 + np.float32(self.amplitude) * pattern)


def match(left: np.ndarray, right: np.ndarray, reach: int) -> np.ndarray:
    """Return the disparity of the left image, ``(H, W)`` float32 pixels; NaN where there is none.

    A match must be unique, hold from right to left too, lie within the right image, and be no speckle.

    Args:
        left, right: ``(H, W)`` uint8, rectified.
        reach: largest disparity, pixels.
    """
    import cv2

    number = 16 * math.ceil((reach + 1) / 16)
    matcher = cv2.StereoSGBM_create(
        minDisparity=0,
        numDisparities=number,
        blockSize=BLOCK,
        P1=8 * BLOCK**2,
        P2=32 * BLOCK**2,
        disp12MaxDiff=1,
        uniquenessRatio=8,
        preFilterCap=31,
        speckleWindowSize=150,
        speckleRange=1,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    # OpenCV skips the leftmost columns, as many as there are disparities.
    left, right = (cv2.copyMakeBorder(image, 0, 0, number, 0, cv2.BORDER_REPLICATE) for image in (left, right))
    disparity = matcher.compute(left, right)[:, number:].astype(np.float32) / 16
    is_inside = np.arange(disparity.shape[1])[None] >= disparity
    return np.where((disparity > 0) & is_inside, disparity, np.float32(np.nan))


def refine(left: np.ndarray, right: np.ndarray, disparity: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Return the disparity ``(H, W)`` with its fraction of a pixel from the images' gradients.

    Semi-global matching alone prefers whole pixels, and lags on slanted surfaces.

    Args:
        left, right: as for `match`.
        disparity: of `match`; changes by at most 1 pixel.
        rounds: linear steps.
    """
    import cv2

    left, right = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7) for image in (left, right))
    slopes = [cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=1, scale=0.5) for image in (left, right)]
    is_valid = np.isfinite(disparity)
    u, v = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in left.shape[::-1]))
    found = np.where(is_valid, disparity, 0)
    for _ in range(rounds):
        warped, slope = (cv2.remap(image, u - found, v, cv2.INTER_CUBIC) for image in (right, slopes[1]))
        slope = np.where(is_valid, (slope + slopes[0]) / 2, 0)
        error = cv2.boxFilter((warped - left) * slope, -1, WINDOW)
        step = error / (cv2.boxFilter(slope * slope, -1, WINDOW) + np.float32(GRAIN**2 / 4))
        found = np.clip(found + step, np.maximum(disparity - 1, 0.01), disparity + 1)
    return np.where(is_valid, found, np.float32(np.nan))


def reduce(disparity: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Return ``(H / scale, W / scale)``: the mean disparity of one surface in each block of pixels, NaN for none.

    The surface is that of the block's median pixel; others within 1 pixel of disparity belong to it.
    """
    H, W = disparity.shape
    blocks = disparity.reshape(H // scale, scale, W // scale, scale).swapaxes(1, 2).reshape(H // scale, W // scale, -1)
    ordered = np.sort(blocks, -1)  # NaN last
    count = np.isfinite(ordered).sum(-1)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 2, -1)
    is_same = np.abs(ordered - middle) <= 1
    total = np.where(is_same, ordered, 0).sum(-1)
    # Half of a block is enough; fewer are the rim of a surface.
    return np.where(2 * count >= scale * scale, total / np.maximum(is_same.sum(-1), 1), np.float32(np.nan))


class StereoDepth:
    """Measures the depth of a scene with two images `BASELINE` apart.

    Args:
        renderer: of the scene.
        camera: intrinsics of the depth image, which is that of the left lens.
        rng: source of the texture.

    Raises:
        ValueError: the matched images, `SCALE` times as large, exceed the renderer's largest.
    """

    def __init__(self, renderer: Renderer, camera: CameraModel, rng: np.random.Generator) -> None:
        import cv2

        self._renderer = renderer
        self._camera = CameraModel(
            camera.width * SCALE,
            camera.height * SCALE,
            camera.fx * SCALE,
            camera.fy * SCALE,
            (camera.width * SCALE - 1) / 2,
            (camera.height * SCALE - 1) / 2,
        )
        if self._camera.width > renderer.largest[0] or self._camera.height > renderer.largest[1]:
            limit = "x".join(str(n // SCALE) for n in renderer.largest)
            raise ValueError(f"image: {camera.width}x{camera.height}, must be at most {limit} for stereo depth")
        self.texture = Texture(rng)
        # Processes share the cores, one thread each.
        cv2.setNumThreads(1)

    def images(self, data: mujoco.MjData, rng: np.random.Generator | None) -> list[np.ndarray]:
        """Return the left and the right image, ``(SCALE * H, SCALE * W)`` uint8 grey.

        Args:
            rng: source of the sensors' noise; None for none.
        """
        import cv2

        zed = data.camera("zed")
        # MuJoCo's cameras look along -z.
        T_base_cam = se3.make_pose(zed.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0]), zed.xpos)
        found = []
        for shift in (0.0, BASELINE):
            rgb, depth = self._renderer.render(data, self._camera.width, self._camera.height, shift=shift)
            T = T_base_cam @ se3.make_pose(np.eye(3), np.array([shift, 0, 0]))
            grey = self.texture.applied(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), depth, self._camera, T)
            grey = cv2.GaussianBlur(grey, (0, 0), BLUR)
            if rng is not None:
                grey = grey + np.float32(GRAIN) * rng.standard_normal(grey.shape, dtype=np.float32)
            found.append(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        return found

    def measure(self, data: mujoco.MjData, rng: np.random.Generator | None) -> np.ndarray:
        """Return the depth, ``(H, W)`` float32 metres; NaN where nothing matches or outside of `RANGE`.

        The arguments are those of `images`.
        """
        strength = self._camera.fx * BASELINE
        pair = self.images(data, rng)
        depth = strength / reduce(refine(*pair, match(*pair, math.ceil(strength / RANGE[0]))))
        return np.where((depth >= RANGE[0]) & (depth <= RANGE[1]), depth, np.nan).astype(np.float32)
