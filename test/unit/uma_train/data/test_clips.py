"""Images around the windows' current steps."""

import dataclasses

import numpy as np
import pytest
from episodes import episode

from uma.model.inputs import Normalization
from uma_train.data.episode import EpisodeError
from uma_train.data.mixtures import Mixture
from uma_train.data.windows import Windows


def filmed(seed: int, every: int = 2) -> object:
    """An episode whose image of frame f has the colour f everywhere."""
    e = episode(seed)
    frames = np.arange(0, len(e.xyz), every // 2, dtype=np.int32)
    images = np.broadcast_to(frames[:, None, None, None].astype(np.uint8), (len(frames), 4, 6, 3)).copy()
    return dataclasses.replace(e, images=images, image_frame=frames)


def draw(windows, frames, steps, **options):
    return windows.draw(
        len(frames), 0, Normalization(), np.random.default_rng(0), np.array(frames), clip=steps, **options
    ).clip


def test_the_nearest_stored_image_stands_at_each_step():
    clip = draw(Windows([filmed(0)]), [2, 11], (-8, -4, 0, 1, 4, 16))
    frames = (clip.images[:, :, 0, 0, 0] * 255).round().int()
    # Frame f is at step 2 f, frames are 0 to 11. Frame 2 is step 4; frame 11 is step 22.
    assert frames.tolist() == [[0, 0, 2, 2, 4, 10], [7, 9, 11, 11, 11, 11]]
    assert clip.is_seen.tolist() == [[False, True, True, True, True, True], [True, True, True, True, False, False]]
    assert clip.images.shape == (2, 6, 3, 4, 6)


def test_no_request_no_clip_and_no_images_is_an_error():
    assert draw(Windows([filmed(0)]), [2], ()) is None
    with pytest.raises(EpisodeError, match="no episode has an image"):
        draw(Windows([episode(0)]), [2], (0,))


def test_an_episode_without_images_is_unseen_among_others():
    clip = draw(Windows([filmed(0), episode(1)]), [5, 12 + 5], (0, 4))
    assert clip.is_seen.tolist() == [[True, True], [False, False]] and not clip.images[1].any()


def test_a_mixture_keeps_the_clips_with_their_windows():
    parts = [Windows([filmed(0)]), Windows([filmed(1)])]
    mixture = Mixture(parts)
    batch = mixture.draw(16, 0, Normalization(), np.random.default_rng(0), clip=(0, 2), windows_per_task=2)
    now = (batch.clip.images[:, 0, 0, 0, 0] * 255).round()
    later = (batch.clip.images[:, 1, 0, 0, 0] * 255).round()
    assert ((later == now + 1) | (now == 11)).all() and len(now.unique()) > 3


def test_a_source_without_images_is_unseen():
    mixture = Mixture([Windows([filmed(0)]), Windows([episode(1)])])
    clip = mixture.draw(8, 0, Normalization(), np.random.default_rng(0), clip=(0,)).clip
    assert clip.is_seen.any() and not clip.is_seen.all() and clip.images.shape == (8, 1, 3, 4, 6)
