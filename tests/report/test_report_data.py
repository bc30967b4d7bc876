"""JSON, its schema, numbers as people read them, and files written whole."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import make_bare_plan, make_plan, make_target_plan

from rlhf_budget import FileAccessError, InfeasibleError, UnreachableTargetError
from rlhf_budget.report import numbers
from rlhf_budget.report.data import json_text, with_header, write_whole
from rlhf_budget.report.document import Column, Row, Table, turned
from rlhf_budget.report.schema import output_schema
from rlhf_budget.scenario.failure import failure

if TYPE_CHECKING:
    from pathlib import Path

    from rlhf_budget import Plan

# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [make_plan(), make_bare_plan(), make_target_plan()])
def test_json_matches_its_schema_and_keeps_full_precision(plan: Plan) -> None:
    data = json.loads(json_text(with_header("plan", plan.to_dict())))
    jsonschema.validate(data, output_schema("plan"))
    assert data["bound"]["total"] == plan.bound.total
    assert data["warnings"] == [{"code": w.code, "message": w.message} for w in plan.warnings]
    assert list(data)[:5] == ["schema_version", "tool", "command", "warnings", "status"]


def test_the_schema_is_one_and_names_every_field() -> None:
    schema = output_schema("plan")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {*with_header("plan", make_plan().to_dict())}
    _all_described(schema["properties"])


def _all_described(properties: dict[str, Any]) -> None:
    for schema in properties.values():
        inner = schema["anyOf"][0] if "anyOf" in schema else schema
        assert inner.get("description") or "const" in inner
        _all_described(inner.get("properties", {}))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        json_text({"value": float("nan")})


def test_errors_carry_what_helps() -> None:
    infeasible = InfeasibleError(
        "too little", least_budget=20.0, shortfall=10.0, limits=("limits.prompts.min",)
    )
    assert failure(infeasible).to_dict() == {
        "code": "infeasible",
        "message": "too little",
        "least_budget": 20.0,
        "shortfall": 10.0,
        "limits": ["limits.prompts.min"],
        "problems": [],
    }
    unreachable = UnreachableTargetError("never", infimum=0.3, limits=())
    assert failure(unreachable).to_dict()["infimum"] == 0.3


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (12, "12"), (999.5, "999.50"), (1234.5, "1,234"), (0.021, "0.02"),
     (1e300, "1.000e+300"), (0.0004, "0.00040"), (-159460.0, "-159,460")],
)  # fmt: skip
def test_money(value: float, expected: str) -> None:
    assert numbers.money(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.38657, "0.3866"), (0.000123456, "0.0001235"), (20.2126, "20.21"),
     (123456.7, "123,457"), (1e-12, "1.000e-12"), (2.0, "2.000")],
)  # fmt: skip
def test_significant(value: float, expected: str) -> None:
    assert numbers.significant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 %"), (0.183, "18.3 %"), (0.0004, "0.04 %"), (1e-9, "1e-07 %"), (12.5, "1,250.0 %")],
)
def test_percent(value: float, expected: str) -> None:
    assert numbers.percent(value) == expected


@given(st.floats(1e-15, 0.99))
def test_a_small_percentage_is_never_rounded_down(value: float) -> None:
    written = float(numbers.small_percent(value).removesuffix(" %"))
    assert 100 * value * (1 - 1e-6) <= written <= 210 * value


def test_a_group_is_written_alike() -> None:
    assert numbers.write_group((0.3866, 0.00474, 0.0), "significant") == ["0.3866", "0.0047", "0"]
    assert numbers.write_group((50000.0, 0.02, 0.0), "money") == ["50,000", "< 1", "0"]
    assert numbers.write_group(((1, 3), (2, 2), None), "integer") == ["1 to 3", "2", ""]
    assert numbers.write_group((True, float("inf"), "x"), "percent") == ["yes", "unlimited", "x"]


def test_turning_a_table_twice_keeps_its_cells() -> None:
    table = Table(
        (Column("name"), Column("a", "integer"), Column("b", "integer")),
        (Row(("x", 1, 2), "integer"), Row(("y", 3, 4), "integer", emphasis=True)),
    )
    other = turned(table)
    assert [row.cells for row in other.rows] == [("a", 1, 3), ("b", 2, 4)]
    assert other.emphasis == 2
    assert [row.cells for row in turned(other).rows] == [row.cells for row in table.rows]


# --- files ---------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_file_is_replaced_whole(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "out"
    path.write_bytes(old)
    write_whole(path, new)
    assert path.read_bytes() == new
    assert list(folder.iterdir()) == [path]


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_is_as_open_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    write_whole(tmp_path / "new", "x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(FileAccessError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["missing/out", "."])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileAccessError, match="could not be written"):
        write_whole(tmp_path / name, "x")


def test_a_device_is_written_to_directly() -> None:
    write_whole("/dev/null", "x")
