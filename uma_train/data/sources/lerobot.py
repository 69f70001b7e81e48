"""DROID as a LeRobot data set, version 2.1 or 3.0, joined to published depth.

The ports keep no file paths. So an episode is found by its three texts, or by a mapping file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from uma.policy.demonstration import Demonstration
from uma.types import InputError
from uma_train.data.sources import robot_rows, video
from uma_train.data.sources.droid_annotations import ID, Annotations
from uma_train.data.sources.droid_depth import NEEDED
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.lerobot_layout import Place, columns, info, places, root_of
from uma_train.data.sources.parts import Part
from uma_train.data.sources.robot_ports import Port, join
from uma_train.data.sources.robot_rows import Options

SAME = robot_rows.SAME
IMAGES = {"ext1": "observation.images.exterior_1_left", "ext2": "observation.images.exterior_2_left"}
EXTRINSICS = {"ext1": "camera_extrinsics.exterior_1_left", "ext2": "camera_extrinsics.exterior_2_left"}
NAMES = "cartesian_position", "gripper_position", "joint_position"
TEXTS = "language_instruction", "language_instruction_2", "language_instruction_3"
OUTCOME = "is_episode_successful"


def recordings(source: str | Path) -> dict[str, Part]:
    """Return name -> episode of a data set. A number that occurs twice has the first row in its second name.

    Raises:
        InputError: the folder is not a data set of a known version, or has no episode.
    """
    root = root_of(Path(source))
    found: dict[str, Part] = {}
    for at, place in enumerate(places(root)):
        name = f"episode_{place.index:06d}"
        if name in found:
            name += f"_row_{place.first if place.first is not None else at}"
        found[name] = Part(place.data, name, at)
    if not found:
        raise InputError(f"source: {source}: no episode")
    return found


def read(part: Part, options: Options) -> Demonstration:
    """Return the demonstration in an episode.

    Raises:
        InputError: a file is damaged, a feature is missing, there is no depth, or the texts do not name one episode.
    """
    root = root_of(part.path)
    place = places(root)[part.at]
    if not options.depth:
        raise Refused("depth", _no_depth(info(root)["features"]))
    keys = {name: f"observation.state.{name}" for name in NAMES} | {f"action/{n}": f"action.{n}" for n in NAMES}
    data = columns(place, [*keys.values(), *EXTRINSICS.values(), *TEXTS, OUTCOME])
    if lacking := [keys[n] for n in NAMES[:2] if keys[n] not in data]:
        raise InputError(f"{place.data.name}: lacks {', '.join(lacking)}")
    a, b, c = (str(data[name][0]).strip() if len(data.get(name, ())) else "" for name in TEXTS)
    episode = _episode(place.index, (a, b, c), options)
    success = data[OUTCOME][0] if OUTCOME in data else None
    values = {name: data[key] for name, key in keys.items() if key in data}

    def frames(camera: str, rows: list[int]) -> Iterator[np.ndarray]:
        path, begin = _video(place, camera)
        wanted = set(rows)
        images = video.frames(path, max(wanted, default=-1) + 1, begin)
        return (rgb for i, rgb in enumerate(images) if i in wanted)

    def count(camera: str) -> int:
        path, begin = _video(place, camera)
        frames_in_file = video.size(path)[0]
        return place.length if begin > 0.0 or frames_in_file > place.length else frames_in_file

    port = Port(
        "lerobot",
        f"{root.name}#{part.name}",
        episode["lab"],
        episode["time"],
        (a, b, c),
        "" if success is None else "success" if success else "failure",
        values,
        {camera: (data[key][0], key) for camera, key in EXTRINSICS.items() if key in data},
        count,
        frames,
    )
    return join(port, options)


def _video(place: Place, camera: str) -> tuple[Path, float]:
    if IMAGES[camera] not in place.videos:
        raise Refused("camera", f"{camera}: no video {IMAGES[camera]}, must be one of {', '.join(place.videos)}")
    return place.videos[IMAGES[camera]]


def _no_depth(features: dict[str, Any]) -> str:
    """Return why an episode without published depth is refused."""
    for name, feature in features.items():
        about = {**feature, **(feature.get("info") or {}), **(feature.get("video_info") or {})}
        if about.get("is_depth_map") or about.get("video.is_depth_map"):
            return f"{name} is a depth video, quantised to 12 bits, which is not read; --depth FOLDER names other depth"
    return f"LeRobot's ports have none; {NEEDED.partition('; ')[2]}"


def _episode(index: int, texts: tuple[str, str, str], options: Options) -> Any:
    """Return the match of `ID` for the episode's name among DROID's."""
    if options.mapping:
        name = str(_mapping(Path(options.mapping).resolve()).get(str(index), ""))
    else:
        name = Annotations(options.annotations).episode_of_texts(texts)
    if (found := ID.fullmatch(name)) is None:
        raise InputError(f"mapping: episode {index}: {name!r}, must be LAB+USER+YYYY-MM-DD-HHh-MMm-SSs")
    return found


@cache
def _mapping(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"mapping: {path}: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"mapping: {path}: {type(found).__name__}, must be a mapping")
    return found
