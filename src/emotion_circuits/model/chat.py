"""A user's turn as a model's chat template renders it, within limits of time, memory and length."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import chat_worker
from emotion_circuits.model.language_model import LanguageModel

__all__ = ["chat_prompts", "chat_turns", "has_chat_template", "spoken"]

_MEMORY = 512 << 20
_SECONDS = 20
_CHARACTERS = 1_000_000  # a turn that a model could read is far shorter
_TODAY = "2024-07-26"  # what Llama 3's templates say where they are told no date


def has_chat_template(model: LanguageModel) -> bool:
    """Whether the model's tokenizer brings a chat template.

    Args:
        model: the model.
    """
    return bool(getattr(model.tokenizer, "chat_template", None))


def chat_turns(model: LanguageModel, contents: Sequence[str]) -> list[str]:
    r"""Each text as a user's turn, up to where the model's answer begins.

    The template is run in a process of its own, which may take half a gigabyte and twenty seconds. A text that spells a
    special token is refused: in a rendered prompt it would be one. A template that asks for the date is told the same one on
    every day, so that a study's figures do not depend on when it was run.

    Args:
        model: whose tokenizer has a chat template.
        contents: what the user says, one turn each.

    Raises:
        EmotionCircuitsError: a text that spells a special token; a template that is damaged, refuses the turn, or goes beyond
            a limit.

    Example:
        >>> chat_turns(load_model("smollm2-135m"), ["Hello"])  # doctest: +SKIP
        ['<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n']
    """
    return chat_prompts(model, [[{"role": "user", "content": content}] for content in contents], today=_TODAY)


def chat_prompts(
    model: LanguageModel, conversations: Sequence[Sequence[Mapping[str, str]]], *, today: str | None = None
) -> list[str]:
    """Conversations as the model's template renders them, up to where its next answer begins.

    Args:
        model: whose tokenizer has a chat template.
        conversations: messages with ``role`` and ``content``, oldest first.
        today: the date that templates are told, ``2024-07-26``; by default the real one.

    Raises:
        EmotionCircuitsError: as :func:`chat_turns`.
    """
    if not conversations:
        return []
    refuse_special(model, [message["content"] for turns in conversations for message in turns])
    try:
        template = model.tokenizer.get_chat_template()
    except ValueError as error:
        raise EmotionCircuitsError(f"{model.name}: {str(error).strip().splitlines()[0]}") from error
    request = {
        "template": template, "conversations": [[dict(m) for m in turns] for turns in conversations],
        "special": _special(model.tokenizer), "today": today,
        "memory": _MEMORY, "seconds": _SECONDS, "characters": _CHARACTERS,
    }  # fmt: skip
    answer = _ask(request)
    if "error" in answer:
        raise EmotionCircuitsError(
            f"{model.name}: its chat template cannot be used: {answer['error']}; correct it in the model's folder, or take it "
            "away: instructions are then given as plain text"
        )
    return list(answer["texts"])


def spoken(rendered: str, contents: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int] | None:
    r"""Which tokens of a rendered conversation are what somebody said; the others are the template's.

    Args:
        rendered: the conversation.
        contents: what was said, oldest first.
        offsets: of its tokens.

    Returns:
        Their places; ``None`` where the template changed what was said, so that it is not found.

    Example:
        >>> spoken("<u>Hi</u><a>", ["Hi"], [(0, 3), (3, 5), (5, 9), (9, 12)])
        [1]
    """
    spans, start = [], 0
    for content in contents:
        at = rendered.find(content.strip(), start)
        if at < 0:
            return None
        start = at + len(content.strip())
        spans.append((at, start))
    return [i for i, (a, b) in enumerate(offsets) if any(a < end and b > begin for begin, end in spans)]


def refuse_special(model: LanguageModel, texts: Sequence[str]) -> None:
    """Refuse texts that would become special tokens in a rendered prompt.

    Args:
        model: whose special tokens.
        texts: what a person wrote.

    Raises:
        EmotionCircuitsError: naming the text and the token.
    """
    for text in texts:
        spelled = [token for token in model.special_tokens if token in text]
        if spelled:
            raise EmotionCircuitsError(
                f"the text {text[:60]!r} spells {spelled[0]!r}, a special token of {model.name}, which a chat prompt would take "
                "for one; write it in another way"
            )


def _special(tokenizer: Any) -> dict[str, Any]:
    """The special tokens by name, as templates expect them."""
    return {
        name: [str(v) for v in value] if isinstance(value, list | tuple) else str(value)
        for name, value in tokenizer.special_tokens_map.items()
    }


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-P", str(Path(chat_worker.__file__))]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it takes longer than {_SECONDS} seconds"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        # The system ends a process that goes beyond a limit, and a deep recursion in the parser ends itself.
        return {
            "error": f"its process ended with code {done.returncode}, as one does that takes too much memory or time"
        }
    return answer
