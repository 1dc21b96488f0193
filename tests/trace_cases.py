"""What traces are tried on: a planted model's sentences with their capture, random directions, a few prompts."""

import torch

from emotion_circuits.activations import capture
from emotion_circuits.directions import DirectionSet, fit_directions
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.prompts import Prompt

SPLITS = {"train": 24, "validation": 24, "test": 24}


def planted_sentences(found):
    """Every group is one sentence with a word of each emotion, and a neutral one, in the same place."""
    spec, rows = found.spec, []
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    for i, (split, pair) in enumerate(zip(splits, found.pairs, strict=False)):
        (start, end), word = pair.spans[0], pair.text[slice(*pair.spans[0])].removeprefix(f"{pair.label}_")
        for label in (*spec.values, spec.reference):
            text = f"{pair.text[:start]}{label}_{word}{pair.text[end:]}"
            spans = () if label == spec.reference else ((start, start + len(label) + 1 + len(word)),)
            rows.append(
                Prompt(id=f"{i}-{label}", text=text, label=label, group=str(i), split=split, language="en", set="planted",
                       spans=spans)
            )  # fmt: skip
    return rows


def traced(folder, *, seed, circuit=True, architecture="llama", difficulty=0.5):
    """A planted model with everything :func:`calibrate_trace` asks for, directions at the layer that carries the emotion."""
    spec = PlantedSpec(
        seed=seed, architecture=architecture, circuit=circuit, difficulty=difficulty, n_pairs=sum(SPLITS.values())
    )
    found = plant(spec)
    rows = planted_sentences(found)
    store = capture(found.model, rows, folder, kinds=("resid_post",), pooling="last")
    directions = fit_directions(store, labels=spec.values, reference=spec.reference)
    sentences = {split: [p for p in rows if p.split == split] for split in ("validation", "test")}
    return found, store, sentences, directions


def random_directions(model, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = model.n_layers
    return DirectionSet(
        extractor="mean_difference", kind="resid_post", pooling="last", labels=("gratitude", "anger"),
        layers=tuple(range(n)), vectors=torch.randn(2, n, model.d_model, generator=g),
        thresholds=torch.zeros(2, n, dtype=torch.float64), norms=torch.full((n,), 2.0, dtype=torch.float64),
    )  # fmt: skip


def prompts():
    rows = []
    for i in range(4):
        for label, text, spans in (("gratitude", f"I thank you {i}", ((2, 7),)), ("neutral", f"I saw {i} cars", ())):
            rows.append(
                Prompt(id=f"{i}{label}", text=text, label=label, group=str(i), split="test", language="en", set="core",
                       spans=spans)
            )  # fmt: skip
    return rows
