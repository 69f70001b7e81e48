"""DROID as RLDS: TFRecord files without TensorFlow, episodes equal to the simulator's, and damaged shards."""

import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from demonstration_clips import clip, truth
from droid_files import EXT1, EXT2, NAME, TEXTS, WRIST, six, write_annotations, write_depth
from rlds_files import SHARD, episode, example, jpeg, message, record, varint, write_shard

from uma.geometry import se3
from uma.model.config import PRESETS
from uma.types import InputError
from uma_train.data.sources import importing, tfrecord
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Gates, Refused
from uma_train.data.sources.rlds import decoded, read, recordings

POINTS = PRESETS["tiny"]().points


@pytest.fixture(scope="module")
def demo():
    return clip(3)


@pytest.fixture(scope="module")
def features(demo):
    return episode(demo)


@pytest.fixture(scope="module")
def files(tmp_path_factory, demo, features):
    root = tmp_path_factory.mktemp("rlds")
    small = {**features, "steps/language_instruction": [b"the second one"]}
    write_shard(root / "1.0.1", [features, small])
    write_depth(root / "depth", demo, pad=False)
    write_annotations(root / "json", demo)
    return SimpleNamespace(root=root, source=root / "1.0.1", depth=str(root / "depth"), json=str(root / "json"))


def options(files, **changes):
    plain = {"camera": "", "depth": files.depth, "annotations": files.json, "actions": "auto", "text": ""}
    return SimpleNamespace(**{**plain, "checksums": False, **changes})


def only(source):
    return next(iter(recordings(source).values()))


def shard_of(tmp_path, features, **changes):
    return only(write_shard(tmp_path, [{**features, **{k.replace("__", "/"): v for k, v in changes.items()}}]))


def test_the_episode_is_the_simulators(files, demo):
    found = recordings(files.source)
    assert list(found) == [f"{SHARD.replace('.tfrecord', '')}_0000{i}" for i in range(2)]
    a = to_episode(read(next(iter(found.values())), options(files, checksums=True)), POINTS, Gates())
    own = to_episode(truth(demo, TEXTS[1], lambda rgb: decoded(jpeg(rgb), "image")), POINTS, Gates())
    for name in ("pose", "gripper", "target_pose", "target_gripper", "joints", "tracks"):
        np.testing.assert_allclose(getattr(a, name), getattr(own, name), atol=1e-5, err_msg=name)
    for name in ("xyz", "rgb", "height", "frame_step"):
        np.testing.assert_array_equal(getattr(a, name), getattr(own, name), err_msg=name)
    assert (
        a.camera == own.camera
        and a.meta["text"] == TEXTS[1]
        and a.meta["outcome"] == "success"
        and a.meta["notes"]["episode"] == NAME
    )
    second = list(found.values())[1]
    assert read(second, options(files)).text == "the second one"


def test_a_shard_imports_and_resumes(files, tmp_path):
    words = [str(files.source), "--depth", files.depth, "--annotations", files.json, "--preset", "tiny"]
    assert importing.main(["rlds", *words, "--out", str(tmp_path)]) == 1
    assert "must be NC" in (tmp_path / "card.json").read_text(), "published depth is for non-commercial use"
    assert importing.main(["rlds", *words, "--accept-licence", "NC", "--out", str(tmp_path)]) == 0
    card = (tmp_path / "card.json").read_text()
    times = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*_0*.json")}
    assert importing.main(["rlds", *words, "--accept-licence", "NC", "--out", str(tmp_path)]) == 0
    assert '"kept": 2' in card and len(times) == 2 and all(p.stat().st_mtime_ns == t for p, t in times.items())
    with pytest.raises(InputError, match="imported with camera '', now 'ext2'"):
        importing.main(["rlds", *words, "--accept-licence", "NC", "--out", str(tmp_path), "--camera", "ext2"])


def test_extrinsics_of_the_record_without_a_published_one(files, demo):
    found = read(only(files.source), options(files, annotations=""))
    assert found.notes["extrinsics"] == "episode_metadata/extrinsics_exterior_cam_1"
    np.testing.assert_allclose(found.robot.T_base_cam, demo.T_base_cam, atol=1e-6)


def test_a_camera_by_its_serial_or_place(files):
    part = only(files.source)
    assert read(part, options(files, camera=EXT2, annotations="")).notes["camera"] == EXT2
    assert read(part, options(files, camera="ext2")).notes["camera"] == EXT2
    assert read(part, options(files, camera=f"{EXT1}_left")).notes["camera"] == EXT1
    for camera, words in ((f"{EXT1}_right", "a right lens"), (WRIST, "on the wrist"), ("7", "has depth of")):
        with pytest.raises(InputError, match=f"camera: {camera}: .*{words}"):
            read(part, options(files, camera=camera))


def test_crc32c_of_the_standard():
    assert tfrecord.crc32c(b"123456789") == 0xE3069283 and tfrecord.crc32c(bytes(32)) == 0x8A9136AA


def test_floats_that_are_not_packed(features):
    loose = b"".join(varint(1 << 3 | 5) + struct.pack("<f", v) for v in (1.5, -2.0))
    assert tfrecord.floats(memoryview(message(2, loose))).tolist() == [1.5, -2.0]


def test_what_is_unknown_is_skipped():
    unknown = varint(7 << 3) + varint(300) + varint(6 << 3 | 1) + bytes(8)
    assert list(tfrecord.example(unknown + example({"a": [b"x"]}))) == ["a"]


