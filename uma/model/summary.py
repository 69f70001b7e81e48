"""Parameter counts of a configuration, by part, without allocating the model."""

from __future__ import annotations

import torch

from uma.model.config import PRESETS, ModelConfig, base, block_layout
from uma.model.inputs import Normalization
from uma.model.uma import Uma

PARTS = ("observation_encoder", "task_encoder", "language_encoder", "denoiser")


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Return the trained parameters of each of `PARTS`, and ``modulation``, the denoiser's dual adaptive norms."""
    with torch.device("meta"):
        model = Uma(config, Normalization())
    counts = dict.fromkeys((*PARTS, "modulation"), 0)
    for name, p in model.named_parameters():
        head = name.split(".")[0]
        counts[head if head in PARTS else "denoiser"] += p.numel()
        counts["modulation"] += p.numel() * (".modulation." in name)
    return counts


def parameter_table(configs: dict[str, ModelConfig] | None = None) -> str:
    """Format a table of parameters in millions, one line per configuration (default: the presets)."""
    configs = configs or {name: preset() for name, preset in PRESETS.items()}
    lines = [
        f"{'preset':<12}{'layers x width':>15}{'heads':>6}{'observation':>12}{'task':>8}{'language':>9}"
        f"{'denoiser':>9}{'(modulation)':>13}{'total':>9}"
    ]
    for name, config in configs.items():
        n = {k: v / 1e6 for k, v in parameter_counts(config).items()}
        total = sum(n[p] for p in PARTS)
        lines.append(
            f"{name:<12}{f'{config.layers} x {config.width}':>15}{config.heads:>6}"
            f"{n['observation_encoder']:>12.2f}{n['task_encoder']:>8.2f}"
            f"{n['language_encoder']:>9.2f}{n['denoiser']:>9.2f}{n['modulation']:>13.2f}{total:>9.2f}"
        )
    return "\n".join(lines) + "\n(millions of trained parameters; frozen SigLIP 2 towers are not counted)"


def main(argv: list[str]) -> int:
    """``uma inspect presets``: print the parameter tables."""
    print(parameter_table())
    print("\nlayouts of the block order, and the dense ablation, of base:")
    print(parameter_table({name: block_layout(base(), name) for name in ("A", "B", "C", "dense")}))
    return 0
