"""The checkpoint of every command that is given no other one."""

DEFAULT = "models/uma-small"
"""Folder, relative to the project or to the installed share folder."""
