"""Defects of the simulated tasks' judges: each accepts a failure as a success."""

from __future__ import annotations

from robustness.mutants.mutant import of

STANDS = "test_judges::test_a_utensil_must_stand_let_go_and_at_rest"
INSIDE = "test_judges::test_a_utensil_must_end_below_the_rim_of_a_deep_holder"
SWEPT = "test_judges::test_every_scrap_must_be_inside_and_the_brush_out"
FOLDED = "test_judges::test_a_cloth_must_be_folded_straight_let_go_and_calm"
PUSHED = "test_primitive_judges::test_one_thing_must_be_pushed_to_its_place"

MUTANTS = (
    *of(
        "uma_sim/tasks/insertion.py",
        ("insertion: leaning will do", " and holder.inset(top[:2]) > -0.002", "", STANDS),
        ("insertion: hanging will do", "DEPTH = 0.03", "DEPTH = 0.06", STANDS),
        ("insertion: it may reach above the rim", "PROUD = 0.002", "PROUD = 0.02", INSIDE),
        ("insertion: the hand may stay", "CLEARANCE = 0.045", "CLEARANCE = 0.03", STANDS),
        ("insertion: it may still move", "station.object_speed() > 0.03", "station.object_speed() > 0.1", STANDS),
        (
            "insertion: a finger may touch it",
            "if held or station.gripper_position()",
            "if station.gripper_position()",
            "test_judges::test_a_utensil_that_a_finger_touches_is_not_let_go",
        ),
    ),
    *of(
        "uma_sim/objects/brushes.py",
        (
            "sweeping: the pan is 1 cm wider",
            "np.abs(local[..., 1]) < self.half_width + GIVE",
            "np.abs(local[..., 1]) < self.half_width + 0.01",
            SWEPT,
        ),
        ("sweeping: the lip is 1 cm further out", "local[..., 0] > 0.004", "local[..., 0] > -0.006", SWEPT),
        ("sweeping: scraps may lie behind the pan", "local[..., 0] < self.depth + GIVE", "local[..., 0] < 1.0", SWEPT),
    ),
    *of(
        "uma_sim/tasks/sweeping.py",
        (
            "sweeping: one scrap may be left",
            "thing.swept(station.scene.pans[index]).all()",
            "thing.swept(station.scene.pans[index]).sum() > 4",
            SWEPT,
        ),
        ("sweeping: a scrap's middle will do", "self._corners)).all(-1)", "self._corners)).any(-1)", SWEPT),
        ("sweeping: the brush may stay", "bristles_height(station) < 0.02", "bristles_height(station) < 0.0", SWEPT),
        ("sweeping: scraps may still move", "thing.scrap_speed() > 0.03", "thing.scrap_speed() > 0.1", SWEPT),
    ),
    *of(
        "uma_sim/tasks/folding.py",
        ("folding: 20 degrees will do", "np.radians(10.0)", "np.radians(20.0)", FOLDED),
        (
            "folding: crumpled will do",
            "if spread(vertices, half_length) < 0.55",
            "if spread(vertices, half_length) < 0.3",
            FOLDED,
        ),
        ("folding: the whole may be dragged", "moved[1 - goal] < 0.25", "moved[1 - goal] < 0.5", FOLDED),
        ("folding: the hand may stay", "station.tcp_to_object() < 0.05", "station.tcp_to_object() < 0.03", FOLDED),
        ("folding: it may still move", "station.object_speed() > 0.03", "station.object_speed() > 0.1", FOLDED),
    ),
    *of(
        "uma_sim/tasks/primitives/move.py",
        (
            "move: 6 cm will do",
            "apart < 0.03 and",
            "apart < 0.06 and",
            "test_primitive_judges::test_a_thing_must_be_held_where_its_way_ends",
        ),
        (
            "move: put down anywhere near",
            "apart < 0.04",
            "apart < 0.08",
            "test_primitive_judges::test_a_thing_must_be_put_down_where_its_way_ends",
        ),
    ),
    *of(
        "uma_sim/tasks/primitives/stand.py",
        (
            "stand: beside the container will do",
            "container.inset(low[:2]) > -0.005",
            "container.inset(low[:2]) > -0.03",
            "test_primitive_judges::test_a_thing_must_stand_in_its_container",
        ),
        (
            "stand: it may reach out of a deep container",
            "PROUD = 0.002",
            "PROUD = 0.02",
            "test_primitive_judges::test_a_thing_must_end_below_the_rim_of_a_deep_container",
        ),
    ),
    *of(
        "uma_sim/tasks/primitives/cloth.py",
        (
            "cloth: let go anywhere near",
            "WIDE_M, NARROW_M = 0.04, 0.07",
            "WIDE_M, NARROW_M = 0.04, 0.14",
            "test_primitive_judges::test_a_cloth_must_be_let_go_where_its_way_ends",
        ),
        (
            "cloth: a wide fold may end as far off as a narrow one",
            "WIDE_M, NARROW_M = 0.04, 0.07",
            "WIDE_M, NARROW_M = 0.07, 0.07",
            "test_primitive_judges::test_a_wide_fold_must_end_nearer",
        ),
    ),
    *of(
        "uma_sim/tasks/primitives/cable.py",
        (
            "cable: in the air will do",
            " and float(place(station)[2]) < 0.03",
            "",
            "test_primitive_judges::test_a_cable_must_be_put_down_where_its_way_ends",
        ),
    ),
    *of(
        "uma_sim/tasks/primitives/tool.py",
        ("tools: half of the way will do", "0.7 * length < along", "0.5 * length < along", PUSHED),
        ("tools: the other thing may move", "1 - index))) < 0.02", "1 - index))) < 0.1", PUSHED),
    ),
    *of(
        "uma_sim/tasks/primitives/gather.py",
        (
            "gather: half of the way will do",
            "THERE = 0.85",
            "THERE = 0.5",
            "test_primitive_judges::test_every_bit_must_have_come_along_its_way",
        ),
    ),
    *of(
        "uma_sim/objects/debris.py",
        (
            "gather: the tray is 1 cm wider",
            "np.abs(local[..., 1]) < self.half_width",
            "np.abs(local[..., 1]) < self.half_width + 0.01",
            "test_primitive_judges::test_every_bit_must_lie_in_its_tray",
        ),
    ),
    *of(
        "uma_sim/station.py",
        (
            "grasp: near will do",
            "self.tcp_to_object() < 0.03",
            "self.tcp_to_object() < 0.06",
            "test_primitive_judges::test_a_grasp_is_a_jaw_that_stopped_on_the_object",
        ),
    ),
)
