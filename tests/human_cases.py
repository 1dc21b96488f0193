"""A finished run with texts in every arm, written through the folders' own classes, and studies of it."""

from __future__ import annotations

import json

from emotion_circuits.human.records import open_study
from emotion_circuits.paths import file_sha256
from emotion_circuits.record.notes import write_note
from emotion_circuits.record.reading import write_manifest
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.steering import tables
from emotion_circuits.stations.steering.folder import Choice, SteeringFolder
from emotion_circuits.stations.tuning import tables as tuning_tables
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.steering import Condition
from serve_cases import filled
from study_cases import small

VALUES = ("gratitude", "anger")
HOSTILE = "<img src=x onerror=boom()>"


def conditions(values=VALUES):
    return {v: Condition(name=f"{v} L1", emotion=v, layers=(1,), alpha=0.2) for v in values}


def text_rows(openings=12, *, values=VALUES, arms=("none", "emotion", "random", "prompting"), samples=1, null=None):
    """A continuation per arm and opening; what is written says nothing of its arm."""
    chosen = conditions(values)
    how = next(iter(chosen.values())).how
    rows = []
    for o in range(openings):
        for sample in range(samples):
            on = {
                "prompt_id": f"p{o:02d}",
                "group": f"g{o}",
                "split": "test",
                "prompt": f"On day {o} the post came and",
                "sample": sample,
            }
            made = [("none", "none", "")]
            made += [("emotion", chosen[v].name, v) for v in values]
            made += [("random", f"L1 α=0.2 | random {i}", "") for i in range(3) if null is None or o < null]
            made += [("prompting", f"{v} | prompting {s}", v) for v in values for s in ("instruction", "few_shot")]
            for kind, condition, emotion in made:
                if kind not in arms:
                    continue
                n = len(rows)
                steers = kind in ("emotion", "random")
                scores = {f"p_{v}": 0.8 if emotion == v else 0.1 for v in (*values, "neutral")}
                rows.append(
                    {
                        **on, "condition": condition, "kind": kind, "emotion": emotion, "alpha": 0.2 if steers else 0.0,
                        "layers": "1" if steers else "", "how": how if steers else "", "units": "norm", "context": on["prompt"],
                        "text": f" so number {n} & {HOSTILE if n == 0 else 'nobody'} spoke.", "n_tokens": 5, "finished": True,
                        "emotion_label": "neutral", **scores,
                    }
                )  # fmt: skip
    return rows


def written_run(root, rows=None, *, values=VALUES, chosen=None):
    """A finished run of one station."""
    run = root / "run"
    config = small(root / "no-model-needed", emotions=list(values))
    folder = SteeringFolder.of(run)
    folder.path.mkdir(parents=True)
    found = conditions(values) if chosen is None else chosen
    folder.choice.write(
        Choice(objective="most", openings=8, chosen={v: c.to_json() for v, c in found.items()}, none_within_bound=())
    )
    folder.test.write(filled(tables.TEST, text_rows(values=values) if rows is None else rows))
    files = {f.name: file_sha256(f) for f in sorted(folder.path.iterdir())}
    write_note(folder.path, {"status": "complete", "key": "steering", "files": files})
    about = studied(config).to_json()
    write_manifest(
        run, {"stations": {"steering": "steering"}, "config": config.model_dump(mode="json"), "studied": about}
    )
    return run


def answered(folder, rater, choose, *, seconds=6.0, language="en"):
    """Write a rater's file as the page does; ``choose(secret, item) -> answer``."""
    study = open_study(folder)
    answers = []
    for name in study.design.forms[rater].items:
        answer = choose(study.key.items[name], study.design.items[name])
        if answer is not None:
            answers.append({"item": name, "answer": answer, "seconds": seconds, "at": "2026-01-01T00:00:00Z"})
    found = {
        "format": 1,
        "study": study.design.name,
        "rater": rater,
        "language": language,
        "consent": "2026-01-01T00:00:00Z",
        "answers": answers,
    }
    path = folder / "ratings" / f"{rater}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def reader(rng, key, *, told=0.8, values=VALUES):
    """Somebody who names what a text was steered or prompted to, ``told`` of the time; checks are answered rightly."""

    def choose(secret, item):
        if secret.kind in ("gold", "attention"):
            return {"emotion": values[0], "intensity": 5, "naturalness": 6} | secret.expected
        meant = [key.texts[t].value if key.texts[t].arm in ("steered", "prompted") else "" for t in secret.texts]
        if secret.kind == "pair":
            strong = [m == item.ask for m in meant]
            if strong[0] == strong[1]:
                return {"choice": str(rng.choice(["left", "tie", "right"]))}
            return {"choice": "left" if strong[0] == (rng.random() < told) else "right"}
        named = meant[0] if meant[0] and rng.random() < told else "none"
        return {
            "emotion": named,
            "intensity": 0 if named == "none" else int(rng.integers(3, 7)),
            "naturalness": int(rng.integers(4, 7)),
        }

    return choose


def tuned_folder(root, run, *, method="sft", value="anger", strengths=(0.5, 1.0), prompts=None, of="steering"):
    """What ``tune`` leaves of one method's texts on the run's openings."""
    table = SteeringFolder.of(run).test.read()
    shown = list(dict.fromkeys(table["prompt"])) if prompts is None else prompts
    place = root / "tuned"
    folder = TuningFolder.of(place)
    folder.path.mkdir(parents=True)
    folder.texts.write(
        filled(
            tuning_tables.TEXTS,
            [
                {
                    "method": way, "strength": strength, "prompt": prompt, "text": f" {way} {strength} wrote {prompt}",
                    "label": value, "probability": 0.9, "nats": 2.0,
                }
                for way, ways in ((method, strengths), ("none", (0.0,))) for strength in ways for prompt in shown
            ],
        )
    )  # fmt: skip
    files = {f.name: file_sha256(f) for f in sorted(folder.path.iterdir())}
    write_note(folder.path, {"status": "complete", "key": "tuning", "files": files})
    write_manifest(
        place,
        {
            "stations": {"tuning": "tuning"},
            "config": {"tuning": {"value": value}},
            "runs": [str(run)],
            "made_of": [{"steering": of}],
        },
    )
    return place
