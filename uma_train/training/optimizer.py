"""What turns gradients into steps: AdamW, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from uma_train.training.distributed import Processes, shard_like

NARROW = 32
"""A matrix with a side shorter than this maps coordinates, not features."""


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of the linear layers from features to features.

    Not the modulation's: its input is an embedding of the flow time, so that its gradient has few directions that carry
    anything, and orthogonalised steps would go as far along the others.
    """
    layers = (
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "modulation" not in name
    )
    return [layer.weight for _, layer in layers if min(layer.weight.shape) >= NARROW]


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix with the singular vectors of ``matrix`` and singular values of about 0.7 to 1.2, by Newton-Schulz
    iteration (quintic, of Muon).

    Values that were below a hundredth of the whole matrix's norm come out smaller.
    """
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


class Muon(Optimizer):
    """Steps of equal size in every direction of a matrix: its averaged gradient, orthogonalised (Jordan et al., 2024).

    A step has the root mean square of an AdamW step at the same rate (0.2), so that both take one learning rate.
    ``torch.optim.Muon`` always orthogonalises in bfloat16, which processors without instructions for it multiply at a
    hundredth of their speed; here it is ``precision``. Processes that repeat the parameters share out the matrices.
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
        """One step of all parameters that have a gradient. All processes must call it, with the same gradients."""
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
            )  # the whole of a sharded one: half of it has other directions
            return orthogonal(matrix.to(self.precision)).to(matrix.dtype)

        if self.processes is None or self.processes.sharded:
            return [one(m) for m in matrices]
        return self.processes.share_out(one, matrices)


def optimizers(
    kind: str,
    model: nn.Module,
    parameters: list[nn.Parameter],
    lr: float,
    weight_decay: float,
    precision: torch.dtype,
    processes: Processes | None = None,
) -> list[Optimizer]:
    """The optimisers of a run, which share out ``parameters`` (paper A.3: AdamW for all). ``kind``: "adamw" or
    "muon"."""
    hidden = hidden_matrices(model) if kind == "muon" else []
    theirs = {id(p) for p in hidden}
    rest = AdamW([p for p in parameters if id(p) not in theirs], lr=lr, weight_decay=weight_decay, betas=(0.9, 0.95))
    return (
        [rest, Muon(hidden, lr, weight_decay=weight_decay, precision=precision, processes=processes)]
        if hidden
        else [rest]
    )
