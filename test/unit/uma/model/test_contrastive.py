"""The contrastive term (paper A.1): what it rewards, what its views keep, and whom its gradient reaches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import batch

from uma.model.config import tiny
from uma.model.contrastive import ProjectionHead, info_nce
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.training import objectives
from uma_train.training.objectives import Objective, contrastive_loss
from uma_train.training.views import ViewSampling, augmented, hard_negative, keypoint_index, subsample, vertical


def test_info_nce_equals_equation_9_written_out():
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(6, 5), dim=-1)
    group = [0, 1, 0, 1, 0, 2]
    terms = []
    for a in range(6):
        positives = [b for b in range(6) if b != a and group[b] == group[a]]
        if positives:
            e = [float(torch.exp(z[a] @ z[b] / 0.07)) for b in range(6)]
            terms.append(-np.log(sum(e[b] for b in positives) / sum(e[b] for b in range(6) if b != a)))
    assert info_nce(z, torch.tensor(group)).item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert info_nce(z[:2], torch.tensor([0, 1])).item() == 0.0
    together = torch.eye(5)[[0, 1, 0, 1]]
    assert (
        info_nce(together, torch.tensor([0, 1, 0, 1])).item()
        < 1e-3
        < 5
        < info_nce(together, torch.tensor([0, 0, 1, 1])).item()
    )


def test_views_keep_the_geometry_between_scene_and_reference():
    b, rng = batch(), np.random.default_rng(0)
    points, reference = augmented(b.initial_points, b.reference, ViewSampling(), rng)
    kept = reference.is_valid
    assert kept.any(1).all() and (kept & ~b.reference.is_valid).sum() == 0 and kept.sum() < b.reference.is_valid.sum()
    before = torch.cdist(b.reference.position, b.initial_points.xyz)
    after = torch.cdist(reference.position, points.xyz)
    assert torch.allclose(before, after, atol=1e-4) and not torch.allclose(points.xyz, b.initial_points.xyz, atol=1e-2)
    for _ in range(20):
        thin = subsample(b.reference, ViewSampling(keep_keypoint=0.0, keep_waypoint=0.0), rng)
        assert torch.equal(
            thin.is_valid.view(4, 3, 4).any(2).sum(1), torch.ones(4, dtype=torch.long)
        )  # one keypoint, its first and last waypoint
        assert torch.equal(thin.is_valid.view(4, 3, 4).any(1), torch.tensor([[True, False, False, True]]).expand(4, 4))
    assert torch.equal(keypoint_index(b.reference)[0], torch.arange(3).repeat_interleave(4))


def test_hard_negatives_start_alike_move_otherwise_and_rigidly():
    b = batch()
    other = hard_negative(b.reference, ViewSampling(), np.random.default_rng(1))
    first, last = b.reference.phase[0] == 0, b.reference.phase[0] == 1
    assert torch.allclose(other.position[:, first], b.reference.start[:, first], atol=1e-5)
    assert (other.position[:, last] - b.reference.position[:, last]).norm(dim=-1).min() > 0.02
    shape = torch.cdist(b.reference.start[:, last], b.reference.start[:, last])
    assert torch.allclose(torch.cdist(other.position[:, last], other.position[:, last]), shape, atol=1e-4)


def test_gradient_reaches_task_encoder_and_head_alone():
    torch.manual_seed(0)
    model, b = Uma(tiny(), Normalization()), batch()
    head = ProjectionHead(tiny())
    loss = contrastive_loss(
        model, head, b, model.encode_task(b.initial_points, b.reference), Objective(), np.random.default_rng(0)
    )
    loss.backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"task_encoder"} and all(p.grad.any() for p in head.parameters())


def test_training_on_it_groups_views_of_a_task():
    torch.manual_seed(0)
    model, b = Uma(tiny(), Normalization()), batch(8)
    head, objective = ProjectionHead(tiny()), Objective(views=ViewSampling(turn_rad=0.3))
    optimizer = torch.optim.AdamW([*model.task_encoder.parameters(), *head.parameters()], lr=3e-3)
    first = None
    for i in range(40):
        loss = contrastive_loss(
            model, head, b, model.encode_task(b.initial_points, b.reference), objective, np.random.default_rng(i)
        )
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * first


def test_vertical_views_turn_about_the_height_direction():
    b = batch()
    up = torch.nn.functional.normalize(torch.tensor([0.2, -0.9, -0.4]), dim=0)
    points = replace(b.initial_points, height=b.initial_points.xyz @ up)
    assert np.allclose(vertical(points), up, atol=1e-4)
    sampling = ViewSampling(keep_keypoint=1.0, keep_waypoint=1.0, shift_m=0.0, turn_rad=np.pi, axis="vertical")
    turned, _ = augmented(points, b.reference, sampling, np.random.default_rng(0))
    rise = (points.xyz - points.xyz.mean(1, keepdim=True)) @ up
    assert torch.allclose((turned.xyz - turned.xyz.mean(1, keepdim=True)) @ up, rise, atol=1e-5)
    assert (turned.xyz - points.xyz).norm(dim=-1).mean() > 0.01
    freely, _ = augmented(points, b.reference, replace(sampling, axis="any"), np.random.default_rng(0))
    assert not torch.allclose((freely.xyz - freely.xyz.mean(1, keepdim=True)) @ up, rise, atol=1e-2)


def test_hard_negatives_with_views_are_groups_of_their_own(monkeypatch):
    seen = []
    monkeypatch.setattr(objectives, "info_nce", lambda z, group, temperature: seen.append(group) or z.sum() * 0)
    model, b = Uma(tiny(), Normalization()), batch()
    task = model.encode_task(b.initial_points, b.reference)
    for views in (0, 2):
        sampling = ViewSampling(views=1, hard_negatives=2, negative_views=views)
        contrastive_loss(model, ProjectionHead(tiny()), b, task, Objective(views=sampling), np.random.default_rng(0))
    B = len(task)
    for group, views in zip(seen, (0, 2), strict=True):
        assert torch.equal(group.bincount(), torch.tensor([2] * B + [1 + views] * 2 * B))
