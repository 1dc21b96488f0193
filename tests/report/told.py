"""Claims of a real run and of a comparison of two models, and what they speak of."""

import json
from pathlib import Path

from emotion_circuits.report.claim_rules import Facts

CLAIMS = json.loads((Path(__file__).parent / "claims.json").read_text(encoding="utf-8"))

ROW = {
    "side": 1, "n_random": 20, "treated": 0.774194, "control": 0.0967742, "wrong_way": 0.0, "beats": 0.677419,
    "beats_low": 0.483871, "beats_high": 0.83871,
}  # fmt: skip
FACTS = Facts(
    model="smollm2-135m",
    single="lda.resid_post.mean",
    layers={"cosine": 22, "trace": 17},
    reading={},
    effects={
        (emotion, metric): {**ROW, "condition": name, "side": -1 if metric == "vader" and emotion != "gratitude" else 1}
        for emotion, name in (
            ("gratitude", "sink 0.08 gratitude L14 α=0.1"),
            ("anger", "sink 0.05 anger L14 α=0"),
            ("apology", "sink 0.05 apology L14 α=0.1"),
        )
        for metric in ("share", "probability", "vader", "words")
    }
    | {
        (arm, emotion, metric): {
            **ROW,
            "condition": f"{emotion} {arm}",
            "side": -1 if metric == "vader" and emotion != "gratitude" else 1,
        }
        for arm in ("mapped", "own")
        for emotion in ("gratitude", "anger", "apology")
        for metric in ("share", "probability", "vader")
    },
    circuit={"size": 60, "total": 300, "samples": 10, "heads": 10, "exact": False},
    alignment={"layer_a": 24, "layer_b": 16, "method": "ridge", "auroc_own": 0.737},
)
