"""A user's turn as a model's chat template renders it, within limits of time, memory and length."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
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


class _Kept:
    """A worker that stays: starting Python costs more than rendering a turn. Every request is answered in a fork of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, ``{"late": true}``, or ``{"code": …}`` of a process that ended without one."""
        with self._lock:
            process = self._alive()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            except BaseException:
                # Its answer is still to come, and would be taken for that of the next request.
                self._process = None
                process.kill()
                process.wait()
                raise
            if line.endswith(b"\n"):
                return dict(json.loads(line))
            self._process = None
            return {"code": process.wait()}

    def _alive(self) -> subprocess.Popen[bytes]:
        # A fork of this process must not read from its parent's pipes.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            command = [sys.executable, "-P", str(Path(chat_worker.__file__)), "--kept"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._owner = os.getpid()
            atexit.register(_end, self._process, self._owner)
        return self._process


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if owner == os.getpid() and process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            # Another process holds its input open, or it renders still: nobody waits for that.
            process.kill()
            process.wait()


_kept = _Kept()


def _once(request: dict[str, Any]) -> dict[str, Any]:
    """As :meth:`_Kept.ask`, where processes cannot be forked."""
    command = [sys.executable, "-P", str(Path(chat_worker.__file__))]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"late": True}
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"code": done.returncode}


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    answer = _kept.ask(request) if hasattr(os, "fork") else _once(request)
    if answer.get("late"):
        return {"error": f"it takes longer than {_SECONDS} seconds"}
    if "code" in answer:
        # The system ends a process that goes beyond a limit, and a deep recursion in the parser ends itself.
        return {
            "error": f"its process ended with code {answer['code']}, as one does that takes too much memory or time"
        }
    return answer
