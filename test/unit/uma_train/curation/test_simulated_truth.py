"""The truth beside a simulated clip."""

from dataclasses import replace

import numpy as np
import pytest
from curated import HEIGHT, TABLE_M, WIDTH, Square, path, scene

from uma.types import InputError
from uma_train.curation.simulated import Simulated


@pytest.fixture
def made() -> Simulated:
    """A square of 10 cm that moves 8 cm along x, 4 cm over the table; its middle has no clean depth."""
    square = Square(path(6, end=(0.08, 0.0, 0.04, 0.0)))
    clip = scene([square], T=6, noise=0.0)
    clean = clip.depths.copy()
    is_object = clean[0] < TABLE_M - 0.02
    clean[0, HEIGHT // 2 - 2 : HEIGHT // 2 + 2, WIDTH // 2 - 2 : WIDTH // 2 + 2] = np.nan
    return Simulated(clip, is_object, clean, np.stack([square.pose(t) for t in range(6)]), None)


def asked(made: Simulated, *points) -> tuple[np.ndarray, np.ndarray]:
    query = np.array([[0, *p] for p in points], np.float32)
    return made.queried(replace(made.clip, query=query))


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.03, 0.02, TABLE_M - 0.04), True),
        ((0.12, 0.0, TABLE_M), False),
        ((0.0, 0.0, TABLE_M - 0.04), False),
        ((2.0, 0.0, TABLE_M), False),
    ],
    ids=["on the object", "on the table", "without depth", "outside the image"],
)
def test_a_query_is_on_the_object_where_it_is_truly_seen(made, point, expected):
    assert asked(made, point)[1].tolist() == [expected]


def test_true_points_move_with_the_object(made):
    pixels, on = asked(made, (0.03, 0.02, TABLE_M - 0.04))
    x, seen = made.follow(pixels[on])
    np.testing.assert_allclose(x[-1, 0] - x[0, 0], [0.08, 0, 0], atol=1e-6)
    np.testing.assert_allclose(x[0, 0], [0.03, 0.02, TABLE_M - 0.04], atol=0.003)
    assert seen[:, 0].all()


def test_without_queries_nothing_is_asked(made):
    with pytest.raises(InputError, match="query is unknown"):
        made.queried(made.clip)
