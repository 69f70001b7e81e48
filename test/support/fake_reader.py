"""A reader for tests of `uma import`, which a worker can import: the words in a file say what its recording is."""

import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from scenes import scene

from uma.geometry.se3 import make_pose
from uma.policy.demonstration import Demonstration, Robot, Tracks
from uma.types import InputError
from uma_train.data.sources.parts import Part

T_BASE_CAM = make_pose(np.array([[0.0, -0.6, 0.8], [-1.0, 0.0, 0.0], [0.0, -0.8, -0.6]]), np.array([0.2, 0.1, 0.8]))
STEPS = 24
SAME = ("camera",)


def demonstration(name="a", outcome="success", **changes) -> Demonstration:
    o = scene()
    pose = np.tile(T_BASE_CAM @ o.T_cam_ee, (STEPS, 1, 1))
    pose[:, 0, 3] += np.linspace(0, 0.1, STEPS)
    ones = np.ones(STEPS)
    values = {
        "name": name,
        "source": "fake",
        "text": "lift it",
        "outcome": outcome,
        "camera_frame": o.camera.frame,
        "stamps": np.arange(STEPS) / 15.0,
        "robot": Robot(T_BASE_CAM, pose, ones / 2, pose, ones, ("commanded", "measured")),
        "observations": lambda: ((i, o) for i in range(0, STEPS, 2)),
        "num_colour": STEPS,
        "num_depth": STEPS,
        "num_pairs": STEPS,
        "tracks": Tracks(np.full((STEPS, 4, 3), 0.5), np.ones((STEPS, 4), bool)),
    }
    robot = {f.name: changes.pop(f.name) for f in fields(Robot) if f.name in changes}
    return Demonstration(**values | {"robot": replace(values["robot"], **robot)} | changes)


def recordings(source):
    """The files of a folder; or the parts of one file, whose offsets are in a file beside the folder."""
    files, parts = sorted(Path(source).iterdir()), Path(source).parent / "parts.json"
    if not parts.exists():
        return {p.stem: p for p in files}
    return {f"a{i}": Part(files[0], f"record {i}", at) for i, at in enumerate(json.loads(parts.read_text()))}


def read(found, options):
    path, name = (found.path, f"{found.name}@{found.at}") if isinstance(found, Part) else (found, found.stem)
    with open(path.parent.parent / "calls", "a") as log:
        log.write(name + "\n")
    words = path.read_text()
    if words == "malformed":
        raise TypeError("a list where a number belongs")
    if words == "damaged":
        raise InputError(f"{path}: damaged")
    if words == "full":
        raise OSError("no space left")
    if words == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return demonstration(path.stem, words)
