"""What a comparison refuses, the sizes it chooses, and the files that let it resume."""

import json
import math
from dataclasses import replace

import pytest
import torch

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy.systems import SYSTEMS
from uma.types import InputError
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.baselines.uwm.network import UwmConfig, UwmNetwork
from uma_train.data.clips import Layout
from uma_train.evaluation.compare.config import CompareConfig, known_systems
from uma_train.evaluation.compare.errors import image_errors
from uma_train.evaluation.compare.files import kept, write_json
from uma_train.evaluation.compare.latency import first_block
from uma_train.evaluation.compare.page import page
from uma_train.evaluation.compare.sizes import Size, check_sizes, matched, size_in
from uma_train.training.choices import FlowChoice
from uma_train.training.config import TrainConfig


def test_the_default_systems_are_those_of_the_registry():
    assert CompareConfig().systems == known_systems() and set(known_systems()) <= set(SYSTEMS)
    assert {"uma", "coil", "uva", "uwm", "point_flow"} <= set(known_systems())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"systems": ("uma",)}, "at least two different"),
        ({"systems": ("uma", "uma")}, "at least two different"),
        ({"systems": ("uma", "nothing")}, "systems: 'nothing', must be of uma"),
        ({"systems": ("uma", "tokeniser")}, "systems: 'tokeniser', must be of uma"),
        ({"checkpoint": ("uma",)}, "checkpoint: 'uma', must be SYSTEM=FOLDER"),
        ({"checkpoint": ("uma=a", "uma=b")}, "once for each system"),
        ({"systems": ("uma", "coil"), "checkpoint": ("uva=a",)}, "none of the systems uma, coil"),
        ({"train": TrainConfig(init="models/uma-small")}, "train.init: models/uma-small, must be empty"),
        ({"train": TrainConfig(minutes=1.0)}, "train.minutes: 1, must be 0"),
        ({"tolerance": 0.0}, "tolerance: 0.0, must be"),
        ({"tasks": ()}, "tasks: none"),
    ],
)
def test_an_unequal_or_unknown_comparison_is_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        CompareConfig(**changes)


def flow(width: int, layers: int, heads: int) -> TrainConfig:
    return TrainConfig(system="point_flow", preset="tiny", flow=FlowChoice(width, layers, heads))


@pytest.mark.parametrize("part", [0.97, 1.0, 1.03])
def test_a_width_is_chosen_whose_size_is_nearest(part):
    target = int(part * size_in(flow(104, 3, 4)).trained)
    chosen = matched(flow(32, 3, 4), target)
    assert chosen == flow(104, 3, 4)


def test_a_depth_is_chosen_where_widths_are_too_coarse():
    sizes = [size_in(flow(24 * n, 4, 6)).trained for n in (2, 3)]
    between = sum(sizes) // 2
    chosen = matched(flow(24, 4, 6), between)
    assert min(abs(s / between - 1) for s in sizes) > 0.05 and chosen.flow.layers != 4
    assert abs(size_in(chosen).trained / between - 1) <= 0.05


def test_a_system_of_the_same_network_keeps_its_size():
    coil = TrainConfig(system="coil", preset="tiny")
    assert matched(coil, 10_000_000) == coil and size_in(coil) == size_in(TrainConfig(preset="tiny"))


def test_sizes_beyond_the_tolerance_are_refused_with_the_numbers():
    check_sizes({"uma": Size(1_000_000), "uva": Size(1_099_000, 50_000)}, 0.1)
    with pytest.raises(InputError, match=r"uma 1.000 M, uva 1.101 M; uva \+10 % against uma, must be within 10 %"):
        check_sizes({"uma": Size(1_000_000), "uva": Size(1_101_000)}, 0.1)
    with pytest.raises(InputError, match="coil -50 %"):
        check_sizes({"uma": Size(1_000_000), "coil": Size(500_000)}, 0.1)


def test_a_measurement_is_kept_for_its_key_alone(tmp_path):
    calls = []

    def measure() -> dict:
        calls.append(1)
        return {"value": len(calls), "missing": math.nan, "pair": (1, 2)}

    path = tmp_path / "a/b.json"
    first = kept(path, {"id": "x", "tasks": ("a",)}, measure)
    assert first == {"value": 1, "missing": None, "pair": [1, 2]}
    assert kept(path, {"id": "x", "tasks": ("a",)}, measure) == first
    assert kept(path, {"id": "y", "tasks": ("a",)}, measure)["value"] == 2
    path.write_text('{"key": {"id": "y"')  # as after a full disk
    assert kept(path, {"id": "y", "tasks": ("a",)}, measure)["value"] == 3
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.json"]


