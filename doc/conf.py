"""Sphinx configuration. `make docs` builds it; rosdoc2 finds it under this name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402

project = "uma_ros"
author = "uma_ros maintainers"
copyright = "uma_ros maintainers, Apache-2.0"
release = version = "0.1.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generated"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_ivar = True
autodoc_mock_imports = [
    name for name in ("cv2", "safetensors", "scipy", "torch") if importlib.util.find_spec(name) is None
]
"""What an environment without the policy's libraries lacks; the API pages need their names alone."""

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = "uma_ros"


def setup(app):
    """Write the pages that come from the code before Sphinx reads them."""
    app.connect("builder-inited", lambda app: generate.write(HERE / "generated"))
