"""A model without its weights: shapes, tokenizer and limits from its configuration alone, in a second and no memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from emotion_circuits.model import bundled
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.loading import dtypes_for, resolve_device
from emotion_circuits.model.opening import is_bundled, open_model, outline
from emotion_circuits.model.precision import resolve_dtype

__all__ = ["Blueprint", "blueprint"]


@dataclass(eq=False)
class Blueprint(LanguageModel):
    """As a loaded model as far as shapes, names and tokens go; it cannot be run.

    Attributes:
        place: the device the weights would be on.
        assumed_sha256: sum of its weights, where something else than their files says it.
    """

    place: torch.device = field(default_factory=lambda: torch.device("cpu"))
    assumed_sha256: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the model would be."""
        return self.place

    @property
    def vocabulary(self) -> int:
        """Rows of the unembedding."""
        weight: torch.Tensor = self.unembedding.weight  # type: ignore[assignment]
        return int(weight.shape[0])


def blueprint(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    writing_dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> Blueprint | None:
    """What is known of a model before its weights are loaded.

    Args:
        name_or_path: as for :func:`emotion_circuits.model.load_model`.
        device: where it would be loaded.
        dtype: in which it would be loaded.
        writing_dtype: in which it would write.
        revision: hub branch, tag or commit.

    Returns:
        ``None`` for a bundled model that is not installed: nothing is downloaded for a look.

    Raises:
        EmotionCircuitsError: nothing there, or an unsupported family.
    """
    name = os.fspath(name_or_path)
    if is_bundled(name) and bundled.installed(name) is None:
        return None
    opened = open_model(name, revision=revision)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    place = (
        torch.device("cuda" if torch.cuda.is_available() else "cpu") if str(where) == "auto" else resolve_device(where)
    )
    use_dtype, writes = dtypes_for(opened, where, resolve_dtype(dtype), resolve_dtype(writing_dtype))
    hf = outline(opened.config, name, use_dtype)
    commit = getattr(opened.config, "_commit_hash", None)
    found = Blueprint(
        hf.eval(),
        opened.tokenizer,
        opened.family,
        opened.name,
        source=opened.folder,
        revision=commit or revision,
        writes=writes,
        place=place,
    )
    found.check_tokenizer()
    return found
