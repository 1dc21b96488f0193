"""The one exception a user is meant to see.

Everything that can go wrong because of an *input* (a file, an option, a model that lacks a site) is raised as
:class:`EmotionCircuitsError` with a message that says where it happened and what to do; the command line prints
the message without a traceback.
"""

from __future__ import annotations

__all__ = ["EmotionCircuitsError", "SiteUnavailableError", "WritingError"]


class EmotionCircuitsError(Exception):
    """A problem with an input, worded for the person who supplied it."""


class SiteUnavailableError(EmotionCircuitsError):
    """The model has no such site, or its self-check refused it."""


class WritingError(EmotionCircuitsError):
    """A text that was asked for rightly could not be written, or steering did not act on it."""
