"""Train a support vector machine and a random forest on iris: `python train.py`.

Writes `out/svc.joblib`, `out/forest.joblib` and `out/sample.json`, a request that both answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

OUT = Path(__file__).resolve().parent / "out"
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main() -> None:
    iris = load_iris()
    rows, species = pd.DataFrame(iris.data, columns=FEATURES), iris.target_names[iris.target]
    rows, held_out, species, answers = train_test_split(rows, species, test_size=0.2, random_state=7, stratify=species)
    models = {
        "svc": make_pipeline(StandardScaler(), SVC(random_state=7)),
        "forest": RandomForestClassifier(n_estimators=100, random_state=7),
    }
    OUT.mkdir(exist_ok=True)
    for name, model in models.items():
        model.fit(rows, species)
        joblib.dump(model, OUT / f"{name}.joblib")
        print(f"{name}: {model.score(held_out, answers):.1%} of {len(held_out)} held-out flowers right")
    sample = {"features": held_out.iloc[0].to_dict()}
    (OUT / "sample.json").write_text(json.dumps(sample, indent=2) + "\n")


if __name__ == "__main__":
    main()
