"""A stand-in for Stereolabs' ``pyzed.sl`` with the calls of its documentation, as far as the camera node makes them,
and the mistakes that a ZED makes.

It draws: pixel (x, y) of frame n is (n, x, y, 255) in blue, green, red, alpha, its depth 1 + n / 100 m.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace

import numpy as np


class ERROR_CODE(enum.Enum):
    SUCCESS = 0
    CAMERA_REBOOTING = -1
    CORRUPTED_FRAME = -2
    POTENTIAL_CALIBRATION_ISSUE = -5
    CAMERA_NOT_DETECTED = 3
    CAMERA_STREAM_FAILED_TO_START = 4
    INVALID_SVO_FILE = 9
    END_OF_SVOFILE_REACHED = 17


def _names(kind: str, *names: str):
    return enum.Enum(kind, names)


RESOLUTION = _names("RESOLUTION", "HD2K", "HD1200", "HD1080", "HD720", "SVGA", "VGA", "AUTO")
DEPTH_MODE = _names("DEPTH_MODE", "NONE", "PERFORMANCE", "QUALITY", "ULTRA", "NEURAL_LIGHT", "NEURAL", "NEURAL_PLUS")
UNIT = _names("UNIT", "MILLIMETER", "METER")
FLIP_MODE = _names("FLIP_MODE", "OFF", "ON", "AUTO")
VIEW = _names("VIEW", "LEFT", "RIGHT")
MEASURE = _names("MEASURE", "DEPTH", "XYZRGBA")
MEM = _names("MEM", "CPU", "GPU")
TIME_REFERENCE = _names("TIME_REFERENCE", "IMAGE", "CURRENT")
SIZES = {"HD720": (1280, 720), "VGA": (672, 376), "HD1080": (1920, 1080)}


class Resolution:
    def __init__(self, width: int = 0, height: int = 0) -> None:
        self.width, self.height = width, height


class Mat:
    def get_data(self) -> np.ndarray:
        return self._data


class InitParameters:
    def __init__(self) -> None:
        self.camera_resolution, self.camera_fps, self.depth_mode = RESOLUTION.HD720, 0, DEPTH_MODE.NEURAL
        self.coordinate_units = UNIT.MILLIMETER
        self.depth_minimum_distance = self.depth_maximum_distance = -1.0
        self.camera_image_flip, self.svo_real_time_mode = FLIP_MODE.AUTO, False
        self.serial, self.svo = 0, ""

    def set_from_serial_number(self, serial: int) -> None:
        self.serial = serial

    def set_from_svo_file(self, path: str) -> None:
        self.svo = path


class RuntimeParameters:
    confidence_threshold = 95
    texture_confidence_threshold = 100


class Bus:
    """State of the USB, set by a test and used by every `Camera`.

    Attributes:
        serials: serial numbers of the connected cameras.
        grabs: names of ERROR_CODE for the next grabs; then SUCCESS.
        svo_frames: length of every recording.
        stamps: ns of the next frames; then 1/15 s after the last.
        opened: the InitParameters of every successful open.
        num_open: number of open cameras.
    """

    def __init__(self) -> None:
        self.serials, self.grabs, self.stamps, self.opened = [31415926], [], [], []
        self.svo_frames, self.num_open, self.last_stamp = 3, 0, 1_700_000_000_000_000_000
        self.buffers = {}


BUS = Bus()


class Camera:
    @staticmethod
    def get_device_list():
        return [SimpleNamespace(serial_number=s) for s in BUS.serials]

    def open(self, init: InitParameters) -> ERROR_CODE:
        if init.svo:
            with open(init.svo, "rb") as file:
                if file.read(3) != b"SVO":
                    return ERROR_CODE.INVALID_SVO_FILE
        elif not BUS.serials or init.serial and init.serial not in BUS.serials:
            return ERROR_CODE.CAMERA_NOT_DETECTED
        elif BUS.num_open:
            return ERROR_CODE.CAMERA_STREAM_FAILED_TO_START
        self.init, self.position, self.frame = init, 0, -1
        self.serial = init.serial or BUS.serials[0]
        self.is_open = True
        BUS.num_open += 1
        BUS.opened.append(init)
        return ERROR_CODE.SUCCESS

    def close(self) -> None:
        if getattr(self, "is_open", False):
            self.is_open = False
            BUS.num_open -= 1

    def get_camera_information(self, resizer: Resolution | None = None):
        full = SIZES[self.init.camera_resolution.name]
        width, height = (resizer.width, resizer.height) if resizer and resizer.width else full
        left = SimpleNamespace(
            fx=530.0 * width / 1280, fy=530.0 * height / 720, cx=0.5 * width, cy=0.5 * height, disto=np.zeros(12)
        )
        configuration = SimpleNamespace(
            calibration_parameters=SimpleNamespace(left_cam=left),
            resolution=Resolution(width, height),
            fps=float(self.init.camera_fps),
        )
        return SimpleNamespace(serial_number=self.serial, camera_configuration=configuration)

    def grab(self, runtime: RuntimeParameters) -> ERROR_CODE:
        assert self.is_open and 1 <= runtime.confidence_threshold <= 100
        if self.init.svo and self.position >= BUS.svo_frames:
            return ERROR_CODE.END_OF_SVOFILE_REACHED
        error = ERROR_CODE[BUS.grabs.pop(0)] if BUS.grabs else ERROR_CODE.SUCCESS
        if error.value <= 0:
            self.position += 1
            self.frame += 1
            BUS.last_stamp = BUS.stamps.pop(0) if BUS.stamps else BUS.last_stamp + 66_666_667
        return error

    def set_svo_position(self, position: int) -> None:
        self.position = position

    def _size(self, resolution: Resolution) -> tuple[int, int]:
        return (
            (resolution.height, resolution.width) if resolution.width else SIZES[self.init.camera_resolution.name][::-1]
        )

    def retrieve_image(self, mat: Mat, view, memory, resolution: Resolution) -> ERROR_CODE:
        assert view is VIEW.LEFT and memory is MEM.CPU
        h, w = self._size(resolution)
        mat._data = BUS.buffers.setdefault(
            ("image", h, w), np.empty((h, w, 4), np.uint8)
        )  # the SDK's memory is used again and again
        mat._data[:] = np.stack(
            [np.full((h, w), self.frame), *np.indices((h, w))[::-1], np.full((h, w), 255)], axis=-1
        ).astype(np.uint8)
        return ERROR_CODE.SUCCESS

    def retrieve_measure(self, mat: Mat, measure, memory, resolution: Resolution) -> ERROR_CODE:
        assert measure is MEASURE.DEPTH and memory is MEM.CPU
        h, w = self._size(resolution)
        unit = 1.0 if self.init.coordinate_units is UNIT.METER else 1000.0
        mat._data = BUS.buffers.setdefault(("depth", h, w), np.empty((h, w), np.float32))
        mat._data[:] = (1 + self.frame / 100) * unit
        mat._data[0, :3] = np.nan, np.inf, -np.inf
        return ERROR_CODE.SUCCESS

    def get_timestamp(self, reference):
        assert reference is TIME_REFERENCE.IMAGE
        return SimpleNamespace(
            get_nanoseconds=lambda: BUS.last_stamp, get_milliseconds=lambda: BUS.last_stamp // 1_000_000
        )
