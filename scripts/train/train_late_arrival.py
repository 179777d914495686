"""Trains the model of the flights demo, "will this departure arrive more than 15 minutes late?", from a training set that
`forebay training-set delay_features` made, and writes the model version directory that `CREATE MODEL` names.

    python scripts/train/train_late_arrival.py --training-set train.parquet --out models/late_arrival/1

Trained on rows before --train-until (January to March 2013), judged on the months after it. The result is deterministic:
one thread, a fixed seed, so the same training set and versions give the same bytes.

Which columns are features, and of which service, is read from the file's schema metadata (`forebay.features`, a JSON list
of names; `forebay.service`, `forebay.version`, `forebay.fingerprint`) or from the training set's manifest beside it
(`FILE.manifest.json`); --features and --spine say it by hand.
"""

import argparse
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xgboost as xgb

import version_dir as vd

GOLDEN_ROWS = 320
GOLDEN_EDGES = 40
PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.06,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "reg_lambda": 2.0,
    "nthread": 1,
    "seed": 2013,
}


def metadata_of(path, table):
    """(feature names or None, service) as the file or the manifest beside it says."""
    schema = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items() if k.startswith(b"forebay.")}
    beside = Path(f"{path}.manifest.json")
    manifest = json.loads(beside.read_text()) if beside.exists() else {}
    names = schema.get("forebay.features")
    service = {
        "name": schema.get("forebay.service") or manifest.get("service"),
        "version": int(schema.get("forebay.version") or manifest.get("service_version") or 0),
        "fingerprint": schema.get("forebay.fingerprint") or manifest.get("fingerprint") or "",
    }
    return json.loads(names) if names else None, service


def choose_features(options, table):
    """Feature entries and the service; exits with the remedy when it cannot be known."""
    names, service = metadata_of(options.training_set, table)
    if options.features:
        names = options.features.split(",")
    elif names is None and options.spine:
        spine = set(pq.read_schema(options.spine).names)
        names = [name for name in table.column_names if name not in spine]
    if not names:
        raise SystemExit(f"{options.training_set} does not say which columns are features: give --features or --spine")
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise SystemExit(f"{options.training_set} has no column {', '.join(missing)}")
    service["name"] = options.service or service["name"]
    if not service["name"]:
        raise SystemExit("the feature service is unknown: give --service")
    features = []
    for name in names:
        dtype = vd.sql_type(table.schema.field(name).type)
        categories = []
        if dtype == "VARCHAR":
            categories = sorted(v for v in pc.unique(table.column(name)).to_pylist() if v is not None)
        features.append(vd.feature(name, dtype, categories=categories))
    return features, service


def plain(table, features):
    """The feature columns with the types that golden files have: text as plain strings."""
    fields = []
    for spec in features:
        arrow = next(t for t, name in vd.SQL_TYPES.items() if name == spec["dtype"])
        fields.append(pa.field(spec["name"], arrow))
    return table.select([f.name for f in fields]).cast(pa.schema(fields))


def auc(label, score):
    """Area under the ROC curve, ties counted half (Mann-Whitney)."""
    positive = int(label.sum())
    negative = len(label) - positive
    if positive == 0 or negative == 0:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[label].sum() - positive * (positive + 1) / 2) / (positive * negative))


def judge(booster, matrix, types, label, time, train_until):
    """AUC on the rows of the training months and on each later month."""
    data = xgb.DMatrix(matrix, missing=np.nan, feature_names=booster.feature_names, feature_types=types, nthread=1)
    score = booster.predict(data)
    month = time.astype("datetime64[M]")
    parts = {"train": time < train_until, "later": time >= train_until}
    parts |= {str(m): (month == m) & parts["later"] for m in np.unique(month[parts["later"]])}
    return {name: round(auc(label[rows], score[rows]), 6) for name, rows in parts.items() if rows.any()}


def golden_table(table, features):
    """Rows spread evenly over the whole set, in its order."""
    step = max(1, table.num_rows // GOLDEN_ROWS)
    rows = table.take(pa.array(range(0, table.num_rows, step), pa.int64())).slice(0, GOLDEN_ROWS)
    return plain(rows, features).combine_chunks()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training-set", required=True, help="Parquet file made by forebay training-set")
    parser.add_argument("--out", default="models/late_arrival/1", help="version directory: .../MODEL/VERSION")
    parser.add_argument("--features", help="feature columns, separated by commas, instead of the file's own list")
    parser.add_argument("--spine", help="the spine that the set was made from: features are the columns it does not have")
    parser.add_argument("--service", help="feature service, when the file does not say")
    parser.add_argument("--label", default="late", help="boolean column; rows where it is NULL are left out")
    parser.add_argument("--time-column", default="event_time")
    parser.add_argument("--train-until", default="2013-04-01", help="train on rows before this date (UTC)")
    parser.add_argument("--trees", type=int, default=160)
    return parser.parse_args()


def main():
    options = parse_options()
    table = pq.read_table(options.training_set)
    features, service = choose_features(options, table)
    labelled = table.filter(pc.is_valid(table.column(options.label)))
    label = labelled.column(options.label).to_numpy(zero_copy_only=False).astype(bool)
    time = labelled.column(options.time_column).cast(pa.timestamp("us", "UTC")).to_numpy().astype("datetime64[us]")
    train_until = np.datetime64(datetime.fromisoformat(options.train_until).replace(tzinfo=None), "us")
    matrix = vd.encode(plain(labelled, features), features)
    types = vd.feature_types(features)
    first = time < train_until
    if not first.any() or first.all():
        raise SystemExit(f"--train-until {options.train_until} leaves no rows on one side")
    names = [f["name"] for f in features]
    data = xgb.DMatrix(matrix[first], label=label[first], missing=np.nan, feature_names=names, feature_types=types, nthread=1)
    booster = xgb.train(PARAMETERS, data, options.trees)
    scores = judge(booster, matrix, types, label, time, train_until)
    directory = Path(options.out)
    training = {
        "training_set": Path(options.training_set).name,
        "training_set_sha256": hashlib.sha256(Path(options.training_set).read_bytes()).hexdigest(),
        "label": options.label,
        "time_column": options.time_column,
        "rows": int(first.sum()),
        "positives": int(label[first].sum()),
        "from": str(time[first].min()),
        "until": str(datetime.fromisoformat(options.train_until).replace(tzinfo=timezone.utc).isoformat()),
        "trees": options.trees,
        "parameters": PARAMETERS,
        "auc": scores,
    }
    rows = vd.write_version(
        directory, directory.parent.name, int(directory.name), booster, golden_table(table, features), features, service,
        training=training, edges=GOLDEN_EDGES,
    )
    size = (directory / "model.json").stat().st_size
    print(f"{directory}: {options.trees} trees over {len(features)} features, {size / 1e6:.2f} MB, {rows} golden rows")
    print(f"trained on {training['rows']} rows; AUC " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