def test_json_without_a_value_that_is_no_number(tmp_path):
    write_json(tmp_path / "x.json", {"a": [math.inf, 1.0]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [None, 1.0]}


LAYOUT = Layout(16, 16, 1, 2, 4)


class Prophet(PixelModel):
    """Foresees the true latents, plus one if the actions are those of another window."""

    def __init__(self):
        config = UwmConfig(
            LAYOUT, replace(tiny(), width=32), TokeniserConfig(LAYOUT, (8,), 4), width=32, layers=1, heads=2
        )
        super().__init__(config, Normalization())
        self.tokeniser = Tokeniser(config.tokeniser)

    def foresee(self, batch, num_steps, generator):
        wrong = (batch.action[:, 0, 0] != torch.arange(len(batch.action))).float()
        return self.tokeniser.encode(batch.future) + wrong[:, None, None, None]


def inputs(B: int = 3) -> PixelBatch:
    g = torch.Generator().manual_seed(0)
    action = torch.arange(B).float()[:, None, None].expand(B, 16, 10)
    return PixelBatch(
        torch.rand(B, 1, 3, 16, 16, generator=g),
        torch.zeros(B, 1, 10),
        torch.rand(B, 2, 3, 16, 16, generator=g),
        torch.tensor([[True, True], [True, False], [True, True]]),
        action,
        torch.tensor([True, True, False]),
        torch.zeros(B, 4, 32),
    )


@torch.no_grad()
def test_image_errors_are_of_images_with_record_and_actions():
    torch.manual_seed(0)
    errors = image_errors(Prophet(), inputs(), 0)
    assert errors["latent_mse"] == 0 and errors["latent_mse_other"] == pytest.approx(1)
    assert errors["pixel_mse"] == errors["pixel_mse_tokeniser"] > 0 and errors["images"] == 3
    batch = inputs()
    still = (batch.past - batch.future).square().mean((2, 3, 4))[[0, 0, 1], [0, 1, 0]].mean()
    assert errors["pixel_mse_still"] == pytest.approx(float(still))


def test_a_network_without_a_mode_says_so():
    model = UwmNetwork(Prophet().config, Normalization())
    for call, mode in ((PixelModel.foresee, "forward mode"), (PixelModel.infer, "inverse mode")):
        with pytest.raises(InputError, match=f"{mode}: UwmNetwork has none"):
            call(model, inputs(), 1, torch.Generator())


def test_uwm_foresees_latents_in_the_order_of_images_and_places():
    model = UwmNetwork(Prophet().config, Normalization()).eval()
    batch = inputs()
    with torch.no_grad():
        latents = model.foresee(batch, 1, torch.Generator().manual_seed(0))
        _, patches = model.sample(batch, "forward", 1, torch.Generator().manual_seed(0))
        assert torch.equal(model.tokeniser.decode(latents), model.images(patches))
        assert latents.shape == model.tokeniser.encode(batch.future).shape
        assert model.infer(batch, 1, torch.Generator()).shape == (3, 16, 10)


def test_a_page_shows_differences_and_modes_that_are_lacking():
    errors = dict.fromkeys(("control", "dynamics", "dynamics_alone", "pixels", "inverse"))
    speed = {"median_ms": 12.0, "p95_ms": 20.0, "passes": [0, 3], "head_passes": [0, 0], "samples": 4, "threads": 1}
    system = {
        "system": "point_flow",
        "step": 5,
        "batch_size": 4,
        "seed": 0,
        "parameters": 2_000_000,
        "frozen": 0,
        "seconds": 60.0,
        "checkpoint_id": "abc",
        "closed_loop": {},
        "latency": speed | {"machine": "a CPU"},
        "errors": errors,
    }
    config = {"train": {"data": ["d"]}, "tolerance": 0.1, "episodes": 0, "first_seed": 7}
    text = page({"config": config, "systems": [system], "unequal": ["coil: step 2, uma's is 3"]})
    assert "**Not equal:** coil: step 2, uma's is 3." in text and "0, at most 3" in text
    assert "| `point_flow` | no such mode | no such mode |" in text and "## Success" not in text


@pytest.mark.parametrize("separate", [0, 1, 2])
def test_the_first_block_runs_once_per_pass(separate):
    network = Uma(replace(tiny(), separate_layers=separate), Normalization())
    expected = network.blocks if separate < 2 else network.action_blocks
    assert first_block(network) is expected[0]
