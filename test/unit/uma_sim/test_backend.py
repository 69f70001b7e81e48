"""The renderer's backend."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "taken"), [("", "egl"), (None, "egl"), ("osmesa", "osmesa")])
def test_an_empty_backend_counts_as_unset(given, taken):
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    environment |= {} if given is None else {"MUJOCO_GL": given}
    code = "import os, uma_sim; print(os.environ['MUJOCO_GL'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == taken
