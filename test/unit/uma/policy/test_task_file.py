"""A task as a file."""

import json

import numpy as np
import pytest

from uma.policy.task_file import read_task, write_task
from uma.types import InputError, ReferenceMotion


def test_a_motion_and_words_survive_the_disk(tmp_path):
    points = tuple(np.random.default_rng(0).normal(size=(n, 3)) for n in (1, 3, 4))
    motion = ReferenceMotion(points, frame="camera")
    write_task(tmp_path / "a.json", motion)
    read, words = read_task(tmp_path / "a.json")
    assert words == "" and read.frame == "camera"
    for name in ("waypoints", "phase", "is_valid"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(read, name), getattr(motion, name), strict=True))
    write_task(tmp_path / "b.json", None, "lift the cup")
    assert read_task(tmp_path / "b.json") == (None, "lift the cup")


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "bad.json"),
        ("[]", "bad.json"),
        (json.dumps({"reference": None, "instruction": ""}), "either a reference or an instruction"),
        (json.dumps({"reference": {"waypoints": [[[0, 0]]]}, "instruction": ""}), "bad.json"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, content, words):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(InputError, match=words):
        read_task(tmp_path / "bad.json")
