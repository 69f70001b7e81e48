"""Layout of the packages: short names, few entries at the top, no circles, no private imports."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("uma", "uma_sim", "uma_train", "uma_ros")
FOLDERS = "|".join((*PACKAGES, "test", "robustness", "bench", "launch", "examples", "tools"))


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path):
    """(line, module, name) of what a file imports from the packages; the name is empty for a whole module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        yield from ((node.lineno, module, name) for module, name in found if module.split(".")[0] in PACKAGES)


def functions() -> list[tuple[str, str]]:
    """(file, name) of every test function."""
    return [
        (str(path.relative_to(ROOT)), node.name)
        for path in sorted((ROOT / "test").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_names_of_tests_have_at_most_60_characters():
    assert len(functions()) > 500
    assert not [f"{file}: {name}" for file, name in functions() if len(name) > 60]


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (ROOT / "test").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_few_entries_at_its_top(package):
    entries = {p.name for p in (ROOT / package).iterdir()} - {"__pycache__", "__init__.py", "py.typed"}
    assert len(entries) <= (11 if package == "uma_ros" else 10), sorted(entries)


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_of_a_package_import_in_one_direction(package):
    """A room is what stands at the package's top: a folder, or a module of its own."""
    uses: dict[str, set[str]] = {}
    for path in modules(package):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for _, module, name in imported(path):
            head, *rest = [*module.split("."), *([name] if name else [])]
            if head == package and rest and rest[0] != parts[0] and rooms(package) & {rest[0]}:
                uses.setdefault(parts[0], set()).add(rest[0])
    assert not circle(uses)


def circle(uses: dict[str, set[str]]) -> list[str]:
    """The rooms of one circle in the order of its imports; empty if there is none."""
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def rooms(package: str) -> set[str]:
    return {p.stem for p in (ROOT / package).iterdir() if p.is_dir() or p.suffix == ".py"} - {"__init__"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_anothers_private_name(package):
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module} {name}"
        for path in modules(package)
        for line, module, name in imported(path)
        if any(part.startswith("_") and not part.startswith("__") for part in [*module.split("."), name])
    ]
    assert not wrong, "\n".join(wrong)


def pages() -> list[Path]:
    """Pages for people; those of results name files as they were when measured."""
    found = [p for p in (ROOT / "doc").rglob("*.md") if not {"results", "generated"} & set(p.parts)]
    return sorted([ROOT / "README.md", *found])


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_modules_named_on_a_page_exist(page):
    text = page.read_text()
    files = set(re.findall(rf"(?<![\w/])(?:{FOLDERS})/[\w/.-]+\.py\b", text))
    modules = set(re.findall(r"python -m ((?:uma|robustness)[\w.]*)", text))
    modules |= set(re.findall(r"`((?:uma|uma_sim|uma_train|uma_ros)\.\w+[\w.]*)`", text))
    missing = [name for name in sorted(files) if not (ROOT / name).exists()]
    missing += [name for name in sorted(modules) if not any(exists(name.split("."), n) for n in (0, 1, 2))]
    assert not missing


def exists(parts: list[str], attributes: int) -> bool:
    """Return whether a dotted name without its last ``attributes`` parts is a module."""
    path = ROOT.joinpath(*parts[: len(parts) - attributes])
    return len(parts) > attributes + (attributes > 0) and (path.is_dir() or path.with_suffix(".py").exists())
