"""Makes the committed test models under tests/golden/infer: small models of every kind that the engine serves, each a
version directory whose golden rows XGBoost computed, and samples of glibc's expf and logf.

Run it with the versions of requirements.txt: `python scripts/train/make_golden.py`. The files are committed; they change
only when a case is added or the library is upgraded.
"""

import ctypes
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import xgboost as xgb

import version_dir as vd

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "infer"
ROWS = 260
SERVICE = {"name": "golden_features", "version": 1, "fingerprint": "f1a9"}
FEATURES = [vd.feature(name, "DOUBLE") for name in ("a", "b", "c")] + [
    vd.feature("count", "BIGINT"),
    vd.feature("small", "INTEGER"),
    vd.feature("flag", "BOOLEAN"),
]


def numeric_table(seed, rows=ROWS, strange=True):
    """Rows of every numeric type with NULLs and, if `strange`, with NaN, infinities, signed zeros and tiny numbers."""
    random = np.random.default_rng(seed)
    doubles = random.normal(size=(rows, 3))
    if strange:
        odd = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-40, 1e300, -1e300, 3.4028235677973366e38]
        doubles[: len(odd), 0] = odd
        doubles[len(odd) : 2 * len(odd), 1] = odd
    null = lambda share: random.random(rows) < share
    columns = {name: pa.array(doubles[:, i], pa.float64(), mask=null(0.1)) for i, name in enumerate("abc")}
    columns["count"] = pa.array(random.integers(-5, 40, rows) + (1 << 53) * (random.random(rows) < 0.02), pa.int64(), mask=null(0.1))
    columns["small"] = pa.array(random.integers(0, 9, rows), pa.int32(), mask=null(0.1))
    columns["flag"] = pa.array(random.random(rows) < 0.5, pa.bool_(), mask=null(0.1))
    return pa.table(columns)


def labels(table, seed, kind):
    random = np.random.default_rng(seed + 1)
    matrix = np.nan_to_num(vd.encode(table, FEATURES[:3]))
    raw = matrix[:, 0] - 0.7 * matrix[:, 1] * matrix[:, 2] + 0.3 * random.normal(size=len(matrix))
    if kind == "binary":
        return (raw > 0).astype(np.float32)
    if kind == "positive":
        return np.exp(0.5 * raw).astype(np.float32)
    if kind == "counts":
        return random.poisson(np.exp(0.4 * raw)).astype(np.float32)
    return raw.astype(np.float32)


