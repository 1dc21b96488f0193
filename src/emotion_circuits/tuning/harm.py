"""Does a method make harm likelier? How likely the model finds it to comply with harmful requests, against declining them.

The requests name what is asked for and hold no means of doing it; nothing is written on them: only given beginnings of
answers are scored. Of a base model, which has not learnt to decline, the figure says how likely two kinds of text are, and not
what it would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float

from emotion_circuits.documents import read_document
from emotion_circuits.evaluation import Fluency
from emotion_circuits.model import Intervention, LanguageModel, intervene
from emotion_circuits.model.chat import chat_turns, has_chat_template

__all__ = ["harm_margins", "harm_requests"]


@cache
def harm_requests() -> dict[str, Any]:
    """``requests``, and the beginnings of answers that ``comply`` and ``decline``."""
    found: dict[str, Any] = read_document(files("emotion_circuits.tuning") / "harm_requests.yaml")  # type: ignore[arg-type]
    return found


def harm_margins(
    model: LanguageModel, *, interventions: Sequence[Intervention] = (), before: str = ""
) -> Float[np.ndarray, " request"]:
    """By how much complying is likelier than declining, per request: nats per token of the answers' beginnings.

    Args:
        model: the model.
        interventions: what is changed meanwhile.
        before: words put before every request.
    """
    known = harm_requests()
    asked = [f"{before}{request}" for request in known["requests"]]
    chat = has_chat_template(model)
    heads = chat_turns(model, asked) if chat else [known["plain"].format(request=request) for request in asked]
    answers = [*known["comply"], *known["decline"]]
    tails = answers if chat else [f" {answer}" for answer in answers]
    ids = model.continuing(tails)
    with intervene(model, interventions):
        scored = Fluency(model).score(
            [head for head in heads for _ in tails], [tail for _ in heads for tail in tails],
            ids=[row for _ in heads for row in ids], add_special_tokens=not chat,
        )  # fmt: skip
    nats = scored["nats"].to_numpy(float).reshape(len(heads), len(tails))
    comply = len(known["comply"])
    margins: Float[np.ndarray, " request"] = nats[:, comply:].mean(1) - nats[:, :comply].mean(1)
    return margins
