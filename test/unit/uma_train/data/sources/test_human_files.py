"""Pickles, images, times, and reduced cameras of human video."""

import os
import pickle
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from uma.geometry.camera import project, unproject
from uma.types import CameraModel, InputError
from uma_train.data.sources.human.images import factor_of, metres, reduce_colour, reduced
from uma_train.data.sources.human.licence import check_licence
from uma_train.data.sources.human.masks import voc_colours
from uma_train.data.sources.human.unpickle import load_arrays
from uma_train.data.sources.human.video import grid
from uma_train.data.sources.human.words import hand_labels, hoi4d_text


class Malicious:
    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


class OfPython2(pickle._Pickler):
    """Writes bytes as the texts of Python 2."""

    def save_bytes(self, value):
        self.write(b"T" + struct.pack("<I", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_arrays_is_read(tmp_path, protocol):
    values = {"kps2D": np.random.default_rng(0).random((21, 2)), "name": "right", "scale": np.float64(2.0)}
    with open(tmp_path / "hand.pickle", "wb") as f:
        (OfPython2 if protocol == 2 else pickle.Pickler)(f, protocol).dump(values)
    read = load_arrays(tmp_path / "hand.pickle")
    assert (read["kps2D"] == values["kps2D"]).all() and read["name"] == "right" and read["scale"] == 2.0


def test_a_malicious_pickle_does_not_execute(tmp_path):
    mark, file = tmp_path / "executed", tmp_path / "hand.pickle"
    file.write_bytes(pickle.dumps({"kps2D": Malicious(mark)}))
    with pytest.raises(InputError, match="names (posix|os|nt).mkdir, must name arrays of numpy alone"):
        load_arrays(file)
    assert not mark.exists()
    pickle.loads(file.read_bytes())
    assert mark.exists()  # it is malicious indeed


@pytest.mark.parametrize("data", [b"", b"\x80\x04", pickle.dumps([1, 2]), pickle.dumps({"a": np.ones(9)})[:60]])
def test_a_damaged_pickle_is_refused(tmp_path, data):
    (tmp_path / "a.pickle").write_bytes(data)
    with pytest.raises(InputError, match="a.pickle: (no pickle of arrays|list, must be a mapping)"):
        load_arrays(tmp_path / "a.pickle")


@pytest.mark.parametrize("licence", ["CC BY-NC 4.0", "NC", "NVIDIA License (non-commercial research)"])
def test_a_licence_for_non_commercial_use_is_asked_for(licence):
    with pytest.raises(InputError, match="accept_licence: '', must be NC: A is "):
        check_licence("A", licence, SimpleNamespace(accept_licence=""))
    assert check_licence("A", licence, SimpleNamespace(accept_licence="NC")) == licence
    assert check_licence("A", "CC BY 4.0", SimpleNamespace(accept_licence="")) == "CC BY 4.0"


def test_steps_take_the_nearest_frame_in_time():
    assert grid(np.arange(8) / 15.0).tolist() == list(range(8))
    assert grid(np.arange(15) / 30.0).tolist() == list(range(0, 15, 2))
    assert grid(np.arange(9) / 20.0).tolist() == [0, 1, 3, 4, 5, 7, 8]
    assert grid(np.array([0.0, 1 / 15, 4 / 15])).tolist() == [0, 1, -1, -1, 2]
    assert grid(np.array([5.0])).tolist() == [0]


def test_a_reduced_camera_sees_the_same_points():
    camera = CameraModel(1920, 1080, 1060.0, 1061.0, 971.0, 523.0)
    assert factor_of(1920, 1080) == 3 and factor_of(640, 480) == 1 and factor_of(1921, 1080) == 1
    small = reduced(camera, 3)
    depth = (1000 + np.arange(1920 * 1080).reshape(1080, 1920) % 500).astype(np.uint16)
    points = unproject(metres(depth, 3), small)
    at = project(points[10, 20].astype(np.float64), camera)
    np.testing.assert_allclose(at, [3 * 20 + 1, 3 * 10 + 1], atol=1e-3)
    np.testing.assert_allclose(points[10, 20, 2], depth[31, 61] / 1000.0)
    assert np.isnan(metres(np.zeros((3, 3), np.uint16), 1)).all()
    assert reduce_colour(np.full((6, 9, 3), 7, np.uint8), 3).shape == (2, 3, 3)


def test_colours_and_words_of_hoi4d():
    assert voc_colours(4).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert voc_colours(10)[8:].tolist() == [[64, 0, 0], [192, 0, 0]]
    assert hoi4d_text(("ZY1", "H1", "C12", "T2")) == "kettle: pour water into a mug" and hoi4d_text(("C10", "T1")) == ""
    assert hand_labels(("C8", "T1")) == (2, 6) and hand_labels(()) == (2,)
