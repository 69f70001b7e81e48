"""Damaged files (calibrations, references, images, bundles, prompts) and damaged gripper replies."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st

from robustness.fuzz.mutations import ODD, PATCHES, damaged, trees
from robustness.fuzz.target import Target, expect
from uma.types import InputError

POSE = {"xyz": [0.4, -0.2, 0.6], "xyzw": [0.0, 0.0, 0.0, 1.0]}
OURS = {
    "camera_frame": "cam",
    "base_frame": "fr3_link0",
    "T_base_cam": POSE,
    "date": "2026-11-20T12:00:00+00:00",
    "tools": [{"parent": "fr3_link8", "frame": "tcp", **POSE}],
}
DROID = {
    "23897859_left": {"pose": [0.3, 0.5, 0.4, -1.9, 0.2, 0.8], "timestamp": 1.7e9},
    "23897859_right": {"pose": [0.0] * 6, "timestamp": 1.7e9},
}
METADATA = {
    "wrist_cam_serial": "18026681",
    "ext1_cam_serial": "22008760",
    "wrist_cam_extrinsics": [0.4, -0.1, 0.1, 2.8, -0.1, 1.1],
    "ext1_cam_extrinsics": [0.3, 0.5, 0.4, -1.9, 0.2, 0.8],
}
HANDEYE = {
    "parameters": {
        "calibration_type": "eye_on_base",
        "robot_base_frame": "fr3_link0",
        "tracking_base_frame": "camera_color_optical_frame",
    },
    "transform": {
        "translation": {"x": 1.2, "y": -0.1, "z": 0.6},
        "rotation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
    },
}
EPISODES = {
    "LAB+1+2023-08-17": {
        "23897859": [0.3, 0.5, 0.4, -1.9, 0.2, 0.8],
        "23897859_metric_type": "IoU",
        "relative_path": "success/2023",
    }
}
REFERENCE = {
    "frame": "fr3_link0",
    "object_label": "spoon",
    "keypoints": [{"waypoints": [[0.45, -0.1, 0.03], [0.45, -0.1, 0.2]], "phase": [0.0, 1.0], "is_valid": [True, True]}]
    * 3,
}
CAMERA = {"width": 8, "height": 6, "fx": 7.0, "fy": 7.0, "cx": 3.5, "cy": 2.5, "frame": "cam"}


@cache
def folder() -> Path:
    """Return the temporary folder of the cases, which the operating system cleans up."""
    return Path(tempfile.mkdtemp(prefix="fuzz"))


def reader(
    name: str, read: Callable[[Path], Any], refusal: type[Exception], place: Callable[[Path], Path] = lambda p: p
) -> Callable[[bytes], bool]:
    """Return a function that writes a case to ``name`` and reads it. A refusal must contain the file's name."""

    def run(data: bytes) -> bool:
        path = folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        try:
            read(place(path))
        except refusal as error:
            text = str(error)
            expect(place(path).name in text, f"the file is not named: {text[:200]}")
            expect(len(text) < 2000, f"a message of {len(text)} characters")
            expect("can't allocate" not in text and "MemoryError" not in text, f"memory was requested: {text[:200]}")
            return False
        return True

    return run


def as_json(tree: Any) -> bytes:
    """Return ``tree`` as JSON, with other types as text."""
    return json.dumps(tree, default=str, skipkeys=True).encode()


def as_yaml(tree: Any) -> bytes:
    """Return ``tree`` as YAML without aliases."""
    return yaml.dump(tree, Dumper=_NoAliases).encode()


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def texts(tree: Any, write: Callable[[Any], bytes]) -> st.SearchStrategy[bytes]:
    """Generate a valid file with changed values, appended data or damaged bytes."""
    whole = write(tree)
    behind = st.sampled_from([p.encode() for p in PATCHES]).map(lambda p: whole + p)
    return st.one_of(
        trees(tree).map(write),
        trees(tree).map(write),
        behind,
        damaged(whole),
        st.sampled_from([b"", b"[" * 400, b"- " * 400]),
    )


