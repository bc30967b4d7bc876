from __future__ import annotations

import pytest

from rlhf_budget.scenario import PRESETS, load_scenario, template
from rlhf_budget.scenario.yaml_source import read_yaml


def leaves(values, path=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_loads_as_it_is(preset, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(template(preset))
    read = load_scenario(path, budget_required=True)
    (guess,) = read.assumed
    assert (guess.constant, guess.kind, guess.source) == ("bound.posterior_kl", "range", "guess")
    assert read.is_written("bound.policy")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_short_and_starts_with_the_schema_line(preset):
    lines = template(preset).splitlines()
    assert lines[0] == (
        "# yaml-language-server: $schema=scenario.schema.json  "
        "(made by: rlhf-budget schema --of scenario > scenario.schema.json)"
    )
    assert len(lines) <= 60
    assert max(map(len, lines[1:])) <= 110


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_which_constants_are_guesses(preset):
    values = read_yaml(template(preset), None).values
    guessed = {key for key, source in values["sources"].items() if source == "guess"}
    prices = {key for key in leaves(values) if key.startswith(("costs.", "log_ratio.kl"))}
    assert prices - {"costs.prompt.existing"} <= guessed


@pytest.mark.parametrize("preset", PRESETS)
def test_every_constant_of_a_preset_has_a_comment(preset):
    for line in template(preset).splitlines():
        key, _, value = line.strip().partition(":")
        is_constant = value.strip() and not line.startswith(("#", "name")) and "guess" not in line
        if is_constant and key not in ("family", "scale", "exponent", "rollouts_per_prompt"):
            assert "#" in line, line


def test_the_kinds_of_the_presets():
    verifiable = load_scenario(read_yaml(template("verifiable"), None).values)
    assert verifiable.reward_model == "verifiable"
    assert verifiable.limits.group_size.choices == (4, 8, 16, 32)
    assert verifiable.costs.prompt.existing > 0
    finished = load_scenario(read_yaml(template("existing-reward-model"), None).values)
    assert isinstance(finished.reward_model.error, float)
    assert load_scenario(read_yaml(template(), None).values).reward_model.label_policy == "current"


def test_a_preset_that_does_not_exist():
    with pytest.raises(ValueError, match="rlhf, verifiable, existing-reward-model"):
        template("dpo")
