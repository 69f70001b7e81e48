"""Two benchmarks of the same scenes, compared scene by scene."""

import json

import pytest

from uma_train.evaluation.paired import Paired, paired


def test_scenes_that_only_one_has_run_do_not_count(tmp_path):
    runs = {
        "first": {1: "success", 2: "lost in transit", 3: "success", 4: "imprecise end", 5: "success"},
        "second": {1: "success", 2: "success", 3: "no grasp", 4: "success", 6: "success"},
    }
    for name, outcomes in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "episodes.jsonl").write_text(
            "\n".join(json.dumps({"seed": seed, "outcome": outcome}) for seed, outcome in outcomes.items())
        )
    assert paired(tmp_path / "first", tmp_path / "second") == Paired(better=2, worse=1)
    assert paired(tmp_path / "second", tmp_path / "first") == Paired(better=1, worse=2)


@pytest.mark.parametrize(
    "better, worse, chance", [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (1, 4, 2 * 6 / 32)]
)
def test_the_sign_test_is_two_sided(better, worse, chance):
    assert Paired(better, worse).chance == pytest.approx(chance)
