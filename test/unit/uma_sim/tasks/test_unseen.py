"""No shape of the three benchmark tasks is one that the training's primitives and intents can draw."""

import mujoco
import numpy as np
import pytest

pytest.importorskip("franky_sim")

from uma_sim import tasks
from uma_sim.objects import brushes, containers, debris
from uma_sim.objects import catalog as shapes
from uma_sim.tasks import folding, insertion, sweeping
from uma_sim.tasks.primitives import cloth as primitive_cloth
from uma_sim.tasks.primitives import gather_scene as gatherings
from uma_sim.tasks.primitives import move as primitive_move
from uma_sim.tasks.primitives import stand as primitive_stand
from uma_sim.tasks.primitives import tool as primitive_tool

SCENES = range(200)
POLYGON = mujoco.mjtGeom.mjGEOM_CYLINDER


def catalogue(kind: str) -> list:
    """Every shape of a kind, those for evaluation included."""
    return [shapes.shape(kind, number) for number in range(shapes.COUNT)]


def apart(a, b) -> bool:
    """Whether the ranges of two samples are disjoint."""
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.max() < b.min() or b.max() < a.min())


def test_training_takes_rigid_things_from_the_catalogue():
    names = {thing.name for kind in shapes.MAKERS for thing in catalogue(kind)}
    for seed in range(20):
        drawn = [primitive_move.sample(seed), primitive_stand.sample(seed), primitive_tool.sample(seed, "poke")]
        drawn += [tasks.load(f"intents/{kind}").sample(seed) for kind in ("put", "into")]
        assert {thing.name for one in drawn for thing in one.things} <= names


def test_utensils_have_other_handles_and_heads():
    handles = [2 * thing.geoms[0]["size"][1] for thing in catalogue("utensil")]
    drawn = [insertion.sample(seed).utensil for seed in SCENES]
    assert apart(handles, [utensil.handle_width for utensil in drawn])
    assert {utensil.head_width for utensil in drawn} == {0.85}


@pytest.mark.parametrize("depth", sorted(insertion.HOLDERS))
def test_holders_have_other_sides(depth):
    drawn = [insertion.sample(seed, holders=depth).holders[0] for seed in SCENES]
    seen = [container for seed in range(100) for container in primitive_stand.sample(seed).containers]
    assert seen and not {container.sides for container in seen} & {holder.sides for holder in drawn}
    for kind in (*containers.KINDS, "mug"):
        openings = [next(g["size"][0] for g in thing.geoms if g["type"] == POLYGON) for thing in catalogue(kind)]
        assert apart(openings, [holder.half_opening for holder in drawn]), kind


def test_no_utensil_goes_into_a_container():
    drawn = [primitive_stand.sample(seed) for seed in SCENES]
    kinds = {one.things[0].kind for one in drawn if one.containers}
    assert kinds == set(primitive_stand.CONTAINED) and "utensil" not in kinds


def test_brushes_have_wider_grips():
    grips = [thing.width / 2 for thing in catalogue("scraper")]
    assert apart(grips, [sweeping.sample(seed).brush.grip_half_width for seed in SCENES])


def test_scraps_have_two_layers_and_bits_one():
    drawn, seen, spec = sweeping.sample(0), gatherings.sample(0), mujoco.MjSpec()
    brushes.add_scrap(spec, "scrap", drawn.scraps[0, 3:], np.zeros(3), 0.0, drawn.scrap_colors[0])
    debris.add_bit(spec, seen.bits[0], "bit")
    assert (len(spec.body("scrap").geoms), len(spec.body("bit").geoms)) == (2, 1)


def test_dustpans_have_higher_walls():
    walls = [tray.walls for seed in range(60) for tray in gatherings.sample(seed).trays]
    assert walls and apart(walls, [sweeping.sample(seed).pans[0].height for seed in SCENES])


def test_cloths_have_other_widths():
    seen = [primitive_cloth.sample(seed).cloth.spacing[0] for seed in SCENES]
    assert apart(seen, [folding.sample(seed).cloth.spacing[0] for seed in SCENES])