def train(table, features, label, rounds, categorical=(), **parameters):
    settings = dict(tree_method="hist", nthread=1, seed=7, max_depth=4, eta=0.3) | parameters
    data = xgb.DMatrix(
        vd.encode(table, features),
        label=label,
        missing=np.nan,
        feature_names=[f["name"] for f in features],
        feature_types=vd.feature_types(features, categorical),
        nthread=1,
    )
    if str(settings["objective"]).startswith("rank:"):
        data.set_group([len(label) // 20] * 20)
    return xgb.train(settings, data, rounds)


def numeric_cases():
    """name -> (kind of label, rounds, parameters, iteration range)."""
    cases = {
        "logistic": ("binary", 8, dict(objective="binary:logistic"), None),
        "logistic_based": ("binary", 3, dict(objective="binary:logistic", base_score=0.3), None),
        "logitraw": ("binary", 3, dict(objective="binary:logitraw"), None),
        "hinge": ("binary", 3, dict(objective="binary:hinge"), None),
        "reg_logistic": ("binary", 3, dict(objective="reg:logistic"), None),
        "squarederror": ("real", 8, dict(objective="reg:squarederror"), None),
        "squaredlogerror": ("positive", 3, dict(objective="reg:squaredlogerror"), None),
        "absoluteerror": ("real", 3, dict(objective="reg:absoluteerror"), None),
        "pseudohubererror": ("real", 3, dict(objective="reg:pseudohubererror"), None),
        "gamma": ("positive", 3, dict(objective="reg:gamma"), None),
        "tweedie": ("positive", 3, dict(objective="reg:tweedie"), None),
        "poisson": ("counts", 3, dict(objective="count:poisson"), None),
        "pairwise": ("binary", 3, dict(objective="rank:pairwise"), None),
        "ndcg": ("binary", 3, dict(objective="rank:ndcg"), None),
        "map": ("binary", 3, dict(objective="rank:map"), None),
        "dart": ("binary", 10, dict(objective="binary:logistic", booster="dart", rate_drop=0.5), None),
        "forest": ("real", 2, dict(objective="reg:squarederror", num_parallel_tree=5, subsample=0.6), None),
        "one_leaf": ("binary", 3, dict(objective="binary:logistic", gamma=1e9), None),
        "range": ("binary", 9, dict(objective="binary:logistic"), (2, 7)),
        "steep": ("binary", 4, dict(objective="binary:logistic", eta=60.0, reg_lambda=0.0, max_delta_step=0), None),
    }
    for seed, (name, case) in enumerate(cases.items()):
        yield seed, name, *case


def make_numeric():
    for seed, name, kind, rounds, parameters, iterations in numeric_cases():
        training = numeric_table(100 + seed, rows=600, strange=False)
        booster = train(training, FEATURES, labels(training, seed, kind), rounds, **parameters)
        table = numeric_table(seed)
        if parameters.get("booster") == "dart":
            # XGBoost's in-place predictor rounds dart's sums differently, so rows with infinities have no reference.
            table = table.filter(pa.array(~np.isinf(vd.encode(table, FEATURES)).any(axis=1)))
        write(name, booster, table, FEATURES, iterations=iterations)


def make_categorical():
    """Text categories, integer codes, one-hot and partition splits; unknown and out-of-range categories at scoring."""
    carriers = [f"C{i:02d}" for i in range(40)]
    features = [
        vd.feature("carrier", "VARCHAR", categories=carriers),
        vd.feature("zone", "DOUBLE"),
        vd.feature("a", "DOUBLE", missing=-1.0),
    ]

    def table(seed, rows, strange):
        random = np.random.default_rng(seed)
        names = [carriers[i] for i in random.integers(0, len(carriers), rows)]
        zone = random.integers(0, 6, rows).astype(float)
        a = random.normal(size=rows)
        if strange:
            names[:6] = ["nobody", None, "", "C39", "C00", "c00"]
            zone[6:14] = [2.7, -1.0, -0.5, 6.0, 1e9, 16777216.0, np.nan, np.inf]
        mask = random.random(rows) < 0.1
        return pa.table({
            "carrier": pa.array([None if m else n for n, m in zip(names, mask)], pa.string()),
            "zone": pa.array(zone, pa.float64(), mask=np.roll(mask, 3)),
            "a": pa.array(a, pa.float64(), mask=np.roll(mask, 5)),
        })

    for name, one_hot in (("categorical", 1), ("categorical_one_hot", 100)):
        training = table(50, 900, False)
        matrix = np.nan_to_num(vd.encode(training, features))
        label = ((matrix[:, 0] * 7 % 11 + matrix[:, 1] + matrix[:, 2]) > 7).astype(np.float32)
        settings = dict(objective="binary:logistic", max_cat_to_onehot=one_hot, max_depth=5)
        booster = train(training, features, label, 6, categorical=("zone",), **settings)
        write(name, booster, table(51, 240, True), features, categorical=("zone",))


def make_deep():
    """A chain of 60 splits, written by hand and scored by the library: no trainer makes one."""
    depth = 60
    training = numeric_table(300, rows=600, strange=False)
    booster = train(training, FEATURES, labels(training, 3, "real"), 2, objective="reg:squarederror")
    document = json.loads(booster.save_raw("json"))
    tree = document["learner"]["gradient_booster"]["model"]["trees"][1]
    count = 2 * depth + 1
    left, right, parents = [-1] * count, [-1] * count, [2147483647] * count
    node = 0
    for level in range(depth):
        # The chain goes on to the right on even levels, to the left on odd ones. XGBoost itself relies on
        # right == left + 1.
        left[node], right[node] = 2 * level + 1, 2 * level + 2
        parents[left[node]] = parents[right[node]] = node
        node = right[node] if level % 2 == 0 else left[node]
    conditions = np.linspace(-1.5, 1.5, count).astype(np.float32)
    tree.update(
        left_children=left, right_children=right, parents=parents,
        split_indices=[level % 3 for level in range(count)],
        split_conditions=[float(c) for c in conditions],
        default_left=[level % 2 for level in range(count)],
        split_type=[0] * count, base_weights=[0.0] * count, loss_changes=[0.0] * count, sum_hessian=[1.0] * count,
    )
    tree["tree_param"]["num_nodes"] = str(count)
    deep = xgb.Booster({"nthread": 1})
    deep.load_model(bytearray(json.dumps(document).encode()))
    write("deep", deep, numeric_table(301), FEATURES)


def make_empty():
    """No trees at all: the margin is the base."""
    training = numeric_table(310, rows=100, strange=False)
    booster = train(training, FEATURES, labels(training, 4, "binary"), 0, objective="binary:logistic", base_score=0.2)
    write("empty", booster, numeric_table(311, rows=260), FEATURES)


def make_math():
    """Triples (x, expf(x), logf(x)) of glibc, little-endian f32."""
    libm = ctypes.CDLL("libm.so.6")
    for function in (libm.expf, libm.logf):
        function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    random = np.random.default_rng(9)
    values = np.concatenate([
        random.normal(scale=20, size=1500).astype(np.float32),
        random.integers(0, 1 << 32, 1500, dtype=np.uint64).astype(np.uint32).view(np.float32),
        np.array([0.0, -0.0, 1.0, np.inf, -np.inf, 1e-45, 88.72283, 88.72284, -103.97208, -103.97209, -87.5, -200.0], np.float32),
        (1 / random.uniform(1e-6, 1, 1000) - 1).astype(np.float32),
    ])
    values = values[~np.isnan(values)]
    triples = [(float(x), libm.expf(float(x)), libm.logf(float(x))) for x in values]
    (ROOT / "libm_f32.bin").write_bytes(b"".join(struct.pack("<3f", *t) for t in triples))


def write(name, booster, table, features, **options):
    rows = vd.write_version(ROOT / name / "1", name, 1, booster, table, features, SERVICE, edges=10, **options)
    print(f"{name}: {rows} golden rows")


if __name__ == "__main__":
    ROOT.mkdir(parents=True, exist_ok=True)
    make_numeric()
    make_categorical()
    make_deep()
    make_empty()
    make_math()
