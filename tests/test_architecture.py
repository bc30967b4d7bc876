"""The arrows between rooms, and who may import what, read from the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import rlhf_budget

PACKAGE = Path(rlhf_budget.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    {"errors"},
    {"scenario"},
    {"bound"},
    {"optimum"},
    {"planning"},
    {"simulation", "studies"},
    {"report"},
    {"cli"},
    {"__main__"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
PRINTING = {"print", "sys.stdout.write", "sys.stderr.write"}


@dataclass(frozen=True)
class Import:
    file: str
    module: str
    names: tuple[str, ...]
    functions: tuple[str, ...]
    """Functions around it; empty at module level."""
    typing_only: bool


def room_of(file: str) -> str:
    return file.split("/", maxsplit=1)[0].removesuffix(".py")


class _Collector(ast.NodeVisitor):
    def __init__(self, file: str) -> None:
        self.file, self.found = file, list[Import]()
        self.functions: tuple[str, ...] = ()
        self.typing_only = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.functions += (node.name,)
        self.generic_visit(node)
        self.functions = self.functions[:-1]

    def visit_If(self, node: ast.If) -> None:
        before = self.typing_only
        self.typing_only |= "TYPE_CHECKING" in ast.unparse(node.test)
        self.generic_visit(node)
        self.typing_only = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, ())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"{self.file}: relative import"
        self._add(node.module or "", tuple(alias.name for alias in node.names))

    def _add(self, module: str, names: tuple[str, ...]) -> None:
        self.found.append(Import(self.file, module, names, self.functions, self.typing_only))


@cache
def imports() -> tuple[Import, ...]:
    found: list[Import] = []
    for path in FILES:
        collector = _Collector(path.relative_to(PACKAGE).as_posix())
        collector.visit(ast.parse(path.read_text(encoding="utf-8")))
        found += collector.found
    return tuple(found)


def targets(entry: Import) -> set[str]:
    """Rooms of this package that an import names."""
    parts = entry.module.split(".")
    if parts[0] != "rlhf_budget":
        return set()
    rooms = set(parts[1:2]) or set(entry.names)
    return {room for room in rooms if not room.startswith("__")}


def users(package: str) -> set[str]:
    """Files that import a package for more than its types."""
    return {
        entry.file
        for entry in imports()
        if entry.module.split(".")[0] == package and not entry.typing_only
    }


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path.relative_to(PACKAGE).as_posix()) for path in FILES}
    assert rooms - {"__init__", "calibrate"} == set(RANK)
    top = {path.name for path in PACKAGE.glob("*.py")}
    assert top == {"__init__.py", "__main__.py", "errors.py"}


def test_the_page_shows_the_folders_on_disk() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.findall(r"^( *)(\w+)/ ", page.split("```")[1], re.MULTILINE)
    shown, above = set(), list[str]()
    for indent, name in tree:
        above[len(indent) // 2 :] = [name]
        shown.add("/".join(above[1:]))
    ours = {"*.py", "*.yaml"}
    there = {file.parent for pattern in ours for file in PACKAGE.rglob(pattern)}
    assert shown - {""} == {f.relative_to(PACKAGE).as_posix() for f in there} - {"."}
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", page):
        assert (PACKAGE / path).exists() or (PACKAGE.parent / path).exists(), path


def test_arrows_point_down() -> None:
    wrong = [
        f"{entry.file} imports {target}"
        for entry in imports()
        for target in targets(entry)
        if not entry.typing_only
        and room_of(entry.file) in RANK
        and target in RANK
        and target != room_of(entry.file)
        and RANK[target] >= RANK[room_of(entry.file)]
    ]
    assert wrong == []


def test_only_notebooks_are_shown_things_by_name() -> None:
    """A notebook asks a result for its first screen or its frame: one door leads up."""
    doors = [
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("rlhf_budget.report.")
    ]
    assert [door for door in doors if room_of(door) not in {"report", "cli"}] == [
        "scenario/records.py"
    ]


def test_calibration_never_plans() -> None:
    reached = {
        target
        for entry in imports()
        if room_of(entry.file) == "calibrate"
        for target in targets(entry)
    }
    assert reached <= {"calibrate", "errors", "scenario", "bound"}
    bounds = {
        entry.module
        for entry in imports()
        if room_of(entry.file) == "calibrate" and "bound" in targets(entry)
    }
    assert all(module.startswith("rlhf_budget.bound") for module in bounds)
    assert bounds <= {"rlhf_budget.bound", "rlhf_budget.bound.tails"}


PILOT = "simulation/training/pilot.py"


def test_only_report_command_line_and_the_pilot_use_calibration() -> None:
    """The training study measures constants as users do, by the calibrations' own formulas."""
    found = {entry.file for entry in imports() if "calibrate" in targets(entry)}
    assert {room_of(file) for file in found - {PILOT}} <= {"calibrate", "report", "cli"}


