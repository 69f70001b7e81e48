"""A full disk or a path that cannot be written is reported in one line, without a traceback."""

import errno
import os

import pytest

from uma import cli


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_an_error_of_the_disk_is_one_line(number, monkeypatch, capsys):
    def fail(argv):
        raise OSError(number, os.strerror(number), "/data/out.npz")

    monkeypatch.setattr(cli, "_function", lambda where: fail)
    assert cli.main(["export"]) == 2
    assert capsys.readouterr().err == f"uma export: [Errno {number}] {os.strerror(number)}: '/data/out.npz'\n"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "bug"), ValueError("bug"), ConnectionError("bug")])
def test_another_error_keeps_its_traceback(error, monkeypatch):
    def fail(argv):
        raise error

    monkeypatch.setattr(cli, "_function", lambda where: fail)
    with pytest.raises(type(error), match="bug"):
        cli.main(["export"])


def test_an_out_folder_below_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ["curate", "simulation", "--seeds", "0:1", "--out", str(tmp_path / "file" / "out")]
    assert cli.main(words) == 2
    assert "Not a directory" in capsys.readouterr().err
