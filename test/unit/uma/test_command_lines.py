"""Command lines from dataclasses: names, kinds, ranges, and one description for help, launch files and
documentation."""

import os
import subprocess
import sys
from dataclasses import MISSING, dataclass

import pytest

from uma.cli import main
from uma.settings import from_words, setting
from uma.types import InputError


@dataclass(frozen=True)
class Example:
    """Do a thing.

    More about it.
    """

    count: int = setting(1, "of things", 0, 10)
    kind: str = setting("a", "of thing", choices=("a", "b"))
    dry_run: bool = setting(False, "do nothing")
    name: str = setting("", "of all")


@dataclass(frozen=True, kw_only=True)
class More(Example):
    """Do more."""

    path: str = setting(MISSING, "where")


def test_no_words_give_the_defaults():
    assert from_words(Example, [], "example") == Example()


def test_words_give_values_of_the_field_s_kind():
    given = from_words(More, ["--count", "3", "here", "--dry-run", "--kind=b", "--name", "-"], "example")
    assert given == More(path="here", count=3, kind="b", dry_run=True, name="-")


@pytest.mark.parametrize(
    "words, message", [("--count 11", "count: 11, must be 0 to 10"), ("--kind c", "kind: 'c', must be one of a, b")]
)
def test_a_value_out_of_its_range_is_named(words, message):
    with pytest.raises(InputError, match=message):
        from_words(Example, words.split(), "example")


@pytest.mark.parametrize("words", ["--count x", "--no-such 1", "loose"])
def test_words_that_are_no_option_end_with_code_2(words):
    with pytest.raises(SystemExit) as ended:
        from_words(Example, words.split(), "example")
    assert ended.value.code == 2


def test_a_required_field_has_to_be_given():
    with pytest.raises(SystemExit):
        from_words(More, [], "example")


def test_the_help_text_has_every_description(capsys):
    with pytest.raises(SystemExit) as ended:
        from_words(More, ["--help"], "uma example")
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "usage: uma example" in shown and "Do more." in shown
    for words in ("PATH", "where", "of things; 0 to 10", "{a,b}", "--dry-run", "(default: 1)"):
        assert words in shown


def test_another_broken_pipe_is_not_hidden(monkeypatch):
    def broken(argv):
        raise BrokenPipeError("a camera's socket")

    monkeypatch.setattr("uma.cli._function", lambda where: broken)
    with pytest.raises(BrokenPipeError, match="camera"):
        main(["import"])


def test_a_reader_that_has_ended_leaves_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "uma.cli", "import", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
