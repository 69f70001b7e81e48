"""What the task latent c tells apart: retrieval of a task in a moved scene, and distances between tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uma.model.uma import Uma
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture
from uma_train.training.views import ViewSampling, augmented


@dataclass(frozen=True)
class LatentDistances:
    """Mean Euclidean distances between flattened task tokens.

    Attributes:
        view: of a task to its own view, a moved scene with a thinned reference.
        same_intent: of two tasks of one intent; NaN without any.
        other_intent: of two tasks of different intents; NaN without any.
        count: number of tasks.
    """

    view: float
    same_intent: float
    other_intent: float
    count: int

    def __str__(self) -> str:
        def of_other(value: float) -> str:
            return f"{value:.2f} ({value / self.other_intent:.2f} of the distance to another intent)"

        if math.isnan(self.other_intent):
            return f"distance of c to its moved view: {self.view:.2f}; one intent alone, {self.count} tasks"
        same = "" if math.isnan(self.same_intent) else f", to the same intent {of_other(self.same_intent)}"
        return f"distance of c to its moved view: {of_other(self.view)}{same}; {self.count} tasks"


def retrieved(a: Tensor, b: Tensor, candidates: int) -> np.ndarray:
    """Return whether each row of ``(n, e)`` embeddings ``a`` retrieves its row of ``b`` among its block of
    ``candidates``.

    The similarity is the cosine of mean-centred embeddings.
    """
    middle = torch.cat([a, b]).mean(0)
    a, b = (torch.nn.functional.normalize(v - middle, dim=-1).view(-1, candidates, v.shape[-1]) for v in (a, b))
    return ((a @ b.transpose(1, 2)).argmax(-1) == torch.arange(candidates)).flatten().numpy()


@torch.no_grad()
def retrieval(
    model: Uma, windows: Mixture, *, size: int = 64, seed: int = 0, views: ViewSampling | None = None
) -> float:
    """Return the fraction of tasks retrieved by their latent after a scene motion and a thinned reference (paper 3.3,
    A.1).

    Each of ``size`` task specifications, of different episodes, is encoded unchanged and as an augmented view. A view
    is retrieved if its own specification has the largest cosine of flattened, mean-centred tokens among all ``size``.
    Chance is 1 / size. The projection head is not used, because it is not deployed.
    """
    batch, _ = _drawn(model, windows, size, seed)
    plain, view = _encoded(model, batch, views or ViewSampling(), seed)
    return float(retrieved(view, plain, size).mean())


@torch.no_grad()
def latent_distances(
    model: Uma, windows: Mixture, *, size: int = 64, seed: int = 0, views: ViewSampling | None = None
) -> LatentDistances:
    """Measure the distances between the task tokens of ``size`` episodes; views turn about the vertical.

    An episode's intent is the ``intent`` of its ``meta``, or else its ``task``.
    """
    batch, intents = _drawn(model, windows, size, seed)
    plain, view = _encoded(model, batch, views or ViewSampling(axis="vertical"), seed)
    apart = torch.cdist(plain, plain).double().numpy()
    is_same = intents[:, None] == intents
    pairs = ~np.eye(len(intents), dtype=bool)

    def mean(rows: np.ndarray) -> float:
        return float(apart[rows].mean()) if rows.any() else math.nan

    own = float((plain - view).norm(dim=1).mean())
    return LatentDistances(own, mean(pairs & is_same), mean(~is_same), len(intents))


def _drawn(model: Uma, windows: Mixture, size: int, seed: int) -> tuple[Batch, np.ndarray]:
    """Draw one task each of ``size`` episodes, with their ``(size,)`` intents."""
    rng = np.random.default_rng(seed)
    # A repeated episode would be its own distractor.
    chosen = rng.choice(len(windows.starts), size, replace=False)
    batch = windows.draw(
        size, 0, model.normalization, rng, windows.starts[chosen], with_image=model.config.image.kind != "none"
    )
    metas = [windows.episodes[int(i)].meta for i in chosen]
    return batch, np.array([m.get("intent") or m.get("task", "") for m in metas])


def _encoded(model: Uma, batch: Batch, views: ViewSampling, seed: int) -> tuple[Tensor, Tensor]:
    """Return the flattened tokens ``(B, M d)`` of the tasks, and of one view each."""
    plain = model.encode_task(batch.initial_points, batch.reference).flatten(1)
    view = model.encode_task(*augmented(batch.initial_points, batch.reference, views, np.random.default_rng([seed, 1])))
    return plain, view.flatten(1)
