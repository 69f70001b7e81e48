"""Breakages of the intents: of their judge, their scenes, and the noise of human sketches."""

from __future__ import annotations

from robustness.mutants.mutant import of

HELD = "test_intents::test_a_held_thing_must_be_where_its_motion_ends"
LET_GO = "test_intents::test_a_thing_must_be_let_go_where_its_motion_ends"
INTO = "test_intents::test_into_means_within_the_walls_and_under_the_rim"
LASTS = "test_benchmark::test_a_task_may_ask_that_its_success_lasts"

MUTANTS = (
    *of(
        "uma_sim/tasks/intents/judge.py",
        ("intents: 6 cm will do", "NEAR_M, NEAR_RAD = 0.03", "NEAR_M, NEAR_RAD = 0.06", HELD),
        ("intents: 30 degrees will do", "np.radians(15)", "np.radians(30)", HELD),
        ("intents: it may still move", "STILL_M_S = 0.05", "STILL_M_S = 0.2", HELD),
        ("intents: the hand may stay", "AWAY_M = 0.045", "AWAY_M = 0.02", LET_GO),
        ("intents: beside the container will do", "aside < containers.opening(shape.points)", "aside < 1.0", INTO),
        (
            "intents: let go in the air will do",
            "elif not station.grasped():",
            "elif False:",
            "test_intents::test_a_thing_that_is_not_held_has_not_arrived",
        ),
    ),
    *of(
        "uma_sim/tasks/intents/goals.py",
        (
            "intents: the turn of a can counts",
            'ROUND = ("can", "bottle")',
            "ROUND = ()",
            "test_intents::test_the_turn_of_a_round_thing_does_not_count",
        ),
        (
            "intents: a reference cuts the sharp bends",
            "int(np.argmin(cut))",
            "int(np.argmax(cut))",
            "test_intents::test_a_reference_keeps_the_sharp_bends",
        ),
    ),
    *of(
        "uma_sim/tasks/intents/layout.py",
        (
            "intents: training has shapes for evaluation",
            "shapes.sample(rng, MOVED_BY.get(kind, MOVED), held_out)",
            "shapes.sample(rng, MOVED_BY.get(kind, MOVED), rng.uniform() < 0.3)",
            "test_intents::test_only_held_out_scenes_hold_shapes_for_evaluation",
        ),
    ),
    *of(
        "uma_train/evaluation/closed_loop.py",
        ("benchmark: a success need not last", "max(config.linger, station.task.lasts)", "config.linger", LASTS),
        ("benchmark: the last moment will do", "step - since < linger", "step - since < 0", LASTS),
    ),
    *of(
        "uma/sketch/human.py",
        (
            "sketch: each waypoint has its own body",
            "carried = offsets if stays else offsets @ (noise[i] @ R).T",
            "carried = offsets",
            "test_human::test_the_sketched_object_keeps_its_shape",
        ),
        (
            "sketch: the depth is as certain as the rest",
            "(style.sight - 1.0) * (place",
            "0.0 * (place",
            "test_human::test_a_person_errs_more_along_the_line_of_sight",
        ),
    ),
)
