"""Answers on a GPU are those on the CPU, within the precision."""

import numpy as np
import pytest
import torch
from bundles import CONFIGS, bundle_of
from scenes import reference, scene

from uma.policy import Policy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-3), ("bfloat16", 0.03)])
def test_gpu_answers_as_the_cpu_does(precision, tolerance, compile):
    bundle = bundle_of(CONFIGS["features"])
    cpu = Policy(bundle, num_samples=4)
    gpu = Policy(bundle, num_samples=4, device="cuda", precision=precision, compile=compile)
    o = scene()
    task = cpu.encode_task(o, reference())
    for sequence in range(3):  # the second and later ones replay a captured graph
        a, b = (p.predict(o, task, sequence=sequence, with_motion=True) for p in (cpu, gpu))
        assert np.abs(a.chunk.poses - b.chunk.poses).max() < tolerance
        assert np.abs(a.motion.points - b.motion.points).max() < tolerance
