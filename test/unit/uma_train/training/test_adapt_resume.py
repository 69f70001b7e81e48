"""An adaptation that is interrupted continues bit for bit."""

import subprocess
import sys

import pytest
import torch
from episodes import episode_folder

from uma.checkpoint.prompt import load_prompt
from uma.types import InputError
from uma_train.training import prompts
from uma_train.training.adapt import Adaptation
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train
from uma_train.training.prompts import AdaptConfig, adapt_prompt
from uma_train.training.resume import States


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``data`` and a ``bundle`` of one training step."""
    folder = tmp_path_factory.mktemp("resume")
    data = str(episode_folder(folder / "data"))
    small = dict(preset="tiny", batch_size=4, micro_batch=4, steps=1, warmup=1, bf16=False, threads=1)
    rest = dict(validate_every=9, validation_episodes=1, validation_windows=4, tensorboard=False)
    train(TrainConfig(data=(data,), out=str(folder / "run"), **small, **rest)).rename(folder / "bundle")
    return folder


def config(folder, out, **changes):
    how = Adaptation(steps=9, batch_size=4, check_every=2, patience=0)
    return AdaptConfig(str(folder / "bundle"), (str(folder / "data"),), str(out), adaptation=how, **changes)


def interrupted(monkeypatch, config, at):
    """Adapt until the given step of the second start, as a kill would."""
    whole, calls = prompts.adapt, []

    def stopping(model, draw, c, how, on_step, *rest):
        calls.append(c)

        def step(number, loss):
            if len(calls) == 2 and number == at:
                raise KeyboardInterrupt
            on_step(number, loss)

        return whole(model, draw, c, how, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(prompts, "adapt", stopping)
        with pytest.raises(KeyboardInterrupt):
            adapt_prompt(config)


def test_the_same_command_goes_on_bit_for_bit(folder, tmp_path, monkeypatch, capsys):
    adapt_prompt(config(folder, tmp_path / "whole.safetensors"))
    cut = tmp_path / "cut.safetensors"
    interrupted(monkeypatch, config(folder, cut), at=7)
    assert not cut.exists() and (tmp_path / "cut.safetensors.state").exists()
    capsys.readouterr()
    adapt_prompt(config(folder, cut))
    assert "resumed at step 6 of 9" in " ".join(capsys.readouterr().out.split())
    whole, resumed = load_prompt(tmp_path / "whole.safetensors"), load_prompt(cut)
    assert torch.equal(whole.tokens, resumed.tokens)
    assert whole.training["held_out"] == resumed.training["held_out"]
    assert not (tmp_path / "cut.safetensors.state").exists()


def test_other_settings_begin_anew(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "cut.safetensors"
    interrupted(monkeypatch, config(folder, out), at=7)
    capsys.readouterr()
    adapt_prompt(config(folder, out, name="other"))
    assert "resumed" not in capsys.readouterr().out and load_prompt(out).name == "other"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04."])
def test_a_damaged_state_counts_as_none(tmp_path, content):
    (tmp_path / "a.state").write_bytes(content)
    assert States(tmp_path / "a.state", "key")["mean"] is None


def test_a_second_adaptation_to_the_same_file_is_refused(tmp_path):
    path = tmp_path / "new" / "prompt.safetensors.state"
    other = (
        "import sys, time; from pathlib import Path; from uma_train.training.resume import States\n"
        "states = States(Path(sys.argv[1]), 'k'); print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", other, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(InputError, match="out: .*prompt.safetensors: another process adapts to it"):
                States(path, "k")
        finally:
            process.kill()
    States(path, "k").remove()
    assert not list(path.parent.iterdir())
