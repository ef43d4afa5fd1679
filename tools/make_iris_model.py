"""Makes the iris model that `kaname init` copies into a new project: a scaler and an SVC with probabilities.

Run `python tools/make_iris_model.py` after changing it, and commit the two files that it writes. Needs the extra
`sklearn`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

STARTER = Path(__file__).parent.parent / "src" / "kaname" / "cli" / "starter"


def main() -> None:
    """Train, convert and write."""
    data = load_iris()
    names = data.target_names[data.target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)).fit(data.data, names)
        converted = convert_sklearn(
            model,
            name="iris",
            initial_types=[("input", FloatTensorType([None, 4]))],
            options={id(model): {"zipmap": False}},
        )
    STARTER.mkdir(parents=True, exist_ok=True)
    raw = converted.SerializeToString()
    (STARTER / "iris.onnx").write_bytes(raw)
    rows = data.data[[0, 50, 100]].tolist()
    sample = {"instances": [{"input": row} for row in rows]}
    (STARTER / "iris-sample.json").write_text(json.dumps(sample) + "\n")
    share = float(np.mean(model.predict(data.data) == names))
    sys.stdout.write(f"{STARTER / 'iris.onnx'}: {len(raw):,} bytes, {share:.1%} of the training rows right\n")


if __name__ == "__main__":
    main()
