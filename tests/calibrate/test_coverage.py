"""Coverage of features and of densities."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, stats

from rlhf_budget.calibrate import coverage, read_features, read_logprobs
from rlhf_budget.calibrate.coverage.densities import generalised_pareto_shape, pareto_shape
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

DATA = Path(__file__).parents[1] / "data" / "reward_model"
KEY = "reward_model.coverage"


def moment(rows):
    return rows.T @ rows / len(rows)


@pytest.mark.parametrize("seed", range(6))
def test_features_equal_the_generalised_eigenvalue(seed):
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 40))
    mixing = generator.normal(size=(size, size))
    training = generator.normal(size=(500, size)) @ mixing
    current = generator.normal(size=(300, size)) * generator.uniform(0.5, 5, size)
    largest = linalg.eigh(moment(current), moment(training), eigvals_only=True)[-1]
    found = coverage(training=training, current=current)
    assert found.estimate(KEY).value == pytest.approx(max(1.0, math.sqrt(largest)), rel=1e-12)


def test_ridge_equals_the_ridged_eigenvalue_and_its_effect_is_shown():
    generator = np.random.default_rng(1)
    training, current = generator.normal(size=(80, 5)), generator.normal(size=(70, 5)) * 3
    base = moment(training)
    unit = np.trace(base) / 5
    largest = linalg.eigh(moment(current), base + 0.1 * unit * np.eye(5), eigvals_only=True)[-1]
    found = coverage(training=training, current=current, ridge=0.1)
    assert found.estimate(KEY).value == pytest.approx(math.sqrt(largest), rel=1e-12)
    ridges = [effect.ridge for effect in found.ridges]
    assert ridges == sorted(ridges)
    assert {0.0, 0.1} <= set(ridges)
    values = [effect.coverage for effect in found.ridges]
    assert values == sorted(values, reverse=True)


def test_coverage_is_at_least_one():
    generator = np.random.default_rng(2)
    found = coverage(
        training=generator.normal(size=(400, 3)) * 5, current=generator.normal(size=(400, 3))
    )
    assert found.estimate(KEY).value == 1.0
    assert found.fragment() == {"reward_model": {"coverage": 1.0, "coverage_kind": "features"}}


def test_bootstrap_interval_covers():
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(30):
        training = generator.normal(size=(300, 4))
        current = generator.normal(size=(300, 4)) * [3, 1.5, 1, 1]
        low, high = coverage(training=training, current=current, seed=seed).estimate(KEY).interval
        covered += low <= 3.0 <= high
    assert covered >= 25


def test_a_direction_unseen_in_training_is_unreliable():
    generator = np.random.default_rng(4)
    training = generator.normal(size=(400, 4))
    training[:, 3] = training[:, 0]
    current = generator.normal(size=(400, 4))
    estimate = coverage(training=training, current=current).estimate(KEY)
    assert (estimate.status, estimate.interval) == ("unreliable", None)
    assert "depends on the ridge" in estimate.note
    with pytest.raises(CalibrationError, match="ridge above 0"):
        coverage(training=training, current=current, ridge=0.0)


def test_a_feature_that_never_varies_does_no_harm():
    generator = np.random.default_rng(4)
    training, current = generator.normal(size=(400, 4)), generator.normal(size=(400, 4)) * 2
    whole = coverage(training=training, current=current).estimate(KEY)
    padding = np.zeros((400, 1))
    padded = coverage(
        training=np.hstack([training, padding]), current=np.hstack([current, padding])
    ).estimate(KEY)
    assert padded.status == "estimated"
    assert padded.value == pytest.approx(whole.value, rel=1e-5)


def test_fewer_rows_than_features_is_unreliable():
    generator = np.random.default_rng(5)
    estimate = coverage(
        training=generator.normal(size=(20, 30)), current=generator.normal(size=(200, 30))
    ).estimate(KEY)
    assert estimate.status == "unreliable"
    assert "20 training rows for 30 features" in estimate.note


@pytest.mark.parametrize(
    ("training", "current"),
    [
        (np.ones((5, 2)), np.ones((5, 3))),
        (np.ones(5), np.ones((5, 1))),
        (np.full((5, 2), np.nan), np.ones((5, 2))),
        (np.ones((0, 2)), np.ones((5, 2))),
    ],
)
def test_tables_that_do_not_fit(training, current):
    with pytest.raises(CalibrationError):
        coverage(training=training, current=current)


def test_exactly_one_kind_of_data():
    with pytest.raises(CalibrationError):
        coverage(training=np.ones((2, 1)))
    with pytest.raises(CalibrationError):
        coverage(
            training=np.ones((2, 1)),
            current=np.ones((2, 1)),
            policy_logprobs=[0.0],
            behaviour_logprobs=[0.0],
        )


def test_densities_of_gaussians_close_to_each_other():
    # Log-weights N(v/2, v) have E w = e^v under the policy, and C = e^(v/2).
    variance = 0.25
    weights = np.random.default_rng(6).normal(variance / 2, math.sqrt(variance), 20_000)
    found = coverage(policy_logprobs=weights - 40.0, behaviour_logprobs=np.full(20_000, -40.0))
    estimate = found.estimate(KEY)
    assert estimate.status == "estimated"
    assert found.pareto_shape < 0.5
    low, high = estimate.interval
    assert low <= math.exp(variance / 2) <= high
    assert found.fragment()["reward_model"]["coverage_kind"] == "density"


def test_evaluation_rollouts_are_unreliable_with_their_shape():
    policy, behaviour, source = read_logprobs(
        [DATA / "evaluation_logprobs.csv"], policy_field="logp_policy", behaviour_field="logp_ref"
    )
    assert (source.rows_read, source.rows_used) == (2400, 1200)
    assert source.skipped[0].reason == "sampled-by-another-policy"
    found = coverage(policy_logprobs=policy, behaviour_logprobs=behaviour, source=source)
    estimate = found.estimate(KEY)
    assert estimate.status == "unreliable"
    assert estimate.value**2 - 1 == pytest.approx(13_176, abs=1)
    assert found.pareto_shape == pytest.approx(1.0, abs=0.05)
    assert "k = 1.00" in estimate.note
    assert [w.code for w in found.warnings] == ["heavy-weights"]
    assert found.fragment() == {}
    json.dumps(found.to_dict(), allow_nan=False)


def test_weights_beyond_floats_are_unavailable():
    estimate = coverage(
        policy_logprobs=np.linspace(0, 3000, 100), behaviour_logprobs=np.zeros(100)
    ).estimate(KEY)
    assert estimate.status == "unavailable"
    assert "overflows" in estimate.note


@pytest.mark.parametrize("shape", [0.1, 0.5, 0.9])
def test_pareto_shape_is_found(shape):
    generator = np.random.default_rng(7)
    log_weights = shape * generator.exponential(size=(20, 20_000))
    found = [pareto_shape(row) for row in log_weights]
    assert np.mean(found) == pytest.approx(shape, abs=0.06)


def test_generalised_pareto_shape_agrees_with_maximum_likelihood():
    sample = np.sort(stats.genpareto.rvs(0.4, size=4000, random_state=8))
    likeliest = stats.genpareto.fit(sample, floc=0.0)[0]
    assert generalised_pareto_shape(sample) == pytest.approx(likeliest, abs=0.01)


def test_pareto_shape_of_too_few_or_equal_weights():
    assert pareto_shape(np.zeros(1000)) is None
    assert pareto_shape(np.arange(20.0)) is None
    equal = coverage(policy_logprobs=np.zeros(9), behaviour_logprobs=np.zeros(9)).estimate(KEY)
    assert (equal.status, equal.value) == ("estimated", 1.0)


def test_features_from_files(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    table = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", table)
    assert read_features(tmp_path / "a.npy").tolist() == table.tolist()
    rows = "(VALUES (0.0, 1.0), (2.0, 3.0), (4.0, 5.0)) AS t(a, b)"
    duckdb.sql(f"SELECT a, b FROM {rows}").write_parquet(str(tmp_path / "b.parquet"))
    duckdb.sql(f"SELECT [a, b] AS f FROM {rows}").write_parquet(str(tmp_path / "c.parquet"))
    assert read_features(tmp_path / "b.parquet").tolist() == table.tolist()
    assert read_features(tmp_path / "c.parquet").tolist() == table.tolist()
    np.save(tmp_path / "flat.npy", np.ones(3))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("flat.npy", "empty.npy", "empty.parquet"):
        with pytest.raises(LogError):
            read_features(tmp_path / name)
    for name in ("none.npy", "none.parquet"):
        with pytest.raises(FileAccessError):
            read_features(tmp_path / name)


def test_log_probabilities_per_token_are_summed(tmp_path):
    path = tmp_path / "rollouts.jsonl"
    rows = [{"p": [-1.0, -2.0], "b": -2.5}, {"p": None, "b": -1.0}, {"p": -1.0, "b": -1.0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy, behaviour, source = read_logprobs([path], policy_field="p", behaviour_field="b")
    assert policy.tolist() == [-3.0, -1.0]
    assert behaviour.tolist() == [-2.5, -1.0]
    assert source.skipped[0].count == 1
    with pytest.raises(LogError):
        read_logprobs([path], policy_field="p", behaviour_field="b", strict=True)
    with pytest.raises(CalibrationError, match="--behaviour-logprob-field"):
        read_logprobs([path], policy_field="p")
