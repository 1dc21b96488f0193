"""A model's address: what another process needs to load the very same one, and to see that it did."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.fingerprint import weights_sha256
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.loading import load_model
from emotion_circuits.model.sharing import foreign_hooks
from emotion_circuits.model.wiring import wiring_of

__all__ = ["ModelSource", "identity"]

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def identity(model: LanguageModel) -> dict[str, Any]:
    """What of a model the figures that it gives depend on, in JSON."""
    return {
        "model": model.name,
        "revision": model.revision,
        "weights_sha256": weights_sha256(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


@dataclass(frozen=True)
class ModelSource:
    """Where a loaded model came from.

    Attributes:
        name: what the user called it.
        place: the folder or hub id its weights are read from.
        revision: hub commit or requested revision, where there is one.
        dtype: of its parameters, without ``torch.``.
        device: where it runs; ``auto``: spread over several.
        pickled: whether its weights are pickled ones, which its user chose to trust.
        refused: site kinds its self-check refused, with the reason.
        fingerprint: of its weights.
        prefix: token ids it puts before every text.
    """

    name: str
    place: str
    revision: str | None
    dtype: str
    device: str
    pickled: bool
    refused: tuple[tuple[str, str], ...]
    fingerprint: str
    prefix: tuple[int, ...] = ()

    @classmethod
    def of(cls, model: LanguageModel) -> ModelSource:
        """The address of a loaded model.

        Raises:
            EmotionCircuitsError: the model was made in memory, or something is done to it that a model loaded elsewhere
                would not show.
        """
        if model.source is None and not getattr(model.config, "_name_or_path", ""):
            raise EmotionCircuitsError(
                f"{model.name} was made in memory: another process has nothing to load it from. Save it "
                "(model.hf.save_pretrained(folder), model.tokenizer.save_pretrained(folder)) and use load_model(folder), or "
                "use the engine 'inline'"
            )
        if model.adapter is not None:
            raise EmotionCircuitsError(
                f"{model.name}: another process would load it without its adapter: use the engine 'inline', or save the merged "
                "model (model.hf.save_pretrained(folder), model.tokenizer.save_pretrained(folder)) and load that folder"
            )
        if wiring_of(model).first_layer is not None or foreign_hooks(model):
            raise EmotionCircuitsError(
                f"{model.name} is being edited or watched, which a model loaded by another process would not show: use the "
                "engine 'inline'"
            )
        return cls(
            name=model.name,
            place=model.name if model.source is None else str(model.source),
            revision=model.revision,
            dtype=str(model.dtype).removeprefix("torch."),
            device="auto" if len(getattr(model.hf, "hf_device_map", ())) > 1 else str(model.device),
            pickled=model.source is not None and not any(model.source.glob("*.safetensors")),
            refused=tuple(sorted(model.refused.items())),
            fingerprint=_fingerprint(model),
            prefix=model.prefix,
        )

    def load(self) -> LanguageModel:
        """Load it.

        Raises:
            EmotionCircuitsError: it cannot be loaded, or its weights are not those of the model whose address this is.
        """
        # The first process checked it and found what to refuse.
        model = load_model(
            self.place,
            device=self.device,
            dtype=self.dtype,
            revision=self.revision,
            allow_pickle=self.pickled,
            check=False,
        )
        model.name, model.revision, model.refused = self.name, self.revision, dict(self.refused)
        model.prefix = self.prefix
        if _fingerprint(model) != self.fingerprint:
            raise EmotionCircuitsError(
                f"{self.place}: holds other weights than the model {self.name} that is being used (files that were replaced, or "
                "a model that was changed after it was loaded): save and load it again, or use the engine 'inline'"
            )
        return model


def _fingerprint(model: LanguageModel) -> str:
    """Changes with any one weight. Sums of whole numbers: exact, so neither the order nor the device matters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.hf.state_dict().items()):
        total = None
        if not tensor.is_meta:
            bits = tensor.detach().contiguous().reshape(-1).view(_WHOLE[tensor.itemsize])
            total = int(bits.sum(dtype=torch.int64))
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} {total}".encode())
    return digest.hexdigest()
