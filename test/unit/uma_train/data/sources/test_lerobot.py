"""DROID as LeRobot data sets, versions 2.1 and 3.0: equal to the simulator's episode, and bad twins."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from demonstration_clips import clip, truth
from droid_files import NAME, TEXTS, six, write_annotations, write_depth
from lerobot_files import IMAGES, LEAD, rows, write_v21, write_v30

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.types import InputError
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates, Refused
from uma_train.data.sources.lerobot import read, recordings

POINTS = PRESETS["tiny"]().points


@pytest.fixture(scope="module")
def demo():
    return clip(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, demo):
    root = tmp_path_factory.mktemp("lerobot")
    write_depth(root / "depth", demo, pad=False)
    write_annotations(root / "json", demo)
    sets = {"v2.1": write_v21(root / "a", demo, rows(demo)), "v3.0": write_v30(root / "b", demo, rows(demo))}
    return SimpleNamespace(root=root, sets=sets, depth=str(root / "depth"), json=str(root / "json"))


def options(files, **changes):
    plain = {"camera": "", "depth": files.depth, "annotations": files.json, "actions": "auto", "text": ""}
    return SimpleNamespace(**{**plain, "mapping": "", **changes})


def last(root):
    return list(recordings(root).values())[-1]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_the_episode_is_the_simulators(version, files, demo):
    a = to_episode(read(last(files.sets[version]), options(files)), POINTS, Gates())
    own = to_episode(truth(demo, TEXTS[0]), POINTS, Gates())
    for name in ("pose", "gripper", "target_pose", "target_gripper", "joints", "tracks"):
        np.testing.assert_allclose(getattr(a, name), getattr(own, name), atol=1e-5, err_msg=name)
    for name in ("xyz", "height", "frame_step"):
        np.testing.assert_array_equal(getattr(a, name), getattr(own, name), err_msg=name)
    apart = np.abs(a.rgb.astype(int) - own.rgb.astype(int))
    assert apart.mean() < 6.0 and apart[0].mean() < 6.0 and apart[-1].mean() < 6.0
    assert (a.meta["text"], a.meta["outcome"], a.meta["notes"]["episode"]) == (TEXTS[0], "success", NAME)


def test_names_are_those_of_the_episodes(files, demo, tmp_path):
    assert list(recordings(files.sets["v2.1"])) == ["episode_001004"]
    assert list(recordings(files.sets["v3.0"])) == ["episode_000007", "episode_000008"]
    twice = write_v30(tmp_path / "twice", demo, rows(demo), (9, 9))
    assert list(recordings(twice)) == ["episode_000009", f"episode_000009_row_{100 + LEAD}"]
    assert read(last(twice), options(files)).text == TEXTS[0]


def test_an_empty_first_text_is_replaced(files, demo, tmp_path):
    names = json.loads((files.root / "json" / "droid_language_annotations.json").read_text())
    names[NAME]["language_instruction1"] = ""
    for path in (files.root / "json").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "droid_language_annotations.json").write_text(json.dumps(names))
    root = write_v21(tmp_path / "set", demo, rows(demo, ("", *TEXTS[1:])))
    assert read(last(root), options(files, annotations=str(tmp_path))).text == TEXTS[1]


def test_a_mapping_names_the_episode(files, demo, tmp_path):
    root = write_v21(tmp_path / "set", demo, rows(demo, ("x", "y", "z")))
    with pytest.raises(InputError, match="language_instruction: 0 episodes have .*'x'.* --mapping"):
        read(last(root), options(files))
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"1004": NAME}))
    assert read(last(root), options(files, mapping=str(path))).text == "x"
    path = tmp_path / "others.json"
    path.write_text(json.dumps({"1": NAME}))
    with pytest.raises(InputError, match="mapping: episode 1004: '', must be LAB"):
        read(last(root), options(files, mapping=str(path)))


def test_texts_of_two_episodes_name_none(files, tmp_path, demo):
    annotations = write_annotations(tmp_path / "json", demo)
    path = annotations / "droid_language_annotations.json"
    texts = json.loads(path.read_text())
    path.write_text(json.dumps({**texts, "X+1+2023-01-01-01h-01m-01s": texts[NAME]}))
    with pytest.raises(InputError, match="2 episodes have .*, must be exactly 1"):
        read(last(files.sets["v2.1"]), options(files, annotations=str(annotations)))


CAM, POSE = "camera_extrinsics.exterior_1_left", "observation.state.cartesian_position"
DEPTH = {"observation.images.depth": {"dtype": "video", "info": {"is_depth_map": True}}}


def without_extrinsics(files, tmp_path):
    """The published files but for the calibration."""
    for path in (files.root / "json").iterdir():
        if not path.name.startswith("cam2base"):
            (tmp_path / path.name).write_text(path.read_text())
    return str(tmp_path)


def changed(name, change):
    return lambda c: {name: change(rows(c)[name], c)}


BAD = {
    "zero extrinsics": (changed(CAM, lambda v, c: 0 * v), {}, "extrinsics: camera_extrinsics.* 6 zeros, must differ"),
    "inverted extrinsics": (
        changed(CAM, lambda v, c: np.tile(six(se3.invert(c.T_base_cam)), (len(v), 1))),
        {},
        "calibration: the end effector projects into",
    ),
    "swapped cameras": (lambda c: {CAM: rows(c)[CAM.replace("_1_", "_2_")]}, {}, "calibration: "),
    "pose not finite": (changed(POSE, lambda v, c: v * np.nan), {}, "cartesian_position: row 0 of 74 is not finite"),
    "camera without a video": (lambda c: {}, {"camera": "ext2"}, "camera: ext2: no video .*exterior_2_left, must"),
    "right lens": (lambda c: {}, {"camera": "1_right"}, "camera: 1_right: a right lens"),
    "wrist": (lambda c: {}, {"camera": "wrist_left"}, "camera: wrist: on the wrist"),
    "no depth": (lambda c: {}, {"depth": ""}, "depth: LeRobot's ports have none; --depth FOLDER names published"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_twins_are_refused_with_field_number_and_limit(name, files, demo, tmp_path):
    change, changes, words = BAD[name]
    root = write_v21(tmp_path / "set", demo, {**rows(demo), **change(demo)})
    chosen = options(files, annotations=without_extrinsics(files, tmp_path), **changes)
    with pytest.raises(InputError, match=words):
        to_episode(read(last(root), chosen), POINTS, Gates())


def test_a_depth_video_is_refused_by_name(files, demo, tmp_path):
    root = write_v21(tmp_path, demo, rows(demo), DEPTH)
    with pytest.raises(Refused, match="depth: observation.images.depth is a depth video, quantised to 12 bits"):
        read(last(root), options(files, depth=""))


def edit_info(root, **changes):
    path = root / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


LAYOUTS = {
    "version": (lambda r: edit_info(r, codebase_version="v1.6"), "codebase_version: v1.6, must be one of v2.1, v3.0"),
    "key": (lambda r: edit_info(r, data_path=None), "info.json: lacks data_path"),
    "pattern": (lambda r: edit_info(r, data_path="{episode}"), "path '{episode}': 'episode'"),
    "outside": (lambda r: edit_info(r, data_path="../../x"), "path '../../x': outside of the data set"),
    "no info": (lambda r: (r / "meta" / "info.json").unlink(), "neither a LeRobot data set nor in one"),
    "no episodes": (lambda r: (r / "meta" / "episodes.jsonl").unlink(), "episodes.jsonl: no such file"),
    "line": (lambda r: (r / "meta" / "episodes.jsonl").write_text("{}\n"), "episodes.jsonl: line 1: KeyError"),
    "data cut": (lambda r: halve(next(r.rglob("*.parquet"))), "episode_001004.parquet: damaged"),
    "video cut": (lambda r: halve(next(r.rglob("*.mp4"))), "episode_001004.mp4: damaged or cut"),
    "rows": (
        lambda r: (r / "meta" / "episodes.jsonl").write_text('{"episode_index": 1004, "length": 70}\n'),
        "74 rows of episode 1004, must be 70",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_damaged_data_sets_are_refused(name, files, demo, tmp_path):
    edit, words = LAYOUTS[name]
    root = write_v21(tmp_path / name / IMAGES[0], demo, rows(demo))
    edit(root)
    with pytest.raises(InputError, match=words):
        list(read(last(root), options(files)).observations())
