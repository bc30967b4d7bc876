"""Agreement of annotators in every way that votes are written, and losses from scored pairs."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlhf_budget.calibrate import agreement, agreement_from_files, read_losses
from rlhf_budget.calibrate.agreement.calibration import read_agreement
from rlhf_budget.cli.app import app
from rlhf_budget.errors import CalibrationError, LogError
from rlhf_budget.report.schema import output_schema

DATA = Path(__file__).parents[1] / "data"
PREFERENCES = DATA / "field" / "18-helpsteer2-preferences"
ANNOTATORS = DATA / "reward_model" / "annotators.csv"


def brute_force(pairs):
    """Every two votes on a pair, one by one; a tie agrees half with anything."""
    shares = []
    for votes in pairs:
        scores = [
            0.5 if 0 in two else float(two[0] == two[1]) for two in itertools.combinations(votes, 2)
        ]
        shares.append(sum(scores) / len(scores))
    return sum(shares) / len(shares)


VOTES = st.lists(st.lists(st.sampled_from([1, 2, 0]), min_size=2, max_size=5), min_size=1)


@given(VOTES.filter(lambda pairs: {v for p in pairs for v in p} >= {1, 2}))
def test_every_way_of_writing_votes_gives_the_same_agreement(pairs):
    expected = brute_force(pairs)
    words = {1: "model_a", 2: "model_b", 0: "tie (bothbad)"}
    signed = {1: -2, 2: 1, 0: 0}
    a_row = [
        {"question_id": i, "model_a": "x", "model_b": "y", "winner": words[v], "judge": j}
        for i, votes in enumerate(pairs)
        for j, v in enumerate(votes)
    ]
    turned = [
        {**row, "model_a": "y", "model_b": "x", "winner": swapped}
        if row["judge"] % 2
        and (swapped := {"model_a": "model_b", "model_b": "model_a"}.get(row["winner"]))
        else row
        for row in a_row
    ]
    listed = [
        {"prompt": str(i), "individual_preference": [{"score": signed[v]} for v in votes]}
        for i, votes in enumerate(pairs)
    ]
    wide = [{f"annotator{j}": v for j, v in enumerate(votes)} for votes in pairs]
    counted = [
        {"votes_a": votes.count(1), "votes_b": votes.count(2), "votes_tie": votes.count(0)}
        for votes in pairs
    ]
    for rows in (a_row, turned, listed, wide, counted):
        found = agreement(rows)
        assert found.estimate("agreement").value == pytest.approx(expected, abs=1e-12)
        assert found.votes.repeated == len(pairs)
        assert found.votes.votes == sum(map(len, pairs))
        assert found.source.rows_read == found.source.rows_used == len(rows)
        low, high = found.estimate("agreement").interval
        assert 0 <= low <= expected <= high <= 1


def test_the_published_annotators():
    found = agreement_from_files([ANNOTATORS])
    votes = [
        [int(v) for v in line.split(",")]
        for line in ANNOTATORS.read_text().splitlines()[1:]
        if line
    ]
    estimate = found.estimate("agreement")
    assert (estimate.status, estimate.sample_size) == ("estimated", 999)
    assert estimate.value == pytest.approx(brute_force(votes), abs=1e-12)
    bayes = found.estimate("bayes_loss")
    assert bayes.value == pytest.approx(2 * math.log(2) * (1 - estimate.value))
    assert bayes.interval[0] == pytest.approx(2 * math.log(2) * (1 - estimate.interval[1]))


def test_intervals_cover_the_truth():
    truth = 1 - 2 * 0.8 * 0.8 / (1.6 * 2.6)  # E p² + (1 − p)² under the beta law
    rng = random.Random(1)
    covered, worlds = 0, 500
    for _ in range(worlds):
        rows = []
        for pair in range(120):
            p = rng.betavariate(0.8, 0.8)
            rows += [
                {"pair_id": pair, "choice": int(rng.random() < p), "annotator": who}
                for who in range(2)
            ]
        low, high = agreement(rows).estimate("agreement").interval
        covered += low <= truth <= high
    assert 0.92 <= covered / worlds <= 0.98


def test_label_studio_and_arena():
    studio = agreement_from_files([PREFERENCES / "label-studio.json"])
    assert studio.estimate("agreement").value == 0.5
    assert studio.estimate("agreement").status == "unreliable"
    assert (studio.votes.repeated, studio.votes.prompts, studio.votes.ties) == (2, 2, 0)
    arena = agreement_from_files([PREFERENCES / "arena.jsonl"])
    assert arena.votes.ties == 1
    assert arena.estimate("agreement").value == 0.5


@pytest.mark.parametrize("name", ["hh-rlhf.jsonl", "pairs.jsonl"])
def test_a_set_of_single_judgements_says_what_it_holds(name):
    found = agreement_from_files([PREFERENCES / name])
    estimate = found.estimate("agreement")
    assert estimate.status == "unavailable"
    assert "chosen and rejected by one judgement each" in estimate.note
    assert "judged twice" in estimate.note
    with pytest.raises(CalibrationError, match="judged twice"):
        read_agreement(str(PREFERENCES / name))


def test_votes_that_do_not_count_are_counted():
    rows = [
        {"pair_id": 1, "choice": 0, "annotator": "a"},
        {"pair_id": 1, "choice": 1, "annotator": "a"},
        {"pair_id": 1, "choice": 1, "annotator": "b"},
        {"pair_id": 2, "choice": 1, "annotator": "a"},
        {"pair_id": 1, "choice": "?", "annotator": "c"},
        {"pair_id": 1},
    ]
    found = agreement(rows)
    assert found.estimate("agreement").value == 1.0  # the second vote of a replaces the first
    assert {s.reason: s.count for s in found.source.skipped} == {
        "one-vote": 1,
        "unreadable-vote": 2,
    }
    assert found.source.rows_read == found.source.rows_used + 3
    with pytest.raises(LogError, match="unreadable-vote"):
        agreement(rows, strict=True)


def test_files_of_two_kinds_are_refused():
    with pytest.raises(CalibrationError, match="files of different kinds"):
        agreement_from_files([ANNOTATORS, PREFERENCES / "arena.jsonl"])


def test_the_command_and_its_json():
    result = CliRunner().invoke(
        app, ["calibrate", "agreement", str(ANNOTATORS), "--format", "json"]
    )
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    jsonschema.validate(document, output_schema("calibrate"))
    assert document["agreement"]["repeated"] == 999
    assert document["fragment"] == {}


def test_a_reward_model_takes_a_number_or_a_preference_set():
    curve = str(DATA / "reward_model" / "sizes")
    value = agreement_from_files([ANNOTATORS]).estimate("agreement").value
    outputs = [
        CliRunner()
        .invoke(app, ["calibrate", "reward-model", curve, "--agreement", given, "-f", "json"])
        .stdout
        for given in (repr(value), str(ANNOTATORS))
    ]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["curve"]["bayes_loss"] == pytest.approx(
        2 * math.log(2) * (1 - value)
    )


def scored(tmp_path, name, margins, names=("score_chosen", "score_rejected"), **extra):
    path = tmp_path / f"{name}.jsonl"
    rows = [
        {"chosen": "a", "rejected": "b", names[0]: 0.3 + margin, names[1]: 0.3, **extra}
        for margin in margins
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_scored_pairs_give_the_loss_at_their_number(tmp_path):
    rng = random.Random(2)
    sizes = (50, 100, 200, 400)
    margins = {n: [rng.gauss(n / 200, 1) for _ in range(n)] for n in sizes}
    files = [scored(tmp_path, n, found) for n, found in margins.items()]
    log = read_losses(files)
    expected = [
        (n, sum(-math.log(1 / (1 + math.exp(-m))) for m in found) / n)
        for n, found in margins.items()
    ]
    assert [labels for labels, _ in log.points] == list(sizes)
    for (_, loss), (_, truth) in zip(log.points, expected, strict=True):
        assert loss == pytest.approx(truth, rel=1e-12)
    assert log.source.rows_read == log.source.rows_used == sum(sizes)


def test_scored_pairs_with_labels_and_other_names(tmp_path):
    path = scored(tmp_path, 1, [0.2, 1.4], names=("chosen_reward", "rejected_reward"), labels=5000)
    log = read_losses([path])
    ((labels, loss),) = log.points
    assert labels == 5000
    assert loss == pytest.approx((math.log1p(math.exp(-0.2)) + math.log1p(math.exp(-1.4))) / 2)


def test_extreme_margins_do_not_overflow(tmp_path):
    ((_, loss),) = read_losses([scored(tmp_path, 2, [-1e4 + 0.1, 1e4])]).points
    assert loss == pytest.approx(5e3, rel=1e-3)


def test_pairs_without_scores_say_what_to_log(tmp_path):
    with pytest.raises(CalibrationError, match="log score_chosen and score_rejected"):
        read_losses([PREFERENCES / "hh-rlhf.jsonl"])
    path = tmp_path / "ratings.jsonl"
    path.write_text(
        '{"chosen": "a", "rejected": "b", "score_chosen": 8.5, "score_rejected": 7.0}\n'
    )
    with pytest.raises(CalibrationError, match="ratings"):
        read_losses([path])


@given(VOTES.filter(lambda pairs: {v for p in pairs for v in p} >= {1, 2}))
def test_helpsteer2_and_label_studio_as_they_are_published(pairs):
    """Label Studio keeps annotations that were cancelled; they are no votes."""
    expected = brute_force(pairs)
    strength = {1: -2, 2: 1, 0: 0}
    rows = [
        {
            "prompt": str(i),
            "all_preferences_unprocessed": [{"strength": strength[v]} for v in votes],
        }
        for i, votes in enumerate(pairs)
    ]
    assert agreement(rows).estimate("agreement").value == pytest.approx(expected)
    words = {1: "Response A", 2: "Response B", 0: "Both bad"}
    tasks = [
        {
            "id": i,
            "annotations": [
                {
                    "completed_by": j,
                    "was_cancelled": cancelled,
                    "result": [{"type": "choices", "value": {"choices": [words[v]]}}],
                }
                for j, (v, cancelled) in enumerate([*((v, False) for v in votes), (1, True)])
            ],
        }
        for i, votes in enumerate(pairs)
    ]
    assert agreement(tasks).estimate("agreement").value == pytest.approx(expected)


def test_json_behind_a_byte_order_mark(tmp_path):
    rows = [{"prompt": str(i), "votes": [1, 2 - i % 2]} for i in range(40)]
    for name, mark in (("plain.json", ""), ("marked.json", "\ufeff")):
        (tmp_path / name).write_text(mark + json.dumps(rows, indent=1))
    found = [agreement_from_files([tmp_path / name]) for name in ("plain.json", "marked.json")]
    assert found[0].estimates == found[1].estimates
    assert found[1].source.rows_read == 40


def test_votes_that_cannot_be_read_and_one_vote_a_pair_in_columns():
    unreadable = agreement([{"id": i, "annotations": [{"vote": "left-ish"}]} for i in range(3)])
    assert "3 rows whose votes cannot be read" in unreadable.estimate("agreement").note
    columns = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
    single = agreement([{"id": i, **columns} for i in range(3)])
    assert "3 pairs with one vote each" in single.estimate("agreement").note


def test_a_folder_of_scored_pairs_is_a_curve(tmp_path):
    for labels, margin in ((100, 0.4), (400, 0.8), (1600, 1.1), (6400, 1.2)):
        rows = [
            {"labels": labels, "score_chosen": margin + i / 7, "score_rejected": i / 7}
            for i in range(20)
        ]
        (tmp_path / f"{labels}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    points = dict(read_losses([tmp_path]).points)
    assert points == pytest.approx(
        {n: math.log1p(math.exp(-m)) for n, m in ((100, 0.4), (400, 0.8), (1600, 1.1), (6400, 1.2))}
    )


def test_a_log_by_steps_asks_for_the_labels_of_a_step(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"current_steps": 10, "eval_loss": 0.6}\n')
    with pytest.raises(CalibrationError, match=r"no field of labels .*; give --labels-per-step"):
        read_losses([tmp_path / "log.jsonl"])
