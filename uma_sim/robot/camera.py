"""The exterior stereo camera: colour and metric depth from one render pass, with stereo occlusion and noise."""

from __future__ import annotations

import mujoco
import numpy as np

from uma.types import CameraModel
from uma_sim.robot.hand import HIDDEN, Hand

FULL_WIDTH, FULL_HEIGHT, FULL_FOCAL = 1280, 720, 527.0
"""A ZED 2 at HD720: pixels, and focal length in pixels."""

BASELINE = 0.12
"""Distance between the two lenses, metres; the right one lies along +x of the left one's optical frame."""

RANGE = (0.3, 3.0)
"""Range of valid depth, metres."""

DEPTH_NOISE = 0.0015
"""Standard deviation of the depth at 1 m, metres; grows with the depth squared."""

_shared_gl: list = []


def camera_model(width: int, height: int, focal: float = FULL_FOCAL) -> CameraModel:
    """Return the intrinsics of the ZED's left image at ``width`` x ``height``, with integer pixel centres."""
    return CameraModel(
        width, height, focal * width / FULL_WIDTH, focal * height / FULL_HEIGHT, (width - 1) / 2, (height - 1) / 2
    )


def fovy_degrees(focal: float = FULL_FOCAL) -> float:
    """Return the vertical field of view in degrees."""
    return float(np.degrees(2 * np.arctan(FULL_HEIGHT / 2 / focal)))


def is_seen_by_both(depth: np.ndarray, camera: CameraModel, baseline: float = BASELINE) -> np.ndarray:
    """Return ``(H, W)`` bool: the surface at each pixel of the left image is also visible in the right image.

    The left depth is warped into the right view and compared with the nearest surface there.
    """
    H, W = depth.shape
    z = np.where(np.isfinite(depth), depth, 1e6).astype(np.float32)
    u_right = np.arange(W, dtype=np.float32)[None] - np.float32(camera.fx * baseline) / z
    left = np.floor(u_right).astype(np.int32)
    is_inside = left >= 0
    row = np.arange(H, dtype=np.int32)[:, None] * (W + 1)
    index = row + np.clip(left, 0, W - 1)
    nearest = np.full(H * (W + 1), np.float32(1e6))
    # A surface covers both columns that its warped pixel straddles; otherwise the foreground would have cracks.
    np.minimum.at(nearest, index.ravel(), z.ravel())
    np.minimum.at(nearest, (index + 1).ravel(), z.ravel())
    limit = z * np.float32(0.97) - np.float32(0.01)
    return is_inside & ((nearest[index] > limit) | (nearest[index + 1] > limit))


class Renderer:
    """Renders one compiled scene.

    Args:
        model: the scene; must have a camera ``zed`` whose vertical field of view matches `fovy_degrees`.
        show_collision: draw the arm's collision meshes (geom group 3), the only ones of a fast model.
        hand: drawn in place of the robot; None for the robot.

    Attributes:
        largest: width and height of the largest image, pixels.
    """

    def __init__(self, model: mujoco.MjModel, show_collision: bool = True, hand: Hand | None = None) -> None:
        if not _shared_gl:
            # One context per process, because creating one is slower than an episode's physics.
            _shared_gl.append(mujoco.GLContext(64, 64))
        _shared_gl[0].make_current()
        self._model = model
        self.largest = (int(model.vis.global_.offwidth), int(model.vis.global_.offheight))
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=500)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[3] = show_collision
        self._option.sitegroup[:] = 0
        self._hand = hand
        if hand is not None:
            self._option.geomgroup[HIDDEN] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera("zed").id

    def render(
        self, data: mujoco.MjData, width: int, height: int, view: mujoco.MjvCamera | None = None, shift: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Render ``(H, W, 3)`` uint8 colours and ``(H, W)`` float32 depth in metres along the optical axis.

        Args:
            view: None for the camera ``zed``.
            shift: of the view along +x of its optical frame, metres.
        """
        _shared_gl[0].make_current()
        # Scenes share the context, so select this scene's buffer.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        rect = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, view or self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        if self._hand is not None:
            self._hand.draw(self._scene, data)
        for eye in self._scene.camera if shift else ():
            eye.pos = eye.pos + np.float32(shift) * np.cross(eye.forward, eye.up)
        mujoco.mjr_render(rect, self._scene, self._context)
        rgb, raw = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
        mujoco.mjr_readPixels(rgb, raw, rect, self._context)
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        # With mjDEPTH_ZEROFAR the buffer is 1 at the near plane and 0 at the far one.
        depth = (near * far) / (near + raw.astype(np.float64) * (far - near))
        return np.ascontiguousarray(rgb[::-1]), np.ascontiguousarray(depth[::-1].astype(np.float32))

    def labels(self, data: mujoco.MjData, width: int, height: int) -> np.ndarray:
        """Render what each pixel of the camera ``zed`` shows: ``(H, W)`` int32 id of its root body; 0 is the world.

        A cloth has the id of its first corner's body.
        """
        flags, ids = self._scene.flags, (mujoco.mjtRndFlag.mjRND_SEGMENT.value, mujoco.mjtRndFlag.mjRND_IDCOLOR.value)
        before = flags.copy()
        flags[list(ids)] = 1
        try:
            rgb = self.render(data, width, height)[0].astype(np.int32)
        finally:
            flags[:] = before
        index = rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16
        bodies = np.zeros(self._scene.ngeom + 1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            bodies[geom.segid + 1] = self._root(geom.objtype, geom.objid)
        return bodies[np.where(index < len(bodies), index, 0)]

    def _root(self, kind: int, index: int) -> int:
        """Return the root body of a drawn element; 0 if it has none."""
        model = self._model
        if kind == mujoco.mjtObj.mjOBJ_GEOM.value:
            return int(model.body_rootid[model.geom_bodyid[index]])
        if kind == mujoco.mjtObj.mjOBJ_FLEX.value:
            return int(model.flex_vertbodyid[model.flex_vertadr[index]])
        return 0

    def close(self) -> None:
        """Free the graphics memory."""
        if _shared_gl:
            _shared_gl[0].make_current()
            self._context.free()


def add_grain(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 colours with the sensor's noise."""
    # One 8-bit draw per pixel is cheap; a sensor's channels share most of their noise.
    grain = rng.integers(-4, 5, rgb.shape[:2], dtype=np.int16)
    return np.clip(rgb.astype(np.int16) + grain[..., None], 0, 255).astype(np.uint8)


def sense(
    rgb: np.ndarray, depth: np.ndarray, camera: CameraModel, rng: np.random.Generator | None, noise_factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Apply the camera's sensor model to a perfect image: NaN outside the range or hidden from the right lens, and
    noise.

    Args:
        rng: source of the noise; None for none.
        noise_factor: on the depth noise's standard deviation `DEPTH_NOISE`.
    """
    is_seen = is_seen_by_both(depth, camera)
    if rng is not None:
        depth = depth + np.float32(DEPTH_NOISE * noise_factor) * depth * depth * rng.standard_normal(
            depth.shape, dtype=np.float32
        )
        rgb = add_grain(rgb, rng)
    is_valid = is_seen & (depth >= RANGE[0]) & (depth <= RANGE[1])
    return rgb, np.where(is_valid, depth, np.float32(np.nan))
