"""The parts of the documentation that come from the code: commands, launch arguments, parameters and topics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


def commands() -> str:
    """The subcommands of `uma`."""
    from uma.cli import COMMANDS

    return table(("Command", "What it does"), ((f"`uma {name}`", text) for name, (_, text) in COMMANDS.items()))


def launch_arguments() -> str:
    """The fields of `Options`."""
    from uma.settings import flatten
    from uma_ros.deployment.graph import Options

    rows = (
        (f"`{name}`", f"`{value}`" if value != "" else "", rule["description"])
        for name, (value, rule) in flatten(Options()).items()
    )
    return table(("Argument", "Default", "Meaning"), rows)


def _cells(name: str, value: object, rule: dict) -> tuple[str, ...]:
    value = str(value).lower() if isinstance(value, bool) else value
    low, high = rule.get("low"), rule.get("high")
    allowed = (
        ", ".join(f"`{c}`" for c in rule["choices"])
        if rule.get("choices")
        else ""
        if low is None
        else f"{low:g} to {high:g}"
    )
    return (
        f"`{name}`",
        f"`{value}`" if value != "" else "",
        allowed,
        "yes" if rule.get("live") else "",
        rule["description"],
    )


def parameters() -> str:
    """One table for each node."""
    from uma.settings import flatten
    from uma_ros.deployment.schema import NODES, settings_of

    parts = []
    for node in NODES:
        flat = flatten(settings_of(node)).items()
        rows = [_cells(name, value, rule) for name, (value, rule) in flat if not name.startswith("topics.")]
        parts.append(f"## `{node}`\n\n" + table(("Parameter", "Default", "Allowed", "Live", "Meaning"), rows))
    return "\n".join(parts)


def topics() -> str:
    """The topic names that all nodes share."""
    from uma.settings import flatten
    from uma_ros.runtime.topics import Topics

    rows = (
        (f"`topics.{name}`", f"`{value}`", rule["description"]) for name, (value, rule) in flatten(Topics()).items()
    )
    return table(("Parameter", "Default", "What it carries"), rows)


def _without_ros() -> str:
    """Where ROS is not installed: the default configuration file, which a test holds equal to the settings."""
    return f"```yaml\n{(ROOT / 'config/parameters.yaml').read_text()}```\n"


def write(folder: Path) -> None:
    """Write every part to ``folder``, where it has changed."""
    folder.mkdir(exist_ok=True)
    for part in (commands, launch_arguments, parameters, topics):
        try:
            text = part()
        except ModuleNotFoundError:
            text = _without_ros() if part is parameters else "The table needs a ROS 2 environment.\n"
        path = folder / f"{part.__name__}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
