"""Text in training (paper A.1, D.1): a positive of its task's motion-derived views, optionally also a condition."""

import dataclasses

import numpy as np
import pytest
import torch
from batches import batch

from uma.model.config import LanguageConfig, tiny
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.training.objectives import Objective, alignment, contrastive_loss, encode_text, losses

TEXT = ("put the spoon into the left cup", None, "sweep the paper", "fold the cloth")


def model() -> Uma:
    torch.manual_seed(0)
    return Uma(dataclasses.replace(tiny(), language=LanguageConfig(kind="words", embedding=32)), Normalization())


def test_text_is_a_positive_of_its_own_task():
    m, b = model(), dataclasses.replace(batch(), text=TEXT)
    head = ProjectionHead(m.config)
    tokens, rows = encode_text(m, b)
    assert tokens.shape == (3, 4, 32) and rows.tolist() == [0, 2, 3]
    task = m.encode_task(b.initial_points, b.reference)
    loss = contrastive_loss(m, head, b, task, Objective(), np.random.default_rng(0), (tokens, rows))
    loss.backward()
    touched = {name.split(".")[0] for name, p in m.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"task_encoder", "language_encoder"}
    # The loss between text and motion is lower with the right task than with a wrong one.
    optimizer = torch.optim.AdamW(
        [*m.task_encoder.parameters(), *m.language_encoder.parameters(), *head.parameters()], lr=3e-3
    )
    for i in range(40):
        optimizer.zero_grad()
        task, language = m.encode_task(b.initial_points, b.reference), encode_text(m, b)
        contrastive_loss(m, head, b, task, Objective(), np.random.default_rng(i), language).backward()
        optimizer.step()
    with torch.no_grad():
        near = head(encode_text(m, b)[0]) @ head(m.encode_task(b.initial_points, b.reference)).T
    assert near.argmax(1).tolist() == [0, 2, 3]


@pytest.mark.parametrize(("share", "reached"), [(0.0, False), (1.0, True)])
def test_text_task_reaches_the_denoiser_only_on_request(share, reached):
    m, b = model(), dataclasses.replace(batch(), text=TEXT)
    with torch.no_grad():
        for p in m.final.parameters():
            p.normal_(0, 0.1)
        for block in m.blocks:
            block.modulation.linear.bias.normal_(0, 0.5)
    objective = Objective(contrastive_weight=0.0, language_conditioning=share, task_dropout=0.0)
    out = losses(m, ProjectionHead(m.config), b, objective, torch.Generator().manual_seed(0))
    out["total"].backward()
    assert any(p.grad is not None and p.grad.any() for p in m.language_encoder.parameters()) == reached
    assert any(
        p.grad is not None and p.grad.any() for p in m.task_encoder.parameters()
    )  # of the task without text at least


def test_a_model_without_a_language_encoder_passes_over_text():
    torch.manual_seed(0)
    plain = Uma(tiny(), Normalization())
    assert encode_text(plain, dataclasses.replace(batch(), text=TEXT)) is None
    assert encode_text(model(), batch()) is None


def test_the_contrastive_term_keeps_its_mean_on_a_share():
    m, b = model(), dataclasses.replace(batch(), text=TEXT)
    head = ProjectionHead(m.config)

    def terms(share: float) -> np.ndarray:
        objective = Objective(contrastive_weight=1.0, contrastive_share=share)
        with torch.no_grad():
            drawn = [losses(m, head, b, objective, torch.Generator().manual_seed(i)) for i in range(40)]
        return np.array([float(v["contrastive"]) for v in drawn])

    whole, part = terms(1.0), terms(0.5)
    assert 8 <= (part == 0).sum() <= 32
    assert part[part > 0].mean() == pytest.approx(2 * whole.mean(), rel=0.2)
    with pytest.raises(ValueError, match="contrastive_share: 0"):
        Objective(contrastive_share=0.0)


def grounded() -> Uma:
    torch.manual_seed(0)
    language = LanguageConfig(kind="words", embedding=32, scene=True)
    return Uma(dataclasses.replace(tiny(), ways=True, follow=True, language=language), Normalization())


def test_each_text_is_read_in_the_scene_of_its_own_row():
    m, b = grounded(), dataclasses.replace(batch(), text=TEXT)
    tokens, rows = encode_text(m, b)
    assert rows.tolist() == [0, 2, 3]
    alone = dataclasses.replace(b, text=(None, None, TEXT[2], None))
    assert torch.allclose(encode_text(m, alone)[0][0], tokens[1], atol=1e-5)


def test_alignment_moves_the_texts_to_their_references():
    m, b = grounded(), dataclasses.replace(batch(), text=TEXT)
    task = m.encode_task(b.initial_points, b.reference).detach()
    before = alignment(m, task, encode_text(m, b)).item()
    parameters = [*m.language_encoder.parameters(), *m.grounding.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        alignment(m, task, encode_text(m, b)).backward()
        optimizer.step()
    assert alignment(m, task, encode_text(m, b)).item() < 0.3 * before


def test_alignment_leaves_the_task_encoder_as_it_is():
    m, b = grounded(), dataclasses.replace(batch(), text=TEXT)
    language = (torch.zeros(3, m.config.task_tokens, m.config.task_width), torch.tensor([0, 2, 3]))
    task = m.encode_task(b.initial_points, b.reference)
    assert not alignment(m, task, language).requires_grad
    head = ProjectionHead(m.config)
    out = losses(m, head, b, Objective(language_alignment=0.5), torch.Generator().manual_seed(0))
    plain = losses(m, head, b, Objective(), torch.Generator().manual_seed(0))
    assert out["total"].item() == pytest.approx(plain["total"].item() + 0.5 * out["alignment"].item(), rel=1e-4)
