"""Optimisers: AdamW, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from uma_train.training.distributed import Processes, shard_like

NARROW = 32
"""Matrices with a shorter side map coordinates, not features."""


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the linear layers from features to features.

    The modulation is excluded. Its input, the flow time, spans few directions, and orthogonalised steps would amplify
    the others.
    """
    layers = (
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "modulation" not in name
    )
    return [layer.weight for _, layer in layers if min(layer.weight.shape) >= NARROW]


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Orthogonalise ``matrix``: keep its singular vectors and bring its singular values to about 0.7 to 1.2.

    This is Muon's quintic Newton-Schulz iteration. Values below a hundredth of the matrix norm stay smaller.
    """
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


class Muon(Optimizer):
    """Muon (Jordan et al., 2024): steps along the orthogonalised averaged gradient, of equal size in every direction.

    A step has the root mean square of an AdamW step at the same rate (0.2), so both share one learning rate.
    ``torch.optim.Muon`` always orthogonalises in bfloat16, which is slow without native support; here the type is
    ``precision``. Processes with replicated parameters divide the matrices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        precision: torch.dtype = torch.float32,
        processes: Processes | None = None,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.precision, self.processes = precision, processes

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all parameters with a gradient. All processes must call it, with the same gradients."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            ahead = []
            for p in parameters:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                average = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                ahead.append(p.grad.lerp(average, group["momentum"]))
            for p, update in zip(parameters, self._orthogonalised(ahead), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(shard_like(update, p), alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))

    def _orthogonalised(self, matrices: list[Tensor]) -> list[Tensor]:
        def one(matrix: Tensor) -> Tensor:
            matrix = (
                matrix.full_tensor() if isinstance(matrix, DTensor) else matrix
            )  # the full matrix, because a shard has other singular vectors
            return orthogonal(matrix.to(self.precision)).to(matrix.dtype)

        if self.processes is None or self.processes.sharded:
            return [one(m) for m in matrices]
        return self.processes.share_out(one, matrices)


def with_rate(optimizer: Optimizer, parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Move those of ``parameters`` that an optimiser has to a group whose ``rate`` is ``factor``."""
    chosen = {id(p) for p in parameters}
    for group in list(optimizer.param_groups):
        theirs = [p for p in group["params"] if id(p) in chosen]
        if theirs:
            group["params"] = [p for p in group["params"] if id(p) not in chosen]
            optimizer.add_param_group({**group, "params": theirs, "rate": factor})


def optimizers(
    kind: str,
    model: nn.Module,
    parameters: list[nn.Parameter],
    lr: float,
    weight_decay: float,
    precision: torch.dtype,
    processes: Processes | None = None,
) -> list[Optimizer]:
    """Build the optimisers of ``parameters`` (paper A.3: AdamW for all). ``kind`` is "adamw" or "muon"."""
    hidden = hidden_matrices(model) if kind == "muon" else []
    theirs = {id(p) for p in hidden}
    rest = AdamW([p for p in parameters if id(p) not in theirs], lr=lr, weight_decay=weight_decay, betas=(0.9, 0.95))
    return (
        [rest, Muon(hidden, lr, weight_decay=weight_decay, precision=precision, processes=processes)]
        if hidden
        else [rest]
    )
