"""ZED stereo cameras through Stereolabs' SDK, live or from an SVO recording."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from uma.settings import check_settings, setting
from uma.types import CameraModel, InputError
from uma_ros.drivers.camera.source import CorruptFrame, EndOfStream, RgbdFrame
from uma_ros.drivers.device import DeviceError, LinkError, MissingPackage
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import robot

RESOLUTIONS = ("HD2K", "HD1200", "HD1080", "HD720", "SVGA", "VGA", "AUTO")
DEPTH_MODES = ("NEURAL_LIGHT", "NEURAL", "NEURAL_PLUS", "ULTRA", "QUALITY", "PERFORMANCE")
WELL = ("SUCCESS", "POTENTIAL_CALIBRATION_ISSUE", "CONFIGURATION_FALLBACK", "SENSORS_DATA_REQUIRED")
"""Names of the members of sl.ERROR_CODE for a good frame. Comparison of the members differs between SDK versions."""


@dataclass(frozen=True)
class ZedSettings:
    """Settings of the ZED: camera or recording, resolution, depth."""

    serial: int = setting(0, "serial number of the camera; 0 = the only connected one", 0, 2**31 - 1)
    svo: str = setting("", "SVO recording to play instead of a camera; its frames have the present time")
    svo_loop: bool = setting(False, "restart the recording at its end")
    resolution: str = setting(
        "HD720", "resolution of the sensor; the choices depend on the camera", choices=RESOLUTIONS
    )
    width: int = setting(640, "pixels; width of the published images; 0 = the sensor's", 0, 4096)
    height: int = setting(360, "pixels; height of the published images; 0 = the sensor's", 0, 4096)
    depth_mode: str = setting("NEURAL", "depth mode of the SDK", choices=DEPTH_MODES)
    confidence: int = setting(95, "percent; confidence threshold of depth; lower values remove more depth", 1, 100)
    texture_confidence: int = setting(100, "percent; the same for areas without texture", 1, 100)
    min_depth: float = setting(0.2, "m; smallest depth", 0.1, 3.0)
    max_depth: float = setting(3.0, "m; largest depth", 0.5, 20.0)
    frame: str = setting(
        "", "name of the left camera's optical frame, as in the calibration; empty: as in the robot file"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if (self.width == 0) != (self.height == 0):
            raise InputError(f"width {self.width}, height {self.height}: both or neither must be 0")
        if self.min_depth >= self.max_depth:
            raise InputError(f"min_depth: {self.min_depth}, must be below max_depth {self.max_depth}")


def load_sdk() -> ModuleType:
    """Return ``pyzed.sl``. Raises `MissingPackage`, also for the unrelated PyPI package pyzed."""
    try:
        return importlib.import_module("pyzed.sl")
    except ModuleNotFoundError as error:
        if error.name not in ("pyzed", "pyzed.sl"):
            raise
    except ImportError as error:
        raise MissingPackage(
            f"pyzed.sl cannot be loaded ({error}): the ZED SDK's libraries or CUDA are missing or have another version"
        ) from None
    get = "install the ZED SDK (it needs an NVIDIA GPU) and run its get_python_api.py, which installs Stereolabs' pyzed"
    try:
        importlib.import_module("pyzed")
    except ImportError:
        raise MissingPackage(f"pyzed is missing: {get}; it is not on PyPI") from None
    raise MissingPackage(
        "the installed pyzed is an unrelated package from PyPI, a client of another company: pip uninstall "
        f"pyzed; then {get}"
    )


class ZedSource:
    """The left camera's rectified image, and depth registered to it.

    Args:
        rate: requested frame rate, Hz.
        sl: the SDK's module; None = `load_sdk`.
    """

    def __init__(self, settings: ZedSettings, rate: float, sl: Any = None) -> None:
        self.settings, self.rate = settings, rate
        self.sl = sl or load_sdk()
        self.period = 1.0 / rate if settings.svo else 0.0
        self._camera: Any = None
        try:
            self._svo = str(find(settings.svo)) if settings.svo else ""
        except InputError as error:
            raise DeviceError(f"svo: {error}") from None

    def open(self) -> str:
        sl, s = self.sl, self.settings
        init = sl.InitParameters()
        init.camera_resolution = getattr(sl.RESOLUTION, s.resolution)
        init.camera_fps = round(self.rate)
        init.depth_mode = getattr(sl.DEPTH_MODE, s.depth_mode)
        init.coordinate_units = sl.UNIT.METER  # the SDK's default is the millimetre
        init.depth_minimum_distance, init.depth_maximum_distance = s.min_depth, s.max_depth
        init.camera_image_flip = sl.FLIP_MODE.OFF
        if s.svo:
            init.set_from_svo_file(self._svo)
            init.svo_real_time_mode = False
        elif s.serial:
            init.set_from_serial_number(s.serial)
        camera = sl.Camera()
        error = camera.open(init)
        if error.name not in WELL:
            camera.close()
            seen = ", ".join(str(d.serial_number) for d in sl.Camera.get_device_list()) or "none"
            text = f"{'svo ' + s.svo if s.svo else 'ZED' + (f' {s.serial}' if s.serial else '')}: {error.name}"
            raise DeviceError(text) if s.svo else LinkError(f"{text}; connected cameras: {seen}")
        self._camera = camera
        self._size = sl.Resolution(s.width, s.height) if s.width else sl.Resolution(0, 0)
        self._runtime = sl.RuntimeParameters()
        self._runtime.confidence_threshold, self._runtime.texture_confidence_threshold = (
            s.confidence,
            s.texture_confidence,
        )
        self._image, self._depth = sl.Mat(), sl.Mat()
        info = camera.get_camera_information(self._size)
        left, size = info.camera_configuration.calibration_parameters.left_cam, info.camera_configuration.resolution
        self.model = CameraModel(
            size.width, size.height, left.fx, left.fy, left.cx, left.cy, s.frame or robot().camera_frame
        )
        return (
            f"ZED {info.serial_number}, {size.width}x{size.height} at {info.camera_configuration.fps:g} Hz, "
            f"depth {s.depth_mode}"
        )

    def grab(self) -> RgbdFrame:
        sl = self.sl
        error = self._camera.grab(self._runtime)
        if error.name == "END_OF_SVOFILE_REACHED":
            if not self.settings.svo_loop:
                raise EndOfStream(f"svo {self.settings.svo}: ended")
            self._camera.set_svo_position(0)
            error = self._camera.grab(self._runtime)
        if error.name == "CORRUPTED_FRAME":
            raise CorruptFrame("ZED: grab: CORRUPTED_FRAME: check the cable and the USB bandwidth")
        if error.name not in WELL:
            raise LinkError(f"ZED: grab: {error.name}")
        for what, error in (
            ("image", self._camera.retrieve_image(self._image, sl.VIEW.LEFT, sl.MEM.CPU, self._size)),
            ("depth", self._camera.retrieve_measure(self._depth, sl.MEASURE.DEPTH, sl.MEM.CPU, self._size)),
        ):
            if error.name not in WELL:
                raise LinkError(f"ZED: {what}: {error.name}")
        # Copies, because the SDK writes the next frame into the same memory.
        image = np.ascontiguousarray(self._image.get_data()[..., :3])
        depth = np.array(self._depth.get_data(), dtype=np.float32)
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan  # the SDK marks too small and too large depth by infinities
        stamp = (
            None if self.settings.svo else int(self._camera.get_timestamp(sl.TIME_REFERENCE.IMAGE).get_nanoseconds())
        )
        return RgbdFrame(image, "bgr8", depth, self.model, stamp)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
        self._camera = None
