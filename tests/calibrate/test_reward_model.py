"""Learning curves: recovery, what is not identified, and the traps of training logs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from rlhf_budget.calibrate import read_losses, reward_model
from rlhf_budget.calibrate.reward_model.learning_curve import curve_band, fit_learning_curve
from rlhf_budget.errors import CalibrationError, FileAccessError, LogError

DATA = Path(__file__).parents[1] / "data" / "reward_model"
TRUTH = json.loads((DATA / "one-run" / "truth.json").read_text())
WORLD = {"agreement": TRUTH["two_annotators_agree"], "logit_scale": TRUTH["logit_scale"]}
ERROR = "reward_model.error"


def curve_points(limit, amplitude, exponent, labels, noise=0.0, seed=0):
    labels = np.asarray(labels, dtype=float)
    losses = limit + amplitude * labels**-exponent
    losses = losses + np.random.default_rng(seed).normal(0.0, noise, labels.size)
    return list(zip(labels, losses, strict=True))


EIGHT = np.geomspace(500, 64_000, 8)


@pytest.mark.parametrize(
    ("limit", "amplitude", "exponent", "noise", "labels", "agreement"),
    [
        (0.45, 3.0, 0.5, 0.003, EIGHT, 0.75),
        (0.50, 1.0, 0.3, 0.001, np.geomspace(250, 256_000, 14), 0.70),
        (2 * math.log(2) * 0.3, 30.0, 0.9, 0.002, np.geomspace(1_000, 50_000, 10), 0.70),
    ],
)
def test_intervals_cover_in_90_to_99_percent_of_400_repetitions(
    limit, amplitude, exponent, noise, labels, agreement
):
    bayes = 2 * math.log(2) * (1 - agreement)
    unit = 1 / (36.0 * (1 - agreement) / 2)
    truth = {
        f"{ERROR}.floor": (limit - bayes) * unit,
        f"{ERROR}.scale": amplitude * unit,
        f"{ERROR}.exponent": exponent,
    }
    covered = dict.fromkeys(truth, 0)
    for seed in range(400):
        points = curve_points(limit, amplitude, exponent, labels, noise, seed)
        found = reward_model(points, agreement=agreement, logit_scale=6.0)
        for constant, value in truth.items():
            estimate = found.estimate(constant)
            assert estimate.status == "estimated", estimate.note
            low, high = estimate.interval
            assert low <= estimate.value <= high
            covered[constant] += low - 1e-12 <= value <= high
    for constant, count in covered.items():
        assert 0.90 <= count / 400 <= 0.99, (constant, count / 400)


def test_a_curve_that_is_not_identified_is_said_to_be_so():
    told = 0
    for seed in range(50):
        points = curve_points(0.45, 3.0, 0.5, EIGHT, noise=0.05, seed=seed)
        found = reward_model(points, agreement=0.75)
        told += {w.code for w in found.warnings} == {"curve-not-identified"}
        assert ("curve-not-identified" in {w.code for w in found.warnings}) == (
            found.estimate(f"{ERROR}.exponent").status == "unreliable"
        )
    assert told >= 45


def test_fit_equals_a_general_optimiser():
    points = curve_points(0.45, 3.0, 0.5, EIGHT, noise=0.004, seed=3)
    curve = fit_learning_curve(points, lower_limit=0.3)
    labels, losses = map(np.array, zip(*points, strict=True))

    def residuals(parameters):
        limit, log_amplitude, exponent = parameters
        return limit + math.exp(log_amplitude) * labels**-exponent - losses

    other = optimize.least_squares(
        residuals, (0.4, 1.0, 0.4), bounds=((0.3, -20, 1e-3), (1, 20, 2)), xtol=1e-15, ftol=1e-15
    )
    assert curve.loss_limit == pytest.approx(other.x[0], rel=1e-5)
    assert curve.amplitude == pytest.approx(math.exp(other.x[1]), rel=1e-5)
    assert curve.exponent == pytest.approx(other.x[2], rel=1e-5)
    squares = sum((p.loss - p.fitted) ** 2 for p in curve.points)
    assert squares == pytest.approx(2 * other.cost, rel=1e-9)


def test_profile_ends_lie_on_the_threshold():
    points = curve_points(0.45, 3.0, 0.5, EIGHT, noise=0.004, seed=3)
    curve = fit_learning_curve(points, lower_limit=0.3)
    labels, losses = map(np.array, zip(*points, strict=True))

    def least_with(limit):
        def squares(parameters):
            fitted = limit + math.exp(parameters[0]) * labels ** -parameters[1]
            return float(((fitted - losses) ** 2).sum())

        start = (math.log(curve.amplitude), curve.exponent)
        found = optimize.minimize(squares, start, method="Nelder-Mead", tol=1e-14)
        return optimize.minimize(squares, found.x, method="Nelder-Mead", tol=1e-14).fun

    for end in curve.loss_limit_interval:
        assert least_with(end) == pytest.approx(curve.threshold, rel=1e-3)


def test_noise_free_curve_is_found_exactly_and_band_closes_on_it():
    curve = fit_learning_curve(curve_points(0.5, 20.0, 0.7, EIGHT), lower_limit=0.2)
    assert (curve.loss_limit, curve.amplitude, curve.exponent) == pytest.approx(
        (0.5, 20.0, 0.7), rel=1e-6
    )
    low, high = curve_band(curve, np.array([1_000.0, 100_000.0]))
    assert high - low == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_limit_never_passes_its_bound():
    curve = fit_learning_curve(curve_points(0.3, 2.0, 0.2, EIGHT, 0.001), lower_limit=0.4)
    assert curve.loss_limit >= 0.4
    assert curve.loss_limit_interval[0] >= 0.4
    free = fit_learning_curve([(100, 0.6), (1_000, 0.4), (10_000, 0.2), (100_000, 0.01)])
    assert free.loss_limit >= 0.0
    assert 0.0 < free.exponent <= 2.0


def test_one_run_falls_straight_and_its_checkpoint_is_no_second_run():
    log = read_losses([DATA / "one-run"])
    assert log.runs == 1
    assert log.points[0] == (1280, pytest.approx(0.643878, abs=1e-6))
    assert log.points[-1][0] == TRUTH["labels"]
    assert {s.reason: s.count for s in log.source.skipped} == {
        "before-any-label": 1,
        "earlier-checkpoint": 6,
    }
    assert log.source.rows_read == log.source.rows_used + 7
    found = reward_model(log, **WORLD)
    assert {e.status for e in found.estimates} == {"unreliable"}
    exponent = found.estimate(f"{ERROR}.exponent")
    assert "straight line" in exponent.note
    assert "separate runs" in exponent.note
    assert found.curve.loss_limit >= found.bayes_loss
    assert found.fragment() == {}
    assert set(found.fragment(include_unreliable=True)["reward_model"]["error"]) == {
        "floor",
        "scale",
        "exponent",
    }


def test_the_bound_from_agreement_is_below_the_true_bayes_loss():
    found = reward_model(curve_points(0.5, 3.0, 0.5, EIGHT), **WORLD)
    assert found.bayes_loss == pytest.approx(2 * math.log(2) * (1 - WORLD["agreement"]))
    assert found.bayes_loss < TRUTH["bayes_nll_eval"]


def test_several_runs_give_one_point_each_with_the_lowest_loss():
    log = read_losses([DATA / "sizes"])
    assert log.runs == 6
    assert [labels for labels, _ in log.points] == [400, 800, 1600, 3200, 6400, 12800]
    assert [round(loss, 3) for _, loss in log.points] == [0.672, 0.638, 0.609, 0.552, 0.575, 0.547]
    assert reward_model(log, **WORLD).warnings[0].code == "curve-not-identified"


def test_later_epochs_bring_no_new_labels():
    log = read_losses([DATA / "sizes" / "labels-400"])
    assert {labels for labels, _ in log.points} == {400}
    found = reward_model(log)
    assert {e.status for e in found.estimates} == {"unavailable"}
    assert "one number of labels (400)" in found.estimates[0].note


def test_a_log_without_its_last_record_needs_labels_per_step():
    checkpoint = DATA / "one-run" / "checkpoint-200" / "trainer_state.json"
    with pytest.raises(CalibrationError, match="--labels-per-step"):
        read_losses([checkpoint])
    log = read_losses([checkpoint], labels_per_step=TRUTH["labels_per_step"])
    assert [labels for labels, _ in log.points] == [1280, 2560, 3840, 5120, 6400]


def test_published_curves_hold_two_numbers_of_labels():
    log = read_losses([DATA / "rm_learning_curves.csv"])
    assert log.points == ((2000, 0.683869), (2000, 0.686109), (8000, 0.654857))
    assert log.accuracies == 15
    found = reward_model(log, agreement=0.73)
    assert found.estimate(f"{ERROR}.exponent").status == "unreliable"
    assert found.estimate(f"{ERROR}.exponent").interval is None
    assert "2 different numbers of labels" in found.warnings[0].message


@pytest.mark.parametrize(
    "text",
    [
        "labels,accuracy\n1000,0.6\n2000,0.62\n4000,0.65\n8000,0.66\n",
        "labels,metric,value\n1000,val_accuracy,0.6\n2000,val_accuracy,0.7\n",
    ],
)
def test_accuracy_alone_gives_no_error(tmp_path, text):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    log = read_losses([path])
    found = reward_model(log, agreement=0.7)
    assert log.source.rows_used == 0
    assert {e.status for e in found.estimates} == {"unavailable"}
    assert "accuracy gives no error" in found.estimates[0].note
    assert "eval_loss" in found.estimates[0].note
    assert found.to_dict()["curve"] is None


def test_training_log_with_accuracy_only(tmp_path):
    state = {"log_history": [{"step": 10, "epoch": 0.5, "eval_accuracy": 0.6}], "global_step": 20}
    state["log_history"].append(
        {"step": 20, "epoch": 1.0, "train_runtime": 2.0, "train_samples_per_second": 50.0}
    )
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps(state))
    log = read_losses([path])
    assert (log.points, log.accuracies) == ((), 1)


def test_points_below_2000_labels_are_unreliable():
    few = reward_model(curve_points(0.5, 9.0, 0.8, np.geomspace(100, 1900, 8)), agreement=0.75)
    assert "2,000 labels" in few.warnings[0].message
    more = reward_model(curve_points(0.5, 9.0, 0.8, np.geomspace(100, 2100, 8)), agreement=0.75)
    assert not more.warnings


def test_three_points_have_values_but_no_intervals():
    found = reward_model(curve_points(0.5, 9.0, 0.8, [1e3, 1e4, 1e5]), agreement=0.75)
    exponent = found.estimate(f"{ERROR}.exponent")
    assert exponent.value == pytest.approx(0.8, rel=1e-6)
    assert (exponent.status, exponent.interval) == ("unreliable", None)


def test_a_rising_loss_is_no_curve():
    points = [(1e3, 0.60), (2e3, 0.61), (4e3, 0.63), (8e3, 0.64), (16e3, 0.66)]
    found = reward_model(points, agreement=0.75)
    assert found.estimate(f"{ERROR}.scale").value == 0.0
    assert "does not fall" in found.warnings[0].message


def test_losses_below_the_bayes_loss_contradict_the_agreement():
    found = reward_model(curve_points(0.35, 9.0, 0.8, EIGHT), agreement=0.70)
    assert "agreement is too low" in found.warnings[0].message


def test_constants_follow_from_the_curve():
    points = curve_points(0.5, 9.0, 0.8, EIGHT, noise=1e-4)
    average = reward_model(points, agreement=0.75, logit_scale=4.0)
    bend = average.curvature.value
    assert bend == 0.125
    excess = average.curve.loss_limit - average.bayes_loss
    assert average.estimate(f"{ERROR}.floor").value == pytest.approx(excess / (16 * bend))
    assert average.estimate(f"{ERROR}.scale").value == pytest.approx(
        average.curve.amplitude / (16 * bend)
    )
    worst = reward_model(
        points, agreement=0.75, logit_scale=4.0, curvature="worst", reward_range=(-1.0, 1.0)
    )
    sigmoid = 1 / (1 + math.exp(-8.0))
    assert worst.curvature.value == pytest.approx(sigmoid * (1 - sigmoid))
    ratio = worst.estimate(f"{ERROR}.scale").value / average.estimate(f"{ERROR}.scale").value
    assert ratio == pytest.approx(0.125 / worst.curvature.value)


def test_without_agreement_only_the_exponent_is_known_and_it_is_not_pasted():
    found = reward_model(curve_points(0.5, 9.0, 0.8, EIGHT, noise=1e-4))
    assert found.estimate(f"{ERROR}.exponent").status == "estimated"
    for name in ("floor", "scale"):
        assert found.estimate(f"{ERROR}.{name}").status == "unavailable"
        assert "--agreement" in found.estimate(f"{ERROR}.{name}").note
    assert found.fragment() == {}


def test_agreement_of_pairs_of_annotators():
    rows = (DATA / "annotators.csv").read_text().splitlines()[1:]
    votes = [row.split(",") for row in rows]
    pairs = [(v[i], v[j]) for v in votes for i, j in ((0, 1), (0, 2), (1, 2))]
    chosen = [(a, b) for a, b in pairs if "0" not in (a, b)]
    assert len(chosen) == 2620
    assert sum(a == b for a, b in chosen) / len(chosen) == pytest.approx(0.9473, abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"agreement": 1.0},
        {"agreement": 0.4},
        {"logit_scale": 0.0},
        {"reward_range": (1.0, 0.0)},
        {"level": 1.0},
        {"agreement": 0.7, "curvature": "worst", "logit_scale": 1e4},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(CalibrationError):
        reward_model(curve_points(0.5, 9.0, 0.8, EIGHT), **settings)


@pytest.mark.parametrize("point", [(0.0, 0.5), (10.0, -1.0), (math.inf, 0.5), (10.0, math.nan)])
def test_points_out_of_range(point):
    with pytest.raises(CalibrationError):
        fit_learning_curve([(100.0, 0.6), (1000.0, 0.5), point])


def test_tables_with_other_names_and_broken_rows(tmp_path):
    path = tmp_path / "curve.jsonl"
    rows = [{"n": 1000, "x": 0.6}, {"n": None, "x": 0.5}, {"n": 4000, "x": "nan"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = read_losses([path], labels_field="n", loss_field="x")
    assert log.points == ((1000.0, 0.6),)
    assert {s.reason: s.count for s in log.source.skipped} == {
        "unusable-labels": 1,
        "unusable-loss": 1,
    }
    with pytest.raises(LogError, match="unusable-labels"):
        read_losses([path], labels_field="n", loss_field="x", strict=True)
    with pytest.raises(CalibrationError, match="--labels-field"):
        read_losses([path])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileAccessError):
        read_losses([tmp_path / "none.csv"])
    with pytest.raises(FileAccessError):
        read_losses([tmp_path])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(LogError):
        read_losses([tmp_path / "broken.json"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(CalibrationError, match="no usable row"):
        read_losses([tmp_path / "empty.csv"])
