"""Orthogonalised steps: what a step is, and which matrices take it."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.training.optimizer import Muon, optimizers, orthogonal, with_rate


@pytest.mark.parametrize("shape", [(40, 40), (96, 40), (40, 96)])
def test_a_matrix_keeps_its_directions_and_loses_its_scales(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    inside = u.mT @ orthogonal(u * torch.logspace(3, 1, u.shape[1]) @ v) @ v.mT
    assert 0.6 < inside.diagonal().min() and inside.diagonal().max() < 1.3
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-3
    assert not orthogonal(torch.zeros(shape)).any()


def test_steps_are_those_of_torch():
    """In the precision that torch's own is bound to, up to that precision."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch older than 2.9")
    torch.manual_seed(1)
    ours, theirs = (nn.Parameter(w.clone()) for w in [torch.randn(48, 64)] * 2)
    before = ours.detach().clone()
    a = Muon([ours], lr=0.01, momentum=0.9, weight_decay=0.1, precision=torch.bfloat16)
    b = torch.optim.Muon([theirs], lr=0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(48, 64)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
    assert (ours - theirs).norm() < 0.02 * (ours - before).norm()


def test_step_size_is_independent_of_gradient_scale():
    torch.manual_seed(2)
    for scale in (1e-6, 1.0, 1e6):
        p, unused = nn.Parameter(torch.zeros(64, 128)), nn.Parameter(torch.ones(64, 64))
        p.grad = scale * torch.randn(64, 128)
        Muon([p, unused], lr=0.01).step()
        assert 0.15 < p.square().mean().sqrt() / 0.01 < 0.25
        assert (p * p.grad).sum() < 0 and (unused == 1).all()


def test_every_parameter_has_one_optimiser():
    model = Uma(tiny(), Normalization())
    names = {id(p): n for n, p in model.named_parameters()}
    adam, muon = optimizers("muon", model, list(model.parameters()), 1e-3, 0.0, torch.float32)
    shared = [[names[id(p)] for g in o.param_groups for p in g["params"]] for o in (adam, muon)]
    assert sorted(shared[0] + shared[1]) == sorted(names.values())
    assert {"blocks.0.layers.0.qkv.weight", "task_encoder.gather.kv.weight", "motion_in.2.weight"} <= set(shared[1])
    assert {
        "action_in.weight",
        "motion_in.0.weight",
        "final.action.weight",
        "kind",
        "task_encoder.queries",
        "blocks.0.modulation.linear.weight",
        "blocks.0.layers.0.qkv.bias",
    } <= set(shared[0])
    assert len(optimizers("adamw", model, list(model.parameters()), 1e-3, 0.0, torch.float32)) == 1


def test_chosen_parameters_take_larger_steps():
    torch.manual_seed(4)
    kept, added = (nn.Parameter(torch.zeros(40, 40)) for _ in range(2))
    rule = AdamW([kept, added], lr=1.0, weight_decay=0.0)
    with_rate(rule, [added, nn.Parameter(torch.zeros(1))], 4.0)
    for group in rule.param_groups:
        group["lr"] = 0.01 * group.get("rate", 1.0)
    for p in (kept, added):
        p.grad = torch.ones_like(p)
    rule.step()
    assert added.mean().item() == pytest.approx(4 * kept.mean().item()) and kept.mean() < 0
