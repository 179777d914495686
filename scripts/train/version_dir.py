"""Writes a model version directory: model.json, golden.arrow and manifest.toml, as `crates/infer/src/model` reads them.

The golden rows hold features with the margins, scores and leaf numbers that XGBoost itself computes, so that a server
can prove on its own machine that it scores as the library does. Given the same booster and rows, the bytes written are
the same. Nothing here trains.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import xgboost as xgb

SQL_TYPES = {
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
}


def sql_type(arrow_type):
    """The SQL name of a feature's type; text may come dictionary-encoded, or as a large or view string."""
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type):
        arrow_type = pa.string()
    if arrow_type not in SQL_TYPES:
        raise SystemExit(f"type {arrow_type} is no feature type; use {', '.join(SQL_TYPES.values())}")
    return SQL_TYPES[arrow_type]


def feature(name, dtype, missing="nan", categories=None):
    """One [[features]] entry; `missing` is "nan", "refuse" or a sentinel number."""
    return {"name": name, "dtype": dtype, "missing": missing, "categories": categories or []}


def encode(table, features):
    """The f32 matrix that the engine makes of `table`: NULL and NaN as the feature says, text as its category's index."""
    matrix = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for index, spec in enumerate(features):
        column = table.column(spec["name"]).combine_chunks()
        missing = np.float32("nan") if isinstance(spec["missing"], str) else np.float32(spec["missing"])
        if spec["dtype"] == "VARCHAR":
            codes = {category: code for code, category in enumerate(spec["categories"])}
            values = np.array([codes.get(text, np.nan) for text in column.to_pylist()], dtype=np.float32)
        else:
            zero = pa.scalar(False) if spec["dtype"] == "BOOLEAN" else pa.scalar(0, type=column.type)
            with np.errstate(over="ignore"):  # beyond f32's range is infinity, here and there
                values = column.fill_null(zero).to_numpy(zero_copy_only=False).astype(np.float32)
            values = np.where(column.is_null().to_numpy(zero_copy_only=False), np.float32("nan"), values)
        matrix[:, index] = np.where(np.isnan(values), missing, values)
    return matrix


def feature_types(features, categorical=()):
    """XGBoost's types: `c` for text and for the features named in `categorical`, else `q`."""
    return ["c" if f["categories"] or f["name"] in categorical else "q" for f in features]


def predict(booster, matrix, types, iterations):
    """Margins, scores and leaf numbers as `Booster.predict` gives them. A DMatrix refuses rows with an infinity; those
    come from the in-place predictor, whose other rows must then agree, and have no leaf numbers."""
    names = booster.feature_names
    finite = ~np.isinf(matrix).any(axis=1)
    data = xgb.DMatrix(matrix[finite], missing=np.nan, feature_names=names, feature_types=types, nthread=1)
    outputs = []
    for kind in ("margin", "value"):
        values = booster.predict(data, output_margin=kind == "margin", iteration_range=iterations)
        values = values.astype(np.float32).reshape(-1)
        if not finite.all():
            in_place = booster.inplace_predict(
                matrix, predict_type=kind, iteration_range=iterations, missing=np.nan, validate_features=False
            )
            in_place = in_place.astype(np.float32).reshape(-1)
            if not np.array_equal(in_place[finite].view(np.uint32), values.view(np.uint32)):
                raise SystemExit("XGBoost's two predictors disagree: leave out rows with infinities for this booster")
            values = in_place
        outputs.append(values)
    # Leaf numbers are only given from the first tree on.
    trees = booster.predict(data, pred_leaf=True, iteration_range=(0, iterations[1]))
    trees = trees.astype(np.int32).reshape(int(finite.sum()), -1)
    skipped = trees.shape[1] // max(1, iterations[1]) * iterations[0]
    known = iter(trees[:, skipped:].tolist())
    return *outputs, [next(known) if whole else None for whole in finite]