PAYLOAD = example({"a": [b"x" * 50]})
DAMAGED = {
    "checksum of the length": (lambda r: r[:8] + b"\0\0\0\0" + r[12:], f"offset {len(record(PAYLOAD))}: checksum of"),
    "huge length": (
        lambda r: (head := struct.pack("<Q", 1 << 40)) + struct.pack("<I", tfrecord.masked(tfrecord.crc32c(head))),
        "a record of 1099511627776 bytes, limit 2147483648",
    ),
    "cut tail": (lambda r: r[:-20], r"offset \d+: cut: a record of"),
    "cut head": (lambda r: r[:7], "cut: 7 bytes of a record's head, must be 12"),
    "checksum of the payload": (lambda r: r[:40] + b"?" + r[41:], r"checksum of the \d+ bytes is wrong"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_named_with_its_offset(name, tmp_path):
    change, words = DAMAGED[name]
    good = record(PAYLOAD)
    path = tmp_path / "a.tfrecord-00000-of-00001"
    path.write_bytes(good + change(good))
    first, second = recordings(path).values()
    assert tfrecord.record(path, first.at, True) == PAYLOAD
    with pytest.raises(InputError, match=f"{path.name}: .*{words}"):
        tfrecord.record(path, second.at, True)


MALFORMED = {
    "number of 11 bytes": (b"\xff" * 11, "a number of more than 10 bytes"),
    "number cut": (b"\x0a\xff", "a number is cut"),
    "wire type": (b"\x0b", "wire type 3, must be 0, 1, 2 or 5"),
    "field too long": (b"\x0a\x7fabc", "a field of 127 bytes, 3 are left"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_refused(name, files, tmp_path):
    payload, words = MALFORMED[name]
    path = tmp_path / "a.tfrecord-00000-of-00001"
    path.write_bytes(record(payload))
    with pytest.raises(InputError, match=f"{path.name}: offset 0: byte .*{words}"):
        read(only(path), options(files))


POSE, CAM = "steps__observation__cartesian_position", "episode_metadata__extrinsics_exterior_cam_1"
BAD = {
    "zero extrinsics": (lambda f, c: {CAM: np.zeros(6)}, {"annotations": ""}, "extrinsics: .*6 zeros, must differ"),
    "inverted extrinsics": (lambda f, c: {CAM: six(se3.invert(c.T_base_cam))}, {"annotations": ""}, "calibration: "),
    "extrinsics of 5": (lambda f, c: {CAM: np.ones(5)}, {"annotations": ""}, "cam_1 of ext1: 5 numbers, must be 6"),
    "pose not finite": (lambda f, c: {POSE: np.full(6 * len(c.pose), np.nan)}, {}, "cartesian_position: row 0 of"),
    "pose of another width": (lambda f, c: {POSE: np.ones(7)}, {}, "7 numbers, must be a multiple of 6"),
    "image missing": (
        lambda f, c: {"steps__observation__exterior_image_1_left": [b"x"]},
        {},
        "frame counts: 1 images of ext1 for 74 rows, must be equal",
    ),
    "image damaged": (
        lambda f, c: {"steps__observation__exterior_image_1_left": [b"x"] * len(c.pose)},
        {},
        r"exterior_image_1_left\[0\]: 1 bytes that are not an image",
    ),
    "path of another form": (
        lambda f, c: {"episode_metadata__file_path": [b"/a/b"], "episode_metadata__recording_folderpath": [b""]},
        {},
        "file_path: '/a/b', must contain LAB/success",
    ),
    "no depth": (lambda f, c: {}, {"depth": ""}, "depth: the recording holds none; --depth FOLDER"),
    "no folder": (lambda f, c: {}, {"annotations": "/nowhere"}, "annotations: /nowhere: no such folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_twins_are_refused_with_field_number_and_limit(name, files, features, demo, tmp_path):
    change, changes, words = BAD[name]
    part = shard_of(tmp_path, features, **change(features, demo))
    with pytest.raises(InputError, match=words):
        to_episode(read(part, options(files, **changes)), POINTS, Gates())


def test_another_data_set_than_droid_is_named(files, features, tmp_path):
    keep = {k: v for k, v in features.items() if "/observation/" not in k.replace("__", "/")}
    part = only(write_shard(tmp_path, [{**keep, "steps/observation/state": np.zeros(7), "steps/action": np.zeros(7)}]))
    with pytest.raises(InputError, match=r"cartesian_position: missing, .* DROID 1.0.1; steps/observation/ has state"):
        read(part, options(files))


def test_swapped_cameras_are_refused(files, features, tmp_path):
    one, two = (f"episode_metadata/extrinsics_exterior_cam_{i}" for i in (1, 2))
    part = only(write_shard(tmp_path, [{**features, one: features[two], two: features[one]}]))
    with pytest.raises(Refused, match="calibration: "):
        to_episode(read(part, options(files, annotations="")), POINTS, Gates())


def test_depth_of_another_count_is_refused(files, features, demo, tmp_path):
    write_depth(tmp_path, demo, pad=True)
    with pytest.raises(Refused, match="frame counts: 83 depth images for 74 rows, may differ by 2"):
        read(only(files.source), options(files, depth=str(tmp_path)))


def test_the_fast_checksum_is_used_where_it_is_installed(monkeypatch, tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(PAYLOAD)[:40] + b"?" + record(PAYLOAD)[41:])
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    assert tfrecord.record(path, 0) != PAYLOAD, "not checked without a request"
    monkeypatch.setitem(sys.modules, "google_crc32c", SimpleNamespace(value=tfrecord.crc32c))
    with pytest.raises(InputError, match=r"a.tfrecord: offset 0: checksum of the \d+ bytes is wrong"):
        tfrecord.record(path, 0)
