"""A training state without the fields that a later version added."""

import json

import pytest
import torch
from episodes import episode

from uma.model.inputs import Normalization
from uma_train.data.windows import Windows
from uma_train.training.config import TrainConfig
from uma_train.training.trainer import Trainer


def trainer(**changes) -> Trainer:
    config = TrainConfig(preset="tiny", batch_size=4, **changes)
    return Trainer(config, Windows([episode(i) for i in range(3)]), Normalization())


def test_an_older_state_resumes_with_the_defaults(tmp_path):
    path = tmp_path / "state.pt"
    trainer().save(path)
    state = torch.load(path, weights_only=True)
    older = json.loads(state["config"])
    del older["system"], older["pixels"], older["model"]["context_layers"]
    torch.save(state | {"config": json.dumps(older), "step": 7}, path)
    resumed = trainer()
    resumed.load(path)
    assert resumed.step == 7
    with pytest.raises(ValueError, match="system was 'uma', now 'coil'"):
        trainer(system="coil").load(path)