def _text_targets() -> list[Target]:
    from uma_ros.calibration.calibrate import read_poses
    from uma_ros.calibration.files import load_calibration
    from uma_ros.commands.reference import load_reference
    from uma_ros.drivers.camera.folder import read_camera

    def calibration(path: Path, camera: str = "") -> None:
        found = load_calibration(path, camera)
        expect(
            np.isfinite(found.T_base_cam).all() and np.abs(found.T_base_cam[:3, 3]).max() <= 10.0,
            "a camera out of reach",
        )
        expect(isinstance(found.camera_frame, str) and bool(found.camera_frame), f"camera_frame {found.camera_frame!r}")
        _ = found.date and found.date.timestamp()

    return [
        Target("calibration, ours", texts(OURS, as_yaml), reader("ours.yaml", calibration, InputError), 0.8),
        Target("calibration, DROID", texts(DROID, as_json), reader("calibration_info.json", calibration, InputError)),
        Target(
            "calibration, episodes",
            texts(EPISODES, as_json),
            reader("cam2base_extrinsics.json", calibration, InputError),
        ),
        Target(
            "calibration, metadata",
            texts(METADATA, as_json),
            reader("metadata_x.json", lambda path: calibration(path, "ext1"), InputError),
        ),
        Target("calibration, easy_handeye", texts(HANDEYE, as_yaml), reader("x.calib", calibration, InputError)),
        Target("reference file", texts(REFERENCE, as_yaml), reader("reference.yaml", load_reference, InputError), 0.8),
        Target("camera.yaml", texts(CAMERA, as_yaml), reader("camera.yaml", read_camera, InputError), 0.5),
        Target("poses.yaml", texts({"a": POSE, "b": POSE}, as_yaml), reader("poses.yaml", read_poses, InputError), 0.5),
    ]


# -- pictures ----------------------------------------------------------------------------------------------------------


def _picture_targets() -> list[Target]:
    from PIL import Image

    from uma_ros.drivers.camera.folder import read_depth, read_image

    def stored(name: str, save: Callable[[Path], None]) -> bytes:
        save(folder() / name)
        return (folder() / name).read_bytes()

    rgb = stored("a.png", lambda p: Image.fromarray(np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)).save(p))
    depth = stored("a.depth.png", lambda p: Image.fromarray(np.full((6, 8), 900, np.uint16)).save(p))
    npy = stored("a.depth.npy", lambda p: np.save(p, np.full((6, 8), 0.9, np.float32)))

    def heads(claim: tuple) -> bytes:
        head = f"{{'descr': {claim[0]!r}, 'fortran_order': False, 'shape': {claim[1]}, }}".encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\0" * 64

    shapes = st.sampled_from(
        ["(999999, 999999)", "(-1, 5)", "(6, 8)", "(2**70, 1)", "()", "(10**9,)", "'x'", "(1.5, 2)", "(0, 0)"]
    )
    claims = st.tuples(st.sampled_from(["<f4", "|O", ">f4", "<f8", "x", "<c16", "|V9"]), shapes).map(heads)
    return [
        Target("colour.png", damaged(rgb), reader("b.png", read_image, InputError)),
        Target("depth.png", damaged(depth), reader("b.depth.png", read_depth, InputError)),
        Target("depth.npy", st.one_of(damaged(npy), claims), reader("b.depth.npy", read_depth, InputError)),
    ]


# -- checkpoints -------------------------------------------------------------------------------------------------------


@cache
def _bundle() -> dict[str, bytes]:
    """Return the files of a tiny bundle."""
    import torch

    from uma.checkpoint.bundle import Contract, save_bundle
    from uma.model.config import tiny
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma

    torch.manual_seed(0)
    path = folder() / "good"
    save_bundle(path, Uma(tiny(), Normalization()), Contract(), training={}, card="For a test.\n")
    return {p.name: p.read_bytes() for p in path.iterdir()}


