"""Steering per request for vLLM, with proof that it acted.

The plugin is asleep unless the environment variable ``EMOTION_CIRCUITS_VECTORS`` names vectors. A request then says what is done
to its text under ``emotion_circuits`` in ``vllm_xargs`` (``SamplingParams.extra_args``): :mod:`emotion_circuits_vllm.asking`.
"""

from __future__ import annotations

__all__ = ["PROTOCOL", "register"]

PROTOCOL = 1
"""Raised when what is asked or answered changes its form."""


def register() -> None:
    """Called by vLLM in each of its processes."""
    from emotion_circuits_vllm.shelf import Shelf
    from emotion_circuits_vllm.watching import watch

    watch()
    shelf = Shelf.of_environment()
    if shelf is not None:
        from emotion_circuits_vllm.attaching import attach

        attach(shelf)
