"""The cloud as a captured graph on a GPU."""

import pytest
import torch
from clouds import SPARSE, chamfer, tensors
from scenes import scene

from uma.model.cloud_torch import CloudPreparation, check
from uma.model.config import base

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("config", [SPARSE, base().points], ids=["sparse", "base"])
def test_a_captured_graph_replays_other_images(config):
    module = CloudPreparation(90, 160, config, head=64).cuda()
    given = tensors(scene(), "cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(*given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = module(*given)
    for seed in range(3):
        o = scene(seed, 0.05 * seed)
        for place, value in zip(given, tensors(o), strict=True):
            place.copy_(value)
        graph.replay()
        expected = CloudPreparation(90, 160, config, head=64)(*tensors(o))
        assert result.counts.tolist() == expected.counts.tolist()
        assert torch.allclose(result.plane.cpu(), expected.plane, atol=1e-6)
        assert chamfer(result.xyz.cpu().numpy(), expected.xyz.numpy()) < 0.001
        check(result, config)