def split_edges(booster, features, limit):
    """(feature index, threshold) of the model's numeric splits, without repeats, spread over the trees."""
    document = json.loads(booster.save_raw("json"))
    gradient = document["learner"]["gradient_booster"]
    model = gradient.get("model") or gradient["gbtree"]["model"]
    edges = {}
    for tree in model["trees"]:
        types = tree["split_type"]
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and types[node] == 0:
                edges[(tree["split_indices"][node], np.float32(tree["split_conditions"][node]))] = None
    edges = [e for e in edges if features[e[0]]["dtype"] == "DOUBLE"]
    step = max(1, len(edges) // max(1, limit))
    return edges[::step][:limit]


def edge_rows(table, edges, features):
    """Copies of the first rows of `table` where one feature stands on a threshold, one f32 step beside it, or at a double
    that only rounding puts on it."""
    columns = {spec["name"]: table.column(spec["name"]).to_pylist() for spec in features}
    rows = {name: [] for name in columns}
    for place, (index, threshold) in enumerate(edges):
        below = np.nextafter(threshold, np.float32("-inf"))
        above = np.nextafter(threshold, np.float32("inf"))
        halfway = (float(threshold) + float(below)) / 2
        beside = np.nextafter(halfway, float(threshold)), np.nextafter(halfway, float(below))
        for value in (threshold, below, above, *beside):
            for name, values in columns.items():
                rows[name].append(float(value) if name == features[index]["name"] else values[place % len(values)])
    schema = pa.schema([table.schema.field(spec["name"]) for spec in features])
    return pa.table(rows, schema=schema)


def write_golden(path, table, margin, score, leaves, features):
    """The Arrow file of golden rows: the features as the service types them, then what the library computed."""
    columns = [table.column(spec["name"]).combine_chunks() for spec in features]
    names = [spec["name"] for spec in features] + ["__margin", "__score", "__leaf"]
    columns += [
        pa.array(margin, pa.float32()),
        pa.array(score, pa.float32()),
        pa.array(leaves, pa.list_(pa.field("item", pa.int32()))),
    ]
    with pa.OSFile(str(path), "wb") as sink:
        batch = pa.record_batch(columns, names=names)
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)


def quote(text):
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False)


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quote(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return quote(str(value))


def manifest_text(model, version, objective, iterations, files, service, features, training):
    lines = [
        "# A version of a model. Immutable: what changes gets a new version. Written by scripts/train.",
        "format = 1",
        f"model = {quote(model)}",
        f"version = {version}",
        'kind = "xgboost"',
        f"objective = {quote(objective)}",
        f"library = {quote('xgboost ' + xgb.__version__)}",
        f"iterations = [{iterations[0]}, {iterations[1]}]",
        'precision = "fp32"',
        'model_file = "model.json"',
        'golden_file = "golden.arrow"',
        "",
        "[files]",
        *(f"{quote(name)} = {quote(digest)}" for name, digest in sorted(files.items())),
        "",
        "[service]",
        *(f"{key} = {toml_value(value)}" for key, value in service.items()),
    ]
    for spec in features:
        missing = spec["missing"] if isinstance(spec["missing"], str) else {"sentinel": float(spec["missing"])}
        lines += ["", "[[features]]", f"name = {quote(spec['name'])}", f"dtype = {quote(spec['dtype'])}"]
        lines.append(f"missing = {toml_value(missing)}")
        if spec["categories"]:
            lines.append(f"categories = {toml_value(spec['categories'])}")
    for name in ("margin", "score"):
        lines += ["", "[[outputs]]", f"name = {quote(name)}", 'dtype = "FP32"', 'class = "exact"']
    if training:
        lines += ["", "[training]", *(f"{key} = {toml_value(value)}" for key, value in training.items())]
    return "\n".join(lines) + "\n"


def write_version(directory, model, version, booster, table, features, service, *, iterations=None, categorical=(),
                  training=None, edges=24):
    """Write `directory` for `booster`, with the rows of `table` (and rows at `edges` of its thresholds) as golden rows."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    iterations = iterations or (0, booster.num_boosted_rounds())
    types = feature_types(features, categorical)
    golden = edge_rows(table, split_edges(booster, features, edges), features)
    wanted = pa.schema([table.schema.field(spec["name"]) for spec in features])
    table = pa.concat_tables([table.select(wanted.names), golden.cast(wanted)])
    margin, score, leaves = predict(booster, encode(table, features), types, iterations)
    (directory / "model.json").write_bytes(bytes(booster.save_raw("json")))
    write_golden(directory / "golden.arrow", table, margin, score, leaves, features)
    files = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in ("model.json", "golden.arrow")}
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    text = manifest_text(model, version, objective, iterations, files, service, features, training)
    (directory / "manifest.toml").write_text(text, encoding="utf-8")
    return table.num_rows
