"""The model of the flights as XGBoost itself computes it: the oracle of every prediction. It reads the version directory, never
a line of Forebay's scorer.
"""

import tomllib

import numpy as np
import pyarrow as pa
import xgboost as xgb

from conftest import ROOT
from version_dir import encode, feature_types

MODEL = ROOT / "models" / "late_arrival" / "1"


def float_bits(values):
    return np.asarray(values, dtype=np.float32).view(np.uint32)


def assert_outputs(predictions, version=MODEL):
    """Margin and score of each archived prediction are, to the bit, the library's for the features that its record holds."""
    manifest = tomllib.loads((version / "manifest.toml").read_text())
    features = [{"missing": "nan", "categories": [], **f} for f in manifest["features"]]
    served = pa.Table.from_struct_array(predictions["features"].combine_chunks())
    booster = xgb.Booster(model_file=version / "model.json")
    matrix = xgb.DMatrix(encode(served, features), missing=np.nan, feature_names=booster.feature_names,
                         feature_types=feature_types(features), nthread=1)
    for name in ("margin", "score"):
        expected = booster.predict(matrix, output_margin=name == "margin", iteration_range=manifest["iterations"])
        archived = predictions[name].to_numpy()
        assert np.array_equal(archived.astype(np.float32).astype(np.float64), archived), f"{name} is an f32"
        wrong = np.flatnonzero(float_bits(expected) != float_bits(archived))
        assert wrong.size == 0, (f"{wrong.size} of {archived.size} {name}s differ: {archived[wrong[:5]]}, XGBoost says "
                                 f"{expected[wrong[:5]]}; {predictions['prediction_id'].take(wrong[:5]).to_pylist()}")