def _bundle_targets() -> list[Target]:
    from uma.checkpoint.bundle import FILES, BundleError, load_bundle
    from uma.checkpoint.prompt import Prompt, PromptError, load_prompt, save_prompt

    good = _bundle()
    trees_of = {name: json.loads(good[name]) for name in ("config.json", "normalization.json", "manifest.json")}

    def run(case: tuple[str, bytes, bool]) -> bool:
        name, data, is_honest = case
        path, files = folder() / "bundle", {**good, name: data}
        if is_honest and name != "manifest.json":  # matching hashes, to test the checks after them
            files["manifest.json"] = as_json(
                {"sha256": {n: hashlib.sha256(files[n]).hexdigest() for n in FILES}, "training": {}}
            )
        path.mkdir(exist_ok=True)
        for file, content in files.items():
            (path / file).write_bytes(content)
        try:
            load_bundle(path)
        except BundleError as error:
            expect(str(path) in str(error) and len(str(error)) < 4000, f"the bundle is not named: {str(error)[:200]}")
            expect("allocate" not in str(error), f"memory was requested: {error}")
            return False
        return True

    def head(changes: tuple[str, list]) -> bytes:
        """Return weights with a changed header entry of one tensor."""
        weights = good["model.safetensors"]
        size = int.from_bytes(weights[:8], "little")
        listed = json.loads(weights[8 : 8 + size])
        listed[sorted(listed)[1]][changes[0]] = changes[1]
        text = json.dumps(listed).encode()
        return len(text).to_bytes(8, "little") + text + weights[8 + size :]

    sizes = [
        "width",
        "heads",
        "layers",
        "horizon",
        "max_keypoints",
        "task_tokens",
        "group_size",
        "task_layers",
        "groups",
        "ffn_ratio",
        "separate_layers",
        "history",
    ]

    def enlarged(case: tuple[str, Any]) -> bytes:
        tree = json.loads(good["config.json"])
        tree["model"][case[0]] = case[1]
        return as_json(tree)

    heads = st.tuples(
        st.sampled_from(["shape", "data_offsets", "dtype"]),
        st.sampled_from([[10**9, 10**9], [], [0], [2**63], "F32", "F8_E4M3", [-1, 4], None]),
    ).map(head)
    grown = st.tuples(
        st.sampled_from(sizes), st.sampled_from([0, -1, 10**9, 4096, 10**30, [10**9, 10**9], [10**9], 1.5, "8", None])
    ).map(enlarged)
    contents = st.one_of(
        *(
            st.tuples(st.just(name), st.one_of(trees(tree).map(as_json), damaged(good[name])))
            for name, tree in trees_of.items()
        ),
        st.tuples(st.just("config.json"), grown),
        st.tuples(st.just("model.safetensors"), st.one_of(damaged(good["model.safetensors"]), heads)),
    )
    cases = st.tuples(contents, st.sampled_from([True, True, True, False])).map(lambda c: (*c[0], c[1]))
    import torch

    save_prompt(folder() / "prompt.safetensors", Prompt(torch.zeros(4, 32), "abc", "fold", {"steps": 3}))
    prompt = (folder() / "prompt.safetensors").read_bytes()
    return [
        Target("bundle", cases, run, 0.15),
        Target("prompt", damaged(prompt), reader("p.safetensors", load_prompt, PromptError)),
    ]


# -- a gripper's replies -----------------------------------------------------------------------------------------------


def _gripper_target() -> Target:
    from uma_ros.drivers.gripper.robotiq import GripperSession, Robotiq, RobotiqSettings

    def run(replies: list) -> bool:
        left = list(replies)

        def read(*_: Any, **__: Any) -> Any:
            answer = left.pop() if left else None
            if isinstance(answer, Exception):
                raise answer
            return answer if answer is None else SimpleNamespace(isError=lambda: answer == "refused", registers=answer)

        client = SimpleNamespace(
            connect=lambda: True, close=lambda: None, read_holding_registers=read, write_registers=read
        )
        session = GripperSession(Robotiq(RobotiqSettings(), lambda _: client))
        for i in range(len(replies) + 1):
            session.cycle(100.0 * i)
            opening = session.opening()
            expect(opening is None or 0.0 <= opening <= 1.0, f"an opening of {opening}")
        expect(bool(session.trouble), "a link that says nothing wrong after its last reply")
        return session.status is not None

    words = st.one_of(
        st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3),
        st.lists(st.integers(-5, 2**33), max_size=5),
        st.sampled_from(
            [
                None,
                "refused",
                [None] * 3,
                ["a"] * 3,
                [0.5] * 3,
                b"abc",
                OSError("gone"),
                ValueError("odd"),
                TimeoutError(),
                ODD[7],
                [10**400] * 3,
            ]
        ),
    )
    return Target("gripper's replies", st.lists(words, min_size=1, max_size=8), run)


def file_targets() -> list[Target]:
    """Return the entry points for text files, images, checkpoints and gripper replies."""
    return [*_text_targets(), *_picture_targets(), *_bundle_targets(), _gripper_target()]
