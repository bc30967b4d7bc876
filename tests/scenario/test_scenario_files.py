"""Files: reading them, extending them, named scenarios, settings; and where problems are."""

from __future__ import annotations

import io
import json
import os
import sys

import numpy as np
import pytest
from scenario_helpers import BASE, scenario

from rlhf_budget.errors import FileAccessError, ScenarioError
from rlhf_budget.scenario import load_scenario, load_scenarios

BASE_TEXT = """\
budget: 50_000
objective: {kl_coefficient: 0.05}
costs:
  prompt: 0.002
  rollout: 0.01
  label: 1.50
reward_model:
  coverage: 4
  error: {floor: 0.02, scale: 8, exponent: 0.8}
log_ratio: {family: gaussian, kl: 12}
scenarios:
  cheap-labels:
    costs:
      label: 0.20
  no-penalty:
    objective: {kl_coefficient: 0}
    log_ratio: null
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE_TEXT)
    return path


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems_in(source, **options):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(source, **options)
    return caught.value.problems


def one_problem(source, **options):
    problems = problems_in(source, **options)
    assert len(problems) == 1, problems
    return problems[0]


# --- reading


def test_a_file(base):
    read = load_scenario(base)
    assert read == load_scenario(str(base))
    assert read.inputs() == load_scenario(BASE).inputs()
    assert read.name == "base"


def test_the_name_in_the_file_wins_over_its_stem(tmp_path, base):
    path = write(tmp_path, "child.yaml", "extends: base.yaml\nname: told\n")
    assert load_scenario(path).name == "told"
    assert load_scenario(write(tmp_path, "other.yaml", "extends: base.yaml\n")).name == "other"


def test_any_path_like(base):
    class PathLike:
        def __fspath__(self):
            return str(base)

    assert load_scenario(PathLike()).name == "base"


def test_standard_input(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "base.yaml", BASE_TEXT)
    stream = io.TextIOWrapper(io.BytesIO(b"extends: base.yaml\nbudget: 7\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    read = load_scenario("-")
    assert (read.name, read.budget) == ("scenario", 7.0)


def test_problems_of_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("budget: 5\nbudjet: 3\n"))
    problem = next(each for each in problems_in("-") if each.key == "budjet")
    assert (problem.file, problem.line) == ("<stdin>", 2)


def test_json_is_yaml(tmp_path):
    path = write(tmp_path, "s.json", json.dumps(BASE, indent=1))
    assert load_scenario(path).inputs() == load_scenario(BASE).inputs()


def test_a_byte_order_mark(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE_TEXT.encode())
    assert load_scenario(path).budget == 50000


@pytest.mark.parametrize("text", ["", "# nothing here\n", "---\n", "null\n"])
def test_an_empty_file(tmp_path, text):
    path = write(tmp_path, "s.yaml", text)
    problem = one_problem(path)
    assert (problem.key, problem.found) == ("", "an empty file")
    assert problem.file == str(path)


def test_a_tab_is_told_without_stuttering(tmp_path):
    problem = one_problem(write(tmp_path, "s.yaml", "objective:\n\tkl_coefficient: 0.1\n"))
    assert problem.found.startswith("character that cannot start any token")
    assert problem.line == 2


@pytest.mark.parametrize("text", ["[1, 2]", "just text", "5"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    problem = one_problem(write(tmp_path, "s.yaml", text))
    assert problem.allowed == "a mapping of keys to values"
    assert problem.line == 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileAccessError, match=r"nowhere\.yaml: No such file"):
        load_scenario(tmp_path / "nowhere.yaml")
    with pytest.raises(FileAccessError, match="directory"):
        load_scenario(tmp_path)
    with pytest.raises(FileAccessError):
        load_scenario("nul\0byte.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: caf\xe9".encode("latin-1"))
    with pytest.raises(FileAccessError, match=r"latin.yaml: not UTF-8 text"):
        load_scenario(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(base):
    base.chmod(0)
    with pytest.raises(FileAccessError, match="Permission denied"):
        load_scenario(base)


# --- places


def test_problems_name_file_line_and_key(tmp_path):
    text = BASE_TEXT.replace("label: 1.50", "label: -1\n  fxied: 2").replace("kl: 12", "kl: '12'")
    path = write(tmp_path, "s.yaml", text)
    assert [(each.file, each.line, each.key) for each in problems_in(path)] == [
        (str(path), 6, "costs.label"),
        (str(path), 7, "costs.fxied"),
        (str(path), 11, "log_ratio.kl"),
    ]


def test_a_missing_key_is_placed_at_the_mapping_around_it(tmp_path):
    path = write(tmp_path, "s.yaml", BASE_TEXT.replace("  rollout: 0.01\n", ""))
    problem = one_problem(path)
    assert (problem.key, problem.line) == ("costs.rollout", 3)


def test_an_emptied_key_is_placed_where_it_stands(tmp_path):
    path = write(tmp_path, "s.yaml", BASE_TEXT.replace("rollout: 0.01", "rollout:"))
    problem = one_problem(path)
    assert (problem.key, problem.found, problem.line) == ("costs.rollout", "nothing", 5)


def test_the_entry_of_a_list_has_its_line(tmp_path):
    limits = "limits:\n  rollouts_per_prompt:\n    choices:\n      - 4\n      - 4.5\n"
    problem = one_problem(write(tmp_path, "s.yaml", BASE_TEXT + limits))
    assert (problem.key, problem.line) == ("limits.rollouts_per_prompt.choices", 22)
    assert problem.found == "4.5 as entry 2"


def test_keys_with_dots_have_their_line(tmp_path):
    path = write(tmp_path, "s.yaml", BASE_TEXT + "sources:\n  costs.lable: guess\n")
    assert one_problem(path).line == 19


def test_a_value_that_yaml_gets_wrong_is_reported_once(tmp_path):
    text = BASE_TEXT.replace("rollout: 0.01", "rollout: .nan").replace("kl: 12", "kl: !mine 3")
    text += "limits: {rollouts_per_prompt: {choices: [4, .inf]}}\n"
    problems = problems_in(write(tmp_path, "s.yaml", text))
    assert [each.key for each in problems] == [
        "costs.rollout",
        "log_ratio.kl",
        "limits.rollouts_per_prompt.choices",
    ]


def test_duplicate_keys_are_reported_with_everything_else(tmp_path):
    text = BASE_TEXT.replace("  label: 1.50\n", "  label: 1.50\n  label: 2\n  fixed: -1\n")
    problems = problems_in(write(tmp_path, "s.yaml", text))
    assert [(each.key, each.line) for each in problems] == [("costs.label", 7), ("costs.fixed", 8)]


def test_problems_know_which_file_of_a_chain_wrote_them(tmp_path, base):
    middle = write(tmp_path, "middle.yaml", "extends: base.yaml\ncosts:\n  label: -2\n  x: 1\n")
    child = write(tmp_path, "child.yaml", "extends: middle.yaml\n\ncosts: {fixed: -1}\n")
    assert [(each.file, each.line, each.key) for each in problems_in(child)] == [
        (str(child), 3, "costs.fixed"),
        (str(middle), 3, "costs.label"),
        (str(middle), 4, "costs.x"),
    ]


def test_problems_of_code_have_no_place():
    with pytest.raises(ScenarioError) as caught:
        scenario(budget=-1)
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (None, None)


# --- extends


def test_extends_a_chain_relative_to_each_file(tmp_path, base):
    write(tmp_path, "teams/middle.yaml", "extends: ../base.yaml\nbudget: 5\ncurrency: EUR\n")
    child = write(tmp_path, "teams/a/child.yaml", "extends: ../middle.yaml\nbudget: 7\n")
    read = load_scenario(child)
    assert (read.budget, read.currency, read.costs.label) == (7.0, "EUR", 1.5)


def test_extends_deletes_with_null(tmp_path, base):
    text = "extends: base.yaml\nobjective: {kl_coefficient: 0}\nlog_ratio: null\n"
    child = write(tmp_path, "c.yaml", text)
    assert load_scenario(child).log_ratio is None


def test_extends_displaces(tmp_path, base):
    child = write(
        tmp_path,
        "c.yaml",
        "extends: base.yaml\n"
        "log_ratio: {family: lomax, shape: 2, scale: 3}\n"
        "reward_model: {chi2: 8}\n",
    )
    read = load_scenario(child)
    assert read.log_ratio.family == "lomax"
    assert read.reward_model.coverage == 3.0


def test_extends_a_cycle(tmp_path):
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    b = write(tmp_path, "b.yaml", "budget: 1\nextends: ./a.yaml\n")
    problem = one_problem(tmp_path / "a.yaml")
    assert (problem.file, problem.line, problem.key) == (str(b), 2, "extends")
    assert problem.found == "a cycle: a.yaml -> b.yaml -> a.yaml"
    itself = write(tmp_path, "c.yaml", "extends: c.yaml\n")
    assert one_problem(itself).found == "a cycle: c.yaml -> c.yaml"


def test_extends_a_file_that_is_not_there(tmp_path):
    child = write(tmp_path, "c.yaml", "extends: nowhere.yaml\n")
    with pytest.raises(FileAccessError, match=r"nowhere.yaml \(extended by .*c.yaml\): No such"):
        load_scenario(child)


@pytest.mark.parametrize("value", ["5", "[a.yaml]", "''", "{a: b}"])
def test_extends_is_a_path(tmp_path, value):
    assert one_problem(write(tmp_path, "c.yaml", f"extends: {value}\n")).key == "extends"


def test_extends_in_code(base):
    assert load_scenario({"extends": str(base), "budget": 9}).budget == 9.0


def test_an_unknown_key_that_is_deleted_is_unknown(tmp_path, base):
    child = write(tmp_path, "c.yaml", "extends: base.yaml\ncosts: {lable: null}\n")
    assert one_problem(child).key == "costs.lable"


# --- named scenarios


def test_a_named_scenario(base):
    assert load_scenario(base, scenario="cheap-labels").costs.label == 0.2
    assert load_scenario(base, scenario="no-penalty").log_ratio is None


def test_a_named_scenario_that_is_not_there(base):
    problem = one_problem(base, scenario="cheap-label")
    assert problem.allowed == "one of cheap-labels, no-penalty; did you mean cheap-labels?"
    assert problem.file == str(base)
    with pytest.raises(ScenarioError, match="the file has no scenarios"):
        load_scenario(BASE, scenario="x")


def test_problems_of_a_named_scenario_are_at_its_own_lines(tmp_path):
    path = write(tmp_path, "s.yaml", BASE_TEXT.replace("label: 0.20", "label: -1"))
    load_scenario(path)
    problem = one_problem(path, scenario="cheap-labels")
    assert (problem.key, problem.line) == ("costs.label", 14)


def test_named_scenarios_are_inherited(tmp_path, base):
    child = write(
        tmp_path,
        "c.yaml",
        "extends: base.yaml\nscenarios: {no-penalty: null, rich: {budget: 1e6}}\n",
    )
    read = load_scenario(child)
    assert list(read.scenarios) == ["cheap-labels", "rich"]
    assert load_scenario(child, scenario="rich").budget == 1e6
    assert load_scenario(child, scenario="cheap-labels").costs.label == 0.2


def test_a_named_scenario_with_nothing_in_it(tmp_path):
    path = write(tmp_path, "s.yaml", BASE_TEXT + "  same: {}\n  empty:\n")
    problem = one_problem(path)
    assert (problem.key, problem.found, problem.line) == ("scenarios.empty", "null", 19)


def test_all_scenarios_of_a_file(base):
    scenarios = load_scenarios(base, set_values=["budget=9"])
    assert list(scenarios) == [None, "cheap-labels", "no-penalty"]
    assert scenarios[None].costs.label == 1.5
    assert scenarios["cheap-labels"].costs.label == 0.2
    assert {each.budget for each in scenarios.values()} == {9.0}


def test_all_problems_of_all_scenarios(tmp_path):
    text = BASE_TEXT.replace("label: 0.20", "label: -1").replace(
        "kl_coefficient: 0}", "kl_coefficient: -1}"
    )
    path = write(tmp_path, "s.yaml", text)
    with pytest.raises(ScenarioError) as caught:
        load_scenarios(path)
    assert [(each.key, each.line) for each in caught.value.problems] == [
        ("costs.label", 14),
        ("objective.kl_coefficient", 16),
        ("log_ratio", 17),
    ]


# --- settings


def test_settings(base):
    read = load_scenario(
        base,
        scenario="cheap-labels",
        set_values=[
            "costs.label=0.3",
            "limits.rollouts_per_prompt.choices=[4, 8]",
            "bound={policy: finite_class, candidates: 3}",
            "sources.costs.label=quote 2026",
            "checks.bound.total.max=0.6",
            "name = told",
        ],
    )
    assert read.costs.label == 0.3
    assert read.limits.rollouts_per_prompt.choices == (4, 8)
    assert read.bound.candidates == 3
    assert read.sources == {"costs.label": "quote 2026"}
    assert read.checks == {"bound.total": {"max": 0.6}}
    assert read.name == "told"


def test_settings_delete_and_displace(base):
    read = load_scenario(
        base,
        set_values=[
            "reward_model.chi2=8",
            "log_ratio.mean=3",
            "log_ratio.family=exponential",
            "budget=null",
            "costs.fixed=",
        ],
    )
    assert read.reward_model.coverage == 3.0
    assert read.log_ratio.mean == 3.0
    assert read.budget is None


@pytest.mark.parametrize(
    ("setting", "key", "found"),
    [
        ("costs.lable=3", "costs.lable", "unknown key 'lable'"),
        ("costs.lable=null", "costs.lable", "unknown key 'lable'"),
        ("costs.label=-3", "costs.label", "-3"),
        ("costs.label=.inf", "costs.label", ".inf"),
        ("costs.label=no", "costs.label", "the text 'no'"),
        ("budget.low=3", "budget", "a mapping with low"),
        ("extends=b.yaml", "extends", "the key extends"),
        ("scenarios.a.budget=3", "scenarios.a.budget", "the key scenarios"),
        ("costs.label", "", "'costs.label'"),
        ("=3", "", "'=3'"),
    ],
)  # fmt: skip
def test_problems_of_settings(base, setting, key, found):
    problem = one_problem(base, set_values=[setting])
    assert (problem.key, problem.found, problem.line) == (key, found, None)
    assert problem.file.startswith("--set")


def test_a_setting_that_is_no_yaml(base):
    problem = one_problem(base, set_values=["costs.label=[1"])
    assert (problem.key, problem.allowed) == ("costs.label", "valid YAML")


def test_settings_apply_in_order_after_the_named_scenario(base):
    options = {"scenario": "cheap-labels", "set_values": ["costs.label=3", "costs.label=4"]}
    assert load_scenario(base, **options).costs.label == 4.0


# --- files of log-ratios


def empirical(file):
    return {**BASE, "log_ratio": {"family": "empirical", "file": str(file)}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.txt", "# nats\n1.5\n\n-2\n 3e0 \n"),
        ("plain", "1.5\n-2\n3"),
        ("plain.csv", "1.5\n-2\n3\n"),
        ("one.csv", "ratio\n1.5\n-2\n3\n"),
        ("many.CSV", "step,log_ratio,reward\n1,1.5,0\n2,-2,1\n3,3,0\n"),
        ("quoted.csv", '"log_ratio","text"\r\n1.5,"a, b"\r\n-2,""\r\n3,"c"\r\n'),
    ],
)
def test_files_of_samples(tmp_path, name, text):
    read = load_scenario(empirical(write(tmp_path, name, text)))
    assert read.log_ratio.samples == (1.5, -2.0, 3.0)
    assert read.inputs()["log_ratio"] == {"family": "empirical", "samples": [1.5, -2.0, 3.0]}
    assert read.is_written("log_ratio.file")


@pytest.mark.parametrize("kind", ["float64", "float32", "int64"])
def test_arrays_of_samples(tmp_path, kind):
    path = tmp_path / "samples.npy"
    np.save(path, np.array([[1], [-2], [3]], dtype=kind))
    assert load_scenario(empirical(path)).log_ratio.samples == (1.0, -2.0, 3.0)


@pytest.mark.parametrize(
    ("name", "text", "line", "found"),
    [
        ("a.txt", "1\ntwo\n", 2, "the text 'two'"),
        ("a.txt", "1\nnan\n", 2, "the text 'nan'"),
        ("a.txt", "1\n.inf\n", 2, "the text '.inf'"),
        ("a.txt", "1 2\n", 1, "the text '1 2'"),
        ("a.txt", "true\n", 1, "the text 'true'"),
        ("a.txt", "\n# none\n", None, "an empty file"),
        ("a.csv", "log_ratio\n", None, "an empty file"),
        ("a.csv", "x,y\n1,2\n", 1, "the columns x, y"),
        ("a.csv", "x,log_ratio\n1,2\n3\n", 3, "a row of 1 cells"),
        ("a.csv", "x,log_ratio\n1,\n", 2, "the text ''"),
        ("a.csv", "1.5\nx\n", 2, "the text 'x'"),
    ],
)
def test_problems_of_files_of_samples(tmp_path, name, text, line, found):
    path = write(tmp_path, name, text)
    problem = one_problem(empirical(path))
    assert (problem.key, problem.file, problem.line) == ("log_ratio.file", str(path), line)
    assert problem.found == found


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([1.0, np.nan]), "nan as entry 2"),
        (np.zeros((2, 2)), "an array of shape (2, 2)"),
        (np.array(["a"]), "an array of another kind"),
        (np.array([]), "an empty file"),
    ],
)
def test_problems_of_arrays(tmp_path, array, found):
    path = tmp_path / "samples.npy"
    np.save(path, array)
    assert one_problem(empirical(path)).found == found


def test_arrays_that_would_run_code_are_refused(tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert one_problem(empirical(path)).found.startswith("no readable array")
    path.write_bytes(b"nonsense")
    assert one_problem(empirical(path)).found.startswith("no readable array")


def test_files_of_samples_that_cannot_be_read(tmp_path):
    with pytest.raises(FileAccessError, match=r"nowhere.csv \(named by log_ratio.file\)"):
        load_scenario(empirical(tmp_path / "nowhere.csv"))


def test_a_file_of_samples_is_relative_to_the_file_that_names_it(tmp_path, monkeypatch):
    write(tmp_path, "data/tail.txt", "1\n2\n")
    write(tmp_path, "data/other.txt", "5\n")
    text = BASE_TEXT.replace("gaussian, kl: 12", "empirical, file: tail.txt")
    text += "  other: {log_ratio: {file: other.txt}}\n"
    write(tmp_path, "data/base.yaml", text)
    child = write(tmp_path, "child.yaml", "extends: data/base.yaml\n")
    assert load_scenario(child).log_ratio.samples == (1.0, 2.0)
    assert load_scenario(child, scenario="other").log_ratio.samples == (5.0,)
    monkeypatch.chdir(tmp_path / "data")
    settings = ["log_ratio.file=other.txt"]
    assert load_scenario(child, set_values=settings).log_ratio.samples == (5.0,)


def test_a_file_of_samples_is_read_once(tmp_path):
    path = write(tmp_path, "tail.txt", "1\n2\n")
    read = load_scenario(empirical(path))
    path.unlink()
    assert read.with_values({"budget": 3}).log_ratio.samples == (1.0, 2.0)
