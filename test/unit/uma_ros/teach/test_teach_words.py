"""What `uma teach` passes to the graph that it starts."""

import pytest

from uma.types import InputError
from uma_ros.deployment import up
from uma_ros.teach import command


def test_the_graph_gets_the_chosen_checkpoint(monkeypatch):
    started = []
    monkeypatch.setattr(command, "load_viser", lambda: None)
    monkeypatch.setattr(up, "main", lambda words, changes: started.append((words, changes)) or 0)
    words = ["--task", "insertion", "--checkpoint", "models/uma-small", "--namespace", "left", "--port", "9000"]
    assert command.main(words) == 0
    (passed, changes), *rest = started
    assert not rest and changes == {"teach": {"port": 9000}} and "--robot" not in passed
    pairs = dict(zip(passed[2::2], passed[3::2]))
    assert pairs["--checkpoint"] == "models/uma-small" and pairs["--namespace"] == "left"
    assert up.from_words(up.UpOptions, passed, "uma up").checkpoint == "models/uma-small"


def test_a_checkpoint_without_a_graph_of_its_own_is_refused():
    with pytest.raises(InputError, match="^checkpoint: models/x, needs --task"):
        command.main(["--checkpoint", "models/x"])
