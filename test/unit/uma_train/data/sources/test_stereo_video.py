"""DROID's stereo videos: depth by matching equals that of the simulator's stereo camera."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from demonstration_clips import stereo_clip
from droid_files import EXT1, FOCAL, TEXTS, padded_list, write_annotations, write_droid, write_video

from uma.types import CameraModel, InputError
from uma_train.data.sources.droid import read
from uma_train.data.sources.gates import Gates, check_sights, sight
from uma_train.data.sources.stereo import StereoVideo

FULL = CameraModel(1280, 720, FOCAL, FOCAL, 639.5, 359.5)


def test_depth_is_that_of_the_simulators_stereo_camera(tmp_path):
    c, pairs = stereo_clip(steps=2)
    for name in (f"{EXT1}-stereo.mp4", f"{EXT1}.mp4"):  # some lack the suffix
        write_video(tmp_path / name, pairs)
        found = StereoVideo.open(tmp_path, EXT1, FULL)
        assert (found.count, found.camera) == (2, c.observations[0].camera)
        seen = list(found.pictures(np.arange(2.0), 0, 2, np.eye(4)).read({1}))
        assert [row for row, *_ in seen] == [1]
        for row, rgb, depth in seen:
            own = c.observations[row].depth
            both = np.isfinite(depth) & np.isfinite(own)
            assert rgb.shape == (*own.shape, 3) and both.mean() > 0.9 * np.isfinite(own).mean() > 0.5
            assert np.median(np.abs(depth - own)[both]) < 0.006
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="video: .*none, must be a pair of images side by side"):
        StereoVideo.open(tmp_path, EXT1, FULL)


@pytest.mark.slow
def test_an_episode_of_a_stereo_video_passes_the_gates(tmp_path):
    c, pairs = stereo_clip(steps=20)
    folder = write_droid(tmp_path / "raw", c)
    write_video(folder / "recordings" / "MP4" / f"{EXT1}-stereo.mp4", padded_list(pairs)[:-1])
    annotations = write_annotations(tmp_path / "json", c)
    options = SimpleNamespace(camera="", depth="stereo", annotations=str(annotations), actions="auto", text="")
    found = read(folder, options)
    np.testing.assert_allclose(found.robot.pose, np.stack(c.pose), atol=1e-5)
    assert found.text == TEXTS[0] and found.licence == "CC BY 4.0" and found.notes["depth"] == "stereo"
    seen = dict(itertools.islice(found.observations(), 0, 20, 4))
    measured, own = (
        check_sights([sight(o) for o in chosen], Gates())["overlay_m"]
        for chosen in (seen.values(), [c.observations[i] for i in seen])
    )
    assert abs(measured - own) < 0.01 and list(seen) == [0, 4, 8, 12, 16]
