"""The training loop is real: training set -> model -> served predictions -> late labels -> another model.

Four months of flights are scored as they leave, by the model that was trained on the first three. The monitor's figures for
the weeks after them (AUC, printed; log-loss, precision, recall, coverage) are recomputed here from the archived predictions and
the arrivals; margins and scores of 10,000 predictions are those of XGBoost itself, to the bit; and their features are those that
Forebay recomputes point in time from the archive. Then a second model is trained from a training set over the archive, put in
shadow, and scores the next day.
"""

import json
import math
import subprocess
import sys
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from conftest import FLIGHTS, ROOT, copy_definitions, wait_for
from model import MODEL, assert_outputs
from tables import delta, delta_rows, event_counts, instant

TRAINED_UNTIL, UNTIL, NEXT_DAY = "2013-04-01", "2013-05-01", "2013-05-02"
PREDICTIONS = "predictions_late_arrival"
LATE_AFTER_MINUTES = 15
# Event seconds in a second: the pace of the demo.
SPEED = 175_200


def replay(forebay, kafka, sql, since, until):
    forebay("replay", FLIGHTS, "--sql", sql, "--bootstrap", kafka, "--from", since, "--until", until, "--speed", SPEED)


@pytest.fixture(scope="module")
def scored(module_servers, forebay, kafka, tmp_path_factory):
    """A server that has scored four months of departures and seen their arrivals."""
    sql = copy_definitions(tmp_path_factory.mktemp("loop") / "sql")
    server = module_servers(kafka, sql, env={"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "2000"}).start()
    replay(forebay, kafka, sql, "2013-01-01", UNTIL)
    expected = event_counts(until=UNTIL)
    server.wait_read({**expected, PREDICTIONS: expected["departures"]})
    server.client.action("verify", {"service": "delay_features", "sample": 1, "predictions": True})
    wait_for(lambda: delta_rows(server.data_dir, PREDICTIONS) >= expected["departures"], "predictions in the archive")
    return server


@pytest.fixture(scope="module")
def predictions(scored):
    return delta(scored.data_dir, PREDICTIONS)


def labelled(server, predictions):
    """Event time, score, label (1, 0, or nan where there is none) and its delay of each prediction."""
    arrivals = delta(server.data_dir, "arrivals", ["flight_id", "arr_time", "arr_delay"])
    joined = predictions.select(["flight_id", "event_time", "score"]).join(arrivals, "flight_id", join_type="left outer")
    late = pc.cast(pc.greater(joined["arr_delay"], LATE_AFTER_MINUTES), pa.float64()).fill_null(math.nan)
    times = [pc.cast(joined[name], pa.int64()).fill_null(-1).to_numpy() for name in ("event_time", "arr_time")]
    # A label counts within a day of its prediction (WITHIN INTERVAL '1' DAY).
    in_time = (times[1] >= 0) & (times[1] - times[0] <= 86_400_000_000)
    return times[0], joined["score"].to_numpy(), np.where(in_time, late.to_numpy(), math.nan)


def area_under_curve(label, score):
    """Mann-Whitney, ties counted half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positive = int(label.sum())
    return float((rank[label].sum() - positive * (positive + 1) / 2) / (positive * (len(label) - positive)))


def test_every_departure_was_scored_once(scored, predictions):
    departures = delta(scored.data_dir, "departures", ["flight_id"])
    assert predictions.num_rows == departures.num_rows
    assert pc.count_distinct(predictions["prediction_id"]).as_py() == predictions.num_rows
    assert set(predictions["flight_id"].to_pylist()) == set(departures["flight_id"].to_pylist())
    assert pc.all(pc.equal(predictions["as_of"], predictions["event_time"])).as_py()


def test_the_monitor_says_what_the_archive_says(scored, predictions):
    (monitor,) = scored.client.status()["monitors"]
    (series,) = monitor["series"]
    times, scores, labels = labelled(scored, predictions)
    windows = [w for w in series["windows"] if w["state"] == "closed"]
    assert sum(w["start_us"] >= instant(TRAINED_UNTIL) for w in windows) >= 3
    print("\nweek of      scored      AUC  log-loss  precision  recall")
    for window in windows:
        within = (times >= window["start_us"]) & (times < window["end_us"])
        known = within & ~np.isnan(labels)
        label, score = labels[known] == 1.0, scores[known]
        quality = window["quality"]
        assert window["rows"] == within.sum()
        assert quality["auc"] == pytest.approx(area_under_curve(label, score), abs=1e-4)
        likelihood = np.where(label, score, 1.0 - score)
        assert quality["log_loss"] == pytest.approx(float(-np.log(likelihood).mean()), rel=1e-9)
        assert quality["precision"] == pytest.approx(label[score >= 0.5].mean(), rel=1e-12)
        assert quality["recall"] == pytest.approx((score[label] >= 0.5).mean(), rel=1e-12)
        assert quality["coverage"] == pytest.approx(known.sum() / within.sum(), rel=1e-12)
        week = np.datetime64(window["start_us"], "us").astype("datetime64[D]")
        print(f"{week}  {window['rows']:7}  {quality['auc']:.4f}    {quality['log_loss']:.4f}     {quality['precision']:.4f}  "
              f"{quality['recall']:.4f}{'' if window['start_us'] >= instant(TRAINED_UNTIL) else '   (trained on)'}")


def test_the_model_is_as_good_in_service_as_in_training(scored, predictions):
    """On the month after training: what it was judged at from a training set, and what came of it."""
    judged = tomllib.loads((MODEL / "manifest.toml").read_text())["training"]["auc"]["2013-04"]
    times, scores, labels = labelled(scored, predictions)
    later = (times >= instant(TRAINED_UNTIL)) & ~np.isnan(labels)
    served = area_under_curve(labels[later] == 1.0, scores[later])
    print(f"\nAUC of April: {judged:.4f} from the training set, {served:.4f} as served")
    assert served == pytest.approx(judged, abs=0.005)
    assert served > 0.8


def test_outputs_are_those_of_xgboost_to_the_bit(predictions):
    assert_outputs(predictions.slice(predictions.num_rows - 10_000))


def test_ten_thousand_scored_departures_verify(scored, forebay):
    answer = scored.client.action("verify", {"service": "delay_features", "sample": 10_000, "predictions": True})
    report = answer["report"]
    print(f"\n{report['equal']} scored departures equal to the bit; {report['late']} would differ with what came since")
    assert answer["clean"] and report["equal"] == report["rows"] == 10_000, (report, answer["differences"])
    done = forebay("verify", "delay_features", "--predictions", "--sample", "500", "--flight-addr", scored.flight)
    assert "500 equal to the bit, 0 different" in done.stdout


def test_a_second_model_is_trained_from_the_archive_and_scores_in_shadow(scored, forebay, kafka, tmp_path):
    from make_spine import make_spine

    spine = make_spine(delta(scored.data_dir, "departures"), delta(scored.data_dir, "arrivals"))
    pq.write_table(spine, tmp_path / "spine.parquet")
    forebay("training-set", "delay_features", "--spine", tmp_path / "spine.parquet", "--out", tmp_path / "q1.parquet",
            "--data-dir", scored.data_dir)
    manifest = json.loads((tmp_path / "q1.parquet.manifest.json").read_text())
    assert manifest["rows"] == spine.num_rows
    model = tmp_path / "late_arrival" / "2"
    trained = subprocess.run(
        [sys.executable, ROOT / "scripts/train/train_late_arrival.py", "--training-set", tmp_path / "q1.parquet", "--out", model,
         "--trees", "20", "--train-until", TRAINED_UNTIL], capture_output=True, text=True, timeout=300)
    assert trained.returncode == 0, trained.stderr
    print("\n" + trained.stdout)

    file = scored.sql / "04_models.sql"
    text = file.read_text().replace("CREATE DEPLOYMENT", f"CREATE MODEL late_arrival VERSION 2 FROM '{model}' "
                                    "FEATURES delay_features;\n\nCREATE DEPLOYMENT")
    file.write_text(text.replace("ROUTE VERSION 1 WEIGHT 100", "ROUTE VERSION 1 WEIGHT 100, SHADOW VERSION 2"))
    planned = forebay("plan", scored.sql, "--flight-addr", scored.flight).stdout
    assert "1 created, 1 replaced, 0 dropped" in planned, planned
    forebay("apply", scored.sql, "--flight-addr", scored.flight)

    day = event_counts(UNTIL, NEXT_DAY)["departures"]
    replay(forebay, kafka, scored.sql, UNTIL, NEXT_DAY)
    shadow = f"{PREDICTIONS}_shadow"
    scored.wait_read({shadow: day})
    scored.client.action("verify", {"service": "delay_features", "sample": 1, "predictions": True})
    wait_for(lambda: delta_rows(scored.data_dir, shadow) >= day, "shadow predictions in the archive")
    rows = delta(scored.data_dir, shadow)
    assert rows.num_rows == day
    assert set(rows["model_version"].to_pylist()) == {2} and set(rows["role"].to_pylist()) == {"shadow"}
    live = delta(scored.data_dir, PREDICTIONS)
    assert live.num_rows == event_counts(until=NEXT_DAY)["departures"]
    assert set(live["model_version"].to_pylist()) == {1}
