from __future__ import annotations

import contextlib
import itertools
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenario_helpers import unhurried

from rlhf_budget.errors import ScenarioError
from rlhf_budget.scenario.yaml_source import read_yaml


def value_of(text):
    document = read_yaml(f"key: {text}\n", "s.yaml")
    assert not document.problems
    return document.values["key"]


def yaml_problem(text):
    document = read_yaml(text, "s.yaml")
    assert len(document.problems) == 1, document.problems
    return document.problems[0]


def syntax_problem(text):
    with pytest.raises(ScenarioError) as caught:
        read_yaml(text, "s.yaml")
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5e4", 50000.0),
        ("50_000", 50000),
        ("1_0.2_5e1", 102.5),
        ("0.05", 0.05),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.5e-3", -0.0005),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1E3", 1000.0),
        ("0e5", 0.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_core_schema_values(text, expected):
    value = value_of(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "1:30", "1_", "_1", "1__0", "0b11", "2026-10-01", "nan", "inf",
     "1e", "e5", ".", "1.5.2", "0o8", "0xg", "=", "<<"],
)  # fmt: skip
def test_what_yaml_1_1_converts_stays_text(text):
    assert value_of(text) == text


def test_quoted_scalars_are_text():
    assert value_of("'5'") == "5"
    assert value_of('"true"') == "true"
    assert value_of("!!str 5") == "5"


def test_yamls_own_tags():
    assert value_of("!!float 5") == 5.0
    assert type(value_of("!!float 5")) is float
    assert value_of("!!int '5'") == 5
    assert value_of("!!seq [1, 2]") == [1, 2]
    assert value_of("!!map {a: 1}") == {"a": 1}


def test_wrong_use_of_yamls_own_tags():
    assert yaml_problem("a: !!int 3.5")[1:3] == ("!!int 3.5", "a value of the type int")


@unhurried
@given(st.integers())
def test_integers_round_trip(number):
    assert value_of(str(number)) == number


@unhurried
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_round_trip(number):
    value = value_of(repr(number))
    assert value == number
    assert math.copysign(1, value) == math.copysign(1, number)


@unhurried
@given(st.integers(min_value=0))
def test_underscores_between_digits(number):
    assert value_of(f"{number:_}") == number


@unhurried
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_quoted_text_round_trips(text):
    quoted = text.replace("'", "''")
    assert value_of(f"'{quoted}'") == text


@unhurried
@given(st.text(max_size=60))
def test_any_text_is_read_or_reported(text):
    with contextlib.suppress(ScenarioError):
        read_yaml(text, "s.yaml")


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF", ".NaN"])
def test_not_finite_is_a_problem(text):
    path, found, allowed, line = yaml_problem(f"a:\n  b: {text}")
    assert (path, found, allowed, line) == (("a", "b"), text, "a finite number", 2)


@pytest.mark.parametrize("text", ["1e999", "-1e400", "1" + "0" * 500])
def test_overflow_is_a_problem(text):
    assert yaml_problem(f"a: {text}")[2] == "a number below 1.8e308"


def test_underflow_is_a_problem_not_zero():
    assert "0, or a number above" in yaml_problem("a: 1e-400")[2]


def test_duplicate_keys():
    path, found, allowed, line = yaml_problem("a: 1\nb: 2\na: 3\n")
    assert (path, found, allowed, line) == (
        ("a",), "a second time (first on line 1)", "each key once", 3
    )  # fmt: skip


def test_duplicate_keys_in_a_flow_mapping():
    assert yaml_problem("a: {b: 1, 'b': 2}")[0] == ("a", "b")


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("!!python/object/apply:os.system ['echo']", "!!python/object/apply:os.system"),
        ("!mine 5", "!mine"),
        ("!!timestamp 2026-01-01", "!!timestamp"),
        ("!!binary aGk=", "!!binary"),
        ("!!set {a: null}", "!!set"),
    ],
)
def test_foreign_tags(tag, shown):
    assert yaml_problem(f"a: {tag}")[1] == f"the tag {shown}"


def test_keys_are_texts():
    assert read_yaml("2026: a\nno: b\n", None).values == {"2026": "a", "no": "b"}
    assert yaml_problem("? [a, b]\n: 1\n")[1] == "a key that is no text"


def test_lines_of_keys_and_entries():
    lines = read_yaml("# note\na: 1\nb:\n  c: [5,\n    6]\n", None).lines
    assert lines[("a",)] == 2
    assert lines[("b",)] == 3
    assert lines[("b", "c")] == 4
    assert lines[("b", "c", "1")] == 5


def test_several_documents():
    problem = syntax_problem("a: 1\n---\nb: 2\n")
    assert (problem.found, problem.line) == ("a second document (---)", 2)


def test_one_marked_document_is_fine():
    assert read_yaml("%YAML 1.2\n---\na: 1\n...\n", None).values == {"a": 1}


@pytest.mark.parametrize("text", ["a: [1, 2", "a:\n\tb: 1\n", "a: *nowhere", "a: b: c", "\x01"])
def test_what_is_no_yaml(text):
    problem = syntax_problem(text)
    assert problem.file == "s.yaml"
    assert problem.line in (1, 2)


def test_aliases():
    assert read_yaml("a: &x {b: 1}\nc: *x\n", None).values == {"a": {"b": 1}, "c": {"b": 1}}


def test_alias_of_itself():
    assert syntax_problem("a: &x [*x]\n").found == "an alias of itself"


def test_alias_bomb():
    names = "abcdefghij"
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in itertools.pairwise(names)
    )
    assert syntax_problem(text).found == "aliases that expand beyond reason"


def test_nesting_beyond_reason():
    assert syntax_problem("[" * 5000).file == "s.yaml"
    assert syntax_problem("a: " + "[" * 900 + "]" * 900).found == "nesting beyond reason"
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        assert syntax_problem("a: " + "[" * 900 + "]" * 900).found == "nesting beyond reason"
    finally:
        sys.setrecursionlimit(usual)
