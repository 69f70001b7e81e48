"""DROID's published calibrations, intrinsics and texts: the JSON files of `KarlP/droid`, as far as a folder has them.

Every entry is optional. Files are read once, when they are first asked for.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from uma.types import CameraModel, InputError

FULL = 1280, 720
"""Size of the images that the intrinsics belong to, pixels."""
NOMINAL_F = 531.7
"""Focal length of a ZED 2 at that size, rectified, within 1 %, pixels."""
EXTRINSICS = "cam2base_extrinsics.json", "cam2base_extrinsic_superset.json"
ID = re.compile(r"(?P<lab>[^+/]+)\+(?P<user>[^+/]+)\+(?P<time>\d{4}-\d\d-\d\d-\d\dh-\d\dm-\d\ds)")
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@cache
def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"annotations: {path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"annotations: {path}: {type(value).__name__}, must be a mapping")
    return value


class Annotations:
    """The files of a folder; without a folder, nothing is known.

    Raises:
        InputError: the folder does not exist.
    """

    def __init__(self, folder: str | Path = "") -> None:
        self._folder = Path(folder).resolve() if folder else None
        if self._folder is not None and not self._folder.is_dir():
            raise InputError(f"annotations: {folder}: no such folder")

    def _entry(self, file: str, episode: str) -> Any:
        return _load(self._folder / file).get(episode) if self._folder is not None else None

    def extrinsics(self, episode: str, serial: str) -> tuple[list[float], str] | None:
        """Return the 6-vector of a camera and the name of its file; None if unknown."""
        for file in EXTRINSICS:
            entry = self._entry(file, episode)
            if isinstance(entry, dict) and isinstance(entry.get(serial), list):
                return entry[serial], file
        return None

    def intrinsics(self, episode: str, serial: str) -> tuple[CameraModel, str]:
        """Return the camera at 1280x720, and "published"; the nominal one, and "nominal", where unknown or zero."""
        entry = self._entry("intrinsics.json", episode)
        values = entry.get(serial) if isinstance(entry, dict) else None
        w, h = FULL
        if isinstance(values, list) and len(values) == 4 and all(values):
            fx, cx, fy, cy = (float(v) for v in values)
            return CameraModel(w, h, fx, fy, cx, cy), "published"
        return CameraModel(w, h, NOMINAL_F, NOMINAL_F, (w - 1) / 2, (h - 1) / 2), "nominal"

    def text(self, episode: str) -> str:
        """Return the first instruction that is not empty; "" if there is none."""
        return next((text for text in self._texts(self._entry("droid_language_annotations.json", episode)) if text), "")

    @staticmethod
    def _texts(entry: Any) -> tuple[str, str, str]:
        entry = entry if isinstance(entry, dict) else {}
        a, b, c = (str(entry.get(f"language_instruction{i}") or "").strip() for i in (1, 2, 3))
        return a, b, c

    def serial(self, episode: str, camera: str) -> str:
        """Return the serial of ext1 or ext2; "" if unknown."""
        entry = self._entry("camera_serials.json", episode)
        for key, value in entry.items() if isinstance(entry, dict) else ():
            for name, serial in ((key, value), (value, key)):
                if str(name).startswith(camera) and str(serial).isdigit():
                    return str(serial)
        return ""

    def episode_of_texts(self, texts: tuple[str, str, str]) -> str:
        """Return the only episode with three texts.

        Raises:
            InputError: none has them, or several do.
        """
        found = self._by_texts().get(texts, [])
        if len(found) != 1 or not any(texts):
            raise InputError(
                f"language_instruction: {len(found)} episodes have {texts}, must be exactly 1; --mapping names others"
            )
        return found[0]

    def _by_texts(self) -> dict[tuple[str, str, str], list[str]]:
        if self._folder is None:
            return {}
        return _index_of_texts(self._folder / "droid_language_annotations.json")


@cache
def _index_of_texts(path: Path) -> dict[tuple[str, str, str], list[str]]:
    index: dict[tuple[str, str, str], list[str]] = {}
    for episode, entry in _load(path).items():
        index.setdefault(Annotations._texts(entry), []).append(episode)
    return index


def time_of_folder(folder: str) -> str:
    """Return the time in an episode's name, of its folder's: "Fri_Jul__7_10:20:45_2023"; "" for another form."""
    match = re.fullmatch(r"\w{3}_(\w{3})_+(\d+)_(\d\d)[:_](\d\d)[:_](\d\d)_(\d{4})", folder)
    if not match or match[1] not in MONTHS:
        return ""
    month, day, h, m, s, year = MONTHS.index(match[1]) + 1, int(match[2]), *match.groups()[2:]
    return f"{year}-{month:02d}-{day:02d}-{h}h-{m}m-{s}s"


def lab_and_time(path: str) -> tuple[str, str]:
    """Return laboratory and time of an episode's path, ".../LAB/success/DATE/FOLDER/...".

    Raises:
        InputError: the path has another form.
    """
    parts = path.split("/")
    for i, part in enumerate(parts):
        if part in ("success", "failure") and 0 < i and i + 2 < len(parts) and (when := time_of_folder(parts[i + 2])):
            return parts[i - 1], when
    raise InputError(f"file_path: {path!r}, must contain LAB/success/DATE/FOLDER")