def test_the_pilot_uses_formulas_and_no_logs() -> None:
    used = {e.module for e in imports() if e.file == PILOT and "calibrate" in targets(e)}
    assert not any(".logs" in module or ".into" in module for module in used)


def test_the_solver_knows_nothing_of_the_rest() -> None:
    assert {
        target for e in imports() if e.file == "optimum/search.py" for target in targets(e)
    } == set()


def test_the_core_prints_nothing() -> None:
    printing = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        if room_of(path.relative_to(PACKAGE).as_posix()) != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTING
    ]
    assert printing == []


def test_rich_draws_in_terminals_only() -> None:
    """The layout asks Rich for the width of wide characters, and for nothing else."""
    found = {file for file in users("rich") if room_of(file) != "cli"}
    assert found <= {"report/terminal.py", "report/layout.py"}
    widths = [entry for entry in imports() if entry.file == "report/layout.py"]
    used = {entry.module for entry in widths if entry.module.startswith("rich")}
    assert used <= {"rich.cells"}


def test_typer_is_the_command_lines() -> None:
    assert {room_of(file) for file in users("typer")} == {"cli"}
    assert {room_of(file) for file in users("click")} <= {"cli"}


def test_yaml_is_read_by_scenarios_and_written_by_calibration() -> None:
    assert {room_of(file) for file in users("yaml")} <= {"scenario", "calibrate", "cli"}
    assert {room_of(file) for file in users("ruamel")} <= {"calibrate"}


def test_charts_are_drawn_in_reports() -> None:
    for package in ("altair", "vl_convert"):
        found = users(package)
        assert all(file.startswith("report/") and "chart" in file for file in found)


def test_engines_are_calibrations() -> None:
    for package in ("duckdb", "narwhals", "pyspark", "pyarrow", "pandas"):
        files = users(package) - ({"report/frames.py"} if package == "narwhals" else set())
        assert {room_of(file) for file in files} <= {"calibrate"}


@pytest.mark.parametrize("package", ["scipy", "pydantic", "pandas", "duckdb", "altair"])
def test_heavy_packages_wait_until_they_are_needed(package: str) -> None:
    eager = [
        entry.file
        for entry in imports()
        if entry.module.split(".")[0] == package and not entry.functions and not entry.typing_only
    ]
    assert eager == []


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


HEAVY = {"numpy", "scipy", "yaml", "pydantic", "rich", "typer", "click", "duckdb", "altair"}


def test_importing_the_package_costs_nothing() -> None:
    assert loaded_after("import rlhf_budget") & HEAVY == set()


def test_planning_loads_neither_scipy_nor_the_command_line() -> None:
    mapping = {
        "budget": 5000,
        "objective": {"kl_coefficient": 0.05},
        "costs": {"prompt": 1, "rollout": 0.1, "label": 1},
        "reward_model": {"coverage": 2, "error": {"scale": 1, "exponent": 0.5}},
        "log_ratio": {"kl": 5},
    }
    code = f"from rlhf_budget import load_scenario, plan\nplan(load_scenario({mapping!r}))"
    assert loaded_after(code) & (HEAVY - {"numpy", "yaml"}) == set()


def test_public_names() -> None:
    assert sorted(rlhf_budget.__all__) == list(rlhf_budget.__all__)
    assert dir(rlhf_budget) == sorted(rlhf_budget.__all__)
    for name in rlhf_budget.__all__:
        assert getattr(rlhf_budget, name) is not None
    declared = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name
        for node in ast.walk(declared)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlhf_budget")
        for alias in node.names
    }
    assert typed | {"__version__"} == set(rlhf_budget.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        rlhf_budget.nonsense  # noqa: B018


def test_functions_keep_their_names() -> None:
    """Modules are nouns: no module hides a public function."""
    for verb in ("plan", "compare", "check", "sweep", "simulate", "evaluate"):
        assert not (PACKAGE / f"{verb}.py").exists()
        assert not (PACKAGE / verb).exists()
