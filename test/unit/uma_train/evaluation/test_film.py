"""Films of the benchmark."""

import numpy as np
import pytest
from PIL import Image

from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import benchmark


@pytest.mark.slow
def test_benchmark_leaves_films_and_a_contact_sheet(tmp_path):
    config = BenchmarkConfig(
        episodes=2, policies=("hold_still",), max_steps=4, workers=1, films=1, out=str(tmp_path / "b")
    )
    benchmark(config)
    assert {p.name for p in (tmp_path / "b").iterdir() if p.suffix in (".webp", ".png", ".jpg")} == {
        "hold_still_1000000.webp",
        "hold_still_1000000.png",
        "contact_sheet.jpg",
    }
    film, strip, whole = (
        Image.open(tmp_path / "b" / n)
        for n in ("hold_still_1000000.webp", "hold_still_1000000.png", "contact_sheet.jpg")
    )
    assert film.n_frames == 3 and film.size == (480, 270)
    assert strip.size == whole.size and np.asarray(whole).std() > 20  # something is to be seen
