"""Pictures of fits: what they show, and every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlhf_budget.calibrate import RolloutConstants, Source, costs, read_losses, reward_model
from rlhf_budget.calibrate.costs.calibration import PastRun
from rlhf_budget.calibrate.logs.histogram import LogHistogram
from rlhf_budget.calibrate.rollouts.tail_fits import TailFit
from rlhf_budget.calibrate.rollouts.tail_summary import TailSummary
from rlhf_budget.errors import CalibrationError, FileAccessError
from rlhf_budget.report.fit_charts import fit_chart, write_chart

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

DATA = Path(__file__).parents[1] / "data" / "reward_model"


@pytest.fixture(scope="module")
def learning_curve():
    return reward_model(read_losses([DATA / "sizes"]), agreement=0.71, logit_scale=6.0)


def layers_of(chart):
    return chart.to_dict()["layer"]


def test_learning_curve_shows_points_curve_band_and_limits(learning_curve):
    chart = fit_chart(learning_curve).to_dict()
    kinds = [layer["mark"]["type"] for layer in chart["layer"]]
    assert kinds == ["area", "line", "point", "rule", "text", "rule", "text"]
    points = chart["layer"][2]["data"]["values"]
    assert [point["labels"] for point in points] == [400, 800, 1600, 3200, 6400, 12800]
    words = [layer["data"]["values"][0].get("text") for layer in chart["layer"][3:]]
    assert any("no labels beat 0.402" in text for text in words)
    assert "do not identify" in chart["title"]["subtitle"]
    band = chart["layer"][0]["data"]["values"]
    assert all(row["low"] <= row["high"] for row in band)


def test_curve_with_too_few_points_has_no_band():
    found = reward_model([(2000, 0.68), (8000, 0.65)], agreement=0.7)
    assert "area" not in [layer["mark"]["type"] for layer in layers_of(fit_chart(found))]


@pytest.mark.parametrize(
    ("ending", "beginning"),
    [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("html", b"<!DOCTYPE html>")],
)
def test_files(learning_curve, tmp_path, ending, beginning):
    path = tmp_path / f"fit.{ending}"
    write_chart(fit_chart(learning_curve), path)
    content = path.read_bytes()
    assert content.lstrip().startswith(beginning)
    assert len(content) > 5_000
    assert b'src="http' not in content


def test_tail_is_drawn_against_its_families():
    samples = np.abs(np.random.default_rng(0).exponential(2.0, 400))
    fits = (
        TailFit("exponential", (("mean", 2.0),), (0.1,), -600.0, 0.02, chosen=True),
        TailFit("lognormal", (("mu", 0.2), ("sigma", 1.1)), (0.1, 0.1), -620.0, 0.08, chosen=False),
    )
    tail = TailSummary(LogHistogram.from_samples(samples), fits, (), 0.95)
    found = RolloutConstants(level=0.95, source=Source(), estimates=(), tail=tail)
    chart = fit_chart(found).to_dict()
    families = {row["law"] for row in chart["layer"][0]["data"]["values"]}
    assert families == {"exponential (best)", "lognormal"}
    observed = chart["layer"][1]["data"]["values"]
    shares = [row["share"] for row in observed]
    assert shares == sorted(shares, reverse=True)
    at_two = min(observed, key=lambda row: abs(row["nats"] - 2.0))
    assert at_two["share"] == pytest.approx(np.mean(samples > at_two["nats"]), abs=0.01)


def test_what_cannot_be_drawn(learning_curve, tmp_path):
    with pytest.raises(CalibrationError, match="nothing to draw"):
        fit_chart(costs([PastRun(10, 2, 1.0), PastRun(10, 4, 2.0)]))
    with pytest.raises(CalibrationError, match="nothing to draw: losses at one"):
        fit_chart(reward_model([(400, 0.6)]))
    with pytest.raises(CalibrationError, match=r"\.svg, \.png"):
        write_chart(fit_chart(learning_curve), tmp_path / "fit.jpg")
    with pytest.raises(FileAccessError):
        write_chart(fit_chart(learning_curve), tmp_path / "none" / "fit.svg")
