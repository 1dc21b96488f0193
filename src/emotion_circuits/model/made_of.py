"""Which model an artefact was made of, and what is said when it is used with another one.

Two models of one shape take each other's directions without a word, and every figure that comes of it looks like one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.fingerprint import weights_sha256
from emotion_circuits.model.language_model import LanguageModel

__all__ = ["ModelMark"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelMark:
    """A model, as an artefact notes it.

    Attributes:
        name: what its user called it.
        weights_sha256: of its weights, see :func:`weights_sha256`.
    """

    name: str
    weights_sha256: str

    @classmethod
    def of(cls, model: LanguageModel) -> ModelMark:
        """The mark of a loaded model."""
        return cls(model.name, weights_sha256(model))

    @classmethod
    def noted(cls, found: Mapping[str, Any] | None) -> ModelMark | None:
        """From ``name`` and ``weights_sha256`` in a manifest; ``None`` where it notes none.

        Example:
            >>> ModelMark.noted({"name": "tiny", "weights_sha256": "ab12"})
            ModelMark(name='tiny', weights_sha256='ab12')
        """
        if not found or not found.get("weights_sha256"):
            return None
        return cls(str(found.get("name", "?")), str(found["weights_sha256"]))

    def differs(self, model: LanguageModel) -> bool:
        """Whether a model surely holds other weights.

        A model in memory and one of files have sums of different things: one of files is summed as if it were in memory before
        it is said to differ, and one in memory is another only where its name is another too.
        """
        if self.weights_sha256 == weights_sha256(model):
            return False
        if model.source is None:
            return model.name != self.name
        return self.weights_sha256 != weights_sha256(replace(model, source=None, wiring=None, writer=None))

    def _words(self, what: str, model: LanguageModel) -> str:
        return (
            f"{what} made of {self.name} (weights {self.weights_sha256[:12]}), not of {model.name} "
            f"(weights {weights_sha256(model)[:12]})"
        )

    def warn(self, what: str, model: LanguageModel) -> None:
        """Say it where a model is another one: a transfer that may be meant.

        Args:
            what: with its verb: ``the directions of runs/a were``.
            model: that it is used with.
        """
        if self.differs(model):
            _log.warning("%s: what comes of it is a transfer from one model to another", self._words(what, model))

    def require(self, what: str, model: LanguageModel, remedy: str) -> None:
        """Refuse another model.

        Args:
            what: as for :meth:`warn`.
            model: that it is used with.
            remedy: what to do instead.

        Raises:
            EmotionCircuitsError: it is another model, both named.
        """
        if self.differs(model):
            raise EmotionCircuitsError(f"{self._words(what, model)}; {remedy}")
