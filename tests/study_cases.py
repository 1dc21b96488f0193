"""A study small enough to be run many times."""

import json

from emotion_circuits.paths import file_sha256
from emotion_circuits.record.notes import read_note, write_note
from emotion_circuits.study import load_config
from families import tiny_model

SMALL = {
    "prompts": ["core"],
    "capture.kinds": ["resid_post"],
    "capture.poolings": ["last", "emotion", "mean"],
    "directions.extractors": ["mean_difference", "token", "logistic"],
    "directions.reading": ["mean_difference"],
    "trace.groups": 8,
    "trace.null_draws": 4,
    "directions.poolings": ["last", "emotion", "mean"],
    "directions.null_draws": 2,
    "steering.layers": [1],
    "steering.alphas": [0.2],
    "steering.validation_prompts": 8,
    "steering.test_prompts": 8,
    "steering.random_directions": 2,
    "steering.shuffled_directions": 2,
    "steering.compare_prompts": 4,
    "steering.max_new_tokens": 6,
    # A random model has no fluency to lose; the bound is not what is tested here.
    "steering.max_perplexity_ratio": 50.0,
}


def save_tiny(folder):
    model = tiny_model("llama", max_position_embeddings=1024)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def small(folder, **changes):
    return load_config("quick", overrides={"model": str(folder), **SMALL, **changes})


def artefacts(run):
    """Every file a stage is responsible for, by content."""
    found = {}
    for stage in ("capture", "directions", "trace", "steering", "circuits"):
        found |= {f"{stage}/{k}": v for k, v in json.loads((run / stage / "stage.json").read_text())["files"].items()}
    return found


def resummed(folder):
    """Make a station's note fit the files as they are now: another run that happens to hold these."""
    note = read_note(folder)
    write_note(folder, {**note, "files": {name: file_sha256(folder / name) for name in note["files"]}})
