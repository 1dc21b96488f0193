"""``--writer vllm``: a study's continuations come from vLLM, and everything else is as before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError, WritingError
from emotion_circuits.language import say
from emotion_circuits.model.generation import Generated, Sampling
from emotion_circuits.model.intervening import Intervention
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.stepping import Task
from emotion_circuits.model.vllm.client import Asking, Client
from emotion_circuits.model.vllm.service import Identity, Service, identity_of

__all__ = ["Writer"]


class Writer:
    """Writes a model's texts; the service is started with the first of them. Close it when all work is done.

    Args:
        python: of the environment with vLLM.
        rows: texts at once.
    """

    def __init__(self, python: Path | str, *, rows: int = 128) -> None:
        self.python, self.rows = python, rows
        self._identities: dict[str, Identity] = {}
        self._lock = threading.Lock()
        self._exit = contextlib.ExitStack()
        self._client: tuple[str | None, Client, Service] | None = None

    def identity(self, model: LanguageModel) -> dict[str, Any]:
        """What texts depend on besides the model: engine, versions, dtype.

        Raises:
            EmotionCircuitsError: the environment lacks something.
        """
        dtype = _dtype(model)
        if dtype not in self._identities:
            self._identities[dtype] = identity_of(self.python, dtype)
        return self._identities[dtype].to_json()

    def close(self) -> None:
        """Stop the service."""
        with self._lock:
            self._client = None
            self._exit.close()

    def generate(
        self,
        model: LanguageModel,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        interventions: Sequence[Sequence[Intervention]],
        seeds: Sequence[int],
        add_special_tokens: bool = True,
    ) -> list[Generated]:
        """Continue each prompt, as :func:`emotion_circuits.model.generate` does; sampled texts have other random draws.

        Args:
            model: whose texts; its tokenizer is used.
            prompts: one text per row.
            sampling: length and choice of tokens.
            interventions: of each row.
            seeds: of each row; equal seeds share their draws, whatever is done to the row.
            add_special_tokens: as for :meth:`LanguageModel.tokenize`.

        Raises:
            WritingError: a text that could not be written, or on which steering did not act.
        """
        rows = model.encode(list(prompts), add_special_tokens=add_special_tokens, room=sampling.max_new_tokens).ids
        tasks = [
            Task(ids=ids, sampling=sampling, seed=seed, interventions=tuple(done))
            for ids, seed, done in zip(rows, seeds, interventions, strict=True)
        ]
        asking = Asking(self._started(model), model, tasks, idle=True)
        try:
            written = asking.run(lambda _place, _token, _row: None)
        except BaseException:
            asking.cancel()
            raise
        broken = next((row for row in written if row.reason not in ("stop", "length")), None)
        if broken is not None:
            # An engine that has died says so, and its log why.
            why = self._client[2].why() if "EngineDead" in broken.error and self._client is not None else broken.error
            raise WritingError(say("vLLM wrote no text: {why}", why=why))
        return [
            Generated(prompt, row.text, row.ids, row.reason == "stop")
            for prompt, row in zip(prompts, written, strict=True)
        ]

    def _started(self, model: LanguageModel) -> Client:
        with self._lock:
            place = None if model.source is None else str(model.source)
            if self._client is not None and self._client[0] != place:
                raise EmotionCircuitsError(say("one vLLM writes for one model; {model} is another", model=model.name))
            if self._client is None:
                self.identity(model)
                service = Service(self.python, model, dtype=_dtype(model), rows=self.rows)
                self._client = place, self._exit.enter_context(service), service
            return self._client[1]


def _dtype(model: LanguageModel) -> str:
    """In which a model writes, as vLLM calls it."""
    found = str(model.writes or model.dtype).removeprefix("torch.")
    if found == "float64":
        raise EmotionCircuitsError(say("vLLM has no float64; choose writing_dtype float32 or bfloat16"))
    return found
