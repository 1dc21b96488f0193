"""A run small enough to be made in a moment, and a real server of it on a loopback port."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time

import pandas as pd
import torch

from emotion_circuits.directions import DirectionSet
from emotion_circuits.directions.reading import save_reader
from emotion_circuits.paths import file_sha256
from emotion_circuits.record.notes import write_note
from emotion_circuits.record.reading import write_manifest
from emotion_circuits.record.studied import studied
from emotion_circuits.serve.engine import Limits
from emotion_circuits.serve.guarding import Bounds
from emotion_circuits.serve.serving import server, service_of
from emotion_circuits.stations.steering import tables
from emotion_circuits.stations.steering.folder import Choice, SteeringFolder
from emotion_circuits.steering import Condition, SteeringVectors
from families import tiny_model
from study_cases import small

VALUES = ("gratitude", "apology", "anger")
LAYER, FIRST = 1, 2.0
NORMS = (2.0, 3.0, 4.0)
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<s>me: {% endif %}"
_NOTHING = {"float": 0.0, "int": 0, "text": "", "bool": False}


def filled(table, rows):
    """Rows of a declared table; what they leave out is nothing."""
    base = {c.name: _NOTHING[c.type] for c in table.columns if not c.optional}
    return pd.DataFrame([{**base, **row} for row in rows])


def save_chatting(folder, *, chat=True, chain=""):
    """A tiny model; its last token-norms are small, so that a push of a residual norm turns its texts.

    With a ``chain`` of different characters each of them is followed by the next one, as long as nothing is pushed.
    """
    model = tiny_model("llama", max_position_embeddings=1024)
    if chain:
        embeddings, head = model.hf.get_input_embeddings().weight, model.hf.get_output_embeddings().weight
        ids = model.tokenizer.convert_tokens_to_ids(list(chain))
        for block in model.hf.model.layers:  # what is written next hangs on the last character alone
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        for axis, (own, following) in enumerate(itertools.pairwise(ids)):
            embeddings[own] = 0
            embeddings[own, axis] = 1
            head[following, axis] += 2.5
    if chat:
        model.tokenizer.chat_template = TEMPLATE
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


class Signs:
    """A judge: the more of a text is ``&``, the more grateful it is, which is what the tiny run's gratitude makes of it."""

    name, version, axis = "signs", "1", "emotion"

    def __init__(self, name="signs", sign="&"):
        self.name, self.sign = name, sign

    def score(self, texts):
        shares = [text.count(self.sign) / max(len(text), 1) for text in texts]
        return pd.DataFrame({"p_gratitude": shares, "p_apology": [(1 - p) / 2 for p in shares], "p_anger": 0.0})

    def decide(self, scores):
        return ["gratitude" if p > 0.5 else "neutral" for p in scores["p_gratitude"]]


def tiny_run(
    root,
    *,
    name="run",
    chat=True,
    chain="",
    words=None,
    judges=None,
    attribute="emotion-en",
    values=VALUES,
    norms=NORMS,
):
    """A finished run of two stations, written through the folders' own classes.

    Gratitude and apology were chosen at alpha 1 with the first token; 2 was within the bound too, and 3 was not. Anger has no
    strength within it. ``chain`` is of :func:`save_chatting`; ``words`` are what values are called, by language; ``judges`` stand
    instead of the attribute's. Other ``values`` of an ``attribute`` take the places of these three.
    """
    run, model = root / name, root / "tiny-chat"
    if not model.exists():
        save_chatting(model, chat=chat, chain=chain)
    config = small(model, attribute=attribute, emotions=list(values))
    generator = torch.Generator().manual_seed(3)
    raw = {v: torch.randn(3, 32, generator=generator) for v in values}
    folder = SteeringFolder.of(run)
    folder.path.mkdir(parents=True)
    folder.save_vectors(SteeringVectors.from_raw(raw, torch.tensor(norms)))
    chosen = {
        v: Condition(name=v, emotion=v, layers=(LAYER,), alpha=1.0, positions="rest", first=FIRST) for v in values[:2]
    }
    folder.choice.write(
        Choice(
            objective="most", openings=8, chosen={v: c.to_json() for v, c in chosen.items()},
            none_within_bound=values[2:],
        )
    )  # fmt: skip
    arms = [
        {
            "condition": f"{v} {alpha}", "kind": "emotion", "emotion": v, "alpha": alpha, "layers": str(LAYER),
            "how": c.how, "units": "norm", "first": FIRST, "ratio": high / 1.2, "ratio_low": high / 1.4, "ratio_high": high,
            "change": alpha / 8, "change_low": alpha / 8 - 0.1, "change_high": alpha / 8 + 0.1, "n": 36,
        }
        for v, c in chosen.items() for alpha, high in ((1.0, 1.2), (2.0, 40.0), (3.0, 60.0))
    ]  # fmt: skip
    folder.grid.write(filled(tables.GRID, arms))
    effects = [
        {
            "emotion": v, "condition": v, "metric": metric, "side": 1, "change": 0.25, "low": 0.1, "high": 0.4,
            "wrong_way": 0.1, "n": 36, "ratio": 1.1, "ratio_low": 1.0, "ratio_high": 1.2,
        }
        for v in chosen for metric in ("share", "probability")
    ]  # fmt: skip
    folder.effects.write(filled(tables.EFFECTS, effects))
    directions = DirectionSet(
        "mean_difference", "resid_post", "mean", tuple(values), (0, 1, 2), torch.stack([raw[v] for v in values]),
        torch.zeros(3, 3), torch.tensor(norms), chosen_layer=2,
    )  # fmt: skip
    save_reader(run / "directions", [(directions, 2)])
    keys = {}
    for name in ("directions", "steering"):
        files = {f.name: file_sha256(f) for f in sorted((run / name).iterdir())}
        write_note(run / name, {"status": "complete", "key": name, "files": files})
        keys[name] = name
    about = studied(config).to_json()
    for code, names in (words or {}).items():
        about["attribute"]["words"].setdefault(code, {}).update(names)
    about["attribute"]["judges"] = judges or about["attribute"]["judges"]
    write_manifest(run, {"stations": keys, "config": config.model_dump(mode="json"), "studied": about})
    return run


@contextlib.contextmanager
def serving(model, run, *, titles=(), key=None, limits=None, bounds=None, judge=None):
    """A server at work: ``(service, port)``."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        bounds = bounds or Bounds(per_minute=100_000)
        with service_of(
            model,
            run if isinstance(run, list) else [run],
            titles=titles,
            key=key,
            limits=limits or Limits(),
            bounds=bounds,
            judge=judge,
        ) as service:
            made = server(service, host="127.0.0.1", port=port)
            thread = threading.Thread(target=made.run, kwargs={"sockets": [sock]}, daemon=True)
            thread.start()
            deadline = time.monotonic() + 60
            while not made.started and time.monotonic() < deadline:
                time.sleep(0.01)
            try:
                yield service, port
            finally:
                made.should_exit = True
                thread.join(20)
