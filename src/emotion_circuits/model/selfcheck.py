"""What the telescope promises, checked on the model itself when it is loaded.

A failed check of one site kind refuses that kind with the reason; a failed check of the whole refuses the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.intervening import Ablate, Add, Intervention, intervene
from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.observing import observe
from emotion_circuits.model.sites import KINDS, Site, SiteKind

__all__ = ["CheckResult", "self_check"]


@dataclass(frozen=True)
class CheckResult:
    """One line of ``emotion-circuits models check``.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        detail: the figure seen, or why it is not applicable.
    """

    name: str
    passed: bool
    detail: str


def _probe_batch(model: LanguageModel) -> Batch:
    """Two short rows of ordinary token ids, the second one left-padded."""
    vocabulary = model.hf.get_input_embeddings().weight.shape[0]
    spread = [11, 7, 5, 3, 13, 2]
    long = [(17 + 101 * i * spread[i % 6]) % vocabulary for i in range(1, 8)]
    return model.collate([long, long[2:6]], side="left")


def _edit_of(kind: SiteKind, model: LanguageModel, layer: int) -> Intervention:
    site = Site(kind, layer)
    if kind in ("pattern", "z", "v", "attn_out", "mlp_out", "scores"):
        return Ablate(site=site)
    if kind in ("q", "k"):
        return Ablate(site=site)
    ramp = torch.linspace(-1, 1, model.d_model, device=model.device) * 3
    return Add(site=site, vector=ramp)


@torch.no_grad()
def self_check(model: LanguageModel, *, strict: bool = True) -> list[CheckResult]:
    """Check observation, attention rows, an edit at every kind of site, and left padding.

    Args:
        model: the model; kinds that fail are written to ``model.refused``.
        strict: raise when a check of the whole fails.

    Raises:
        EmotionCircuitsError: observing or removing an intervention changed the output, or left padding does.
    """
    model.refused.clear()
    results: list[CheckResult] = []
    batch = _probe_batch(model)
    single = Batch(batch.input_ids[1:, 3:], batch.attention_mask[1:, 3:])
    plain = model.logits(batch)

    kinds: list[SiteKind] = [k for k in KINDS if k != "resid_mid" or model.has_resid_mid]
    layer = model.n_layers // 2
    with observe(model, model.sites(*kinds)) as record:
        observed = model.logits(batch)
    same = torch.equal(plain, observed)
    results.append(CheckResult("observed = unobserved", same, _difference(plain, observed)))

    real = batch.real
    pattern = record[Site("pattern", layer)]
    rows = pattern.float().sum(-1)
    off = float((rows.transpose(1, 2)[real] - 1).abs().max())
    tolerance = 1e-3 if plain.dtype == torch.float32 else 3e-2
    if off > tolerance:
        model.refused["pattern"] = model.refused["scores"] = f"its rows do not sum to 1 (off by {off:.2g})"
    results.append(CheckResult("pattern rows sum to 1", off <= tolerance, f"off by {off:.1e}"))

    # What is recorded must be what the model computes: z = pattern · v, and the blocks' stream must connect.
    z = torch.einsum("bhqk,bkhd->bqhd", pattern.float(), record[Site("v", layer)].float())
    gap = float((z - record[Site("z", layer)].float())[real].abs().max())
    scale = float(record[Site("z", layer)].float()[real].abs().max()) or 1.0
    fine = gap <= tolerance * max(scale, 1e-3) * 10
    if not fine:
        for kind in ("pattern", "scores", "v"):
            model.refused[kind] = f"pattern · v differs from the head outputs by {gap:.2g} (they reach {scale:.2g})"
    results.append(CheckResult("pattern · v = z", fine, f"off by {gap:.1e} of {scale:.1e}"))

    for kind in kinds:
        with intervene(model, [_edit_of(kind, model, layer)]):
            changed = model.logits(batch)
        moved = float((changed - plain)[real].float().abs().max())
        if not moved > 0:
            model.refused[kind] = "an edit there does not change the logits"
        results.append(CheckResult(f"an edit at {kind} changes the logits", moved > 0, f"by up to {moved:.2g}"))

    again = model.logits(batch)
    restored = torch.equal(plain, again)
    results.append(CheckResult("after an intervention = before", restored, _difference(plain, again)))

    alone = model.logits(single)
    gap = float((alone[0].float() - plain[1, 3:].float()).abs().max())
    scale = float(alone.float().abs().max())
    padded = gap <= (1e-4 if plain.dtype == torch.float32 else 5e-2) * max(scale, 1.0)
    results.append(CheckResult("left-padded = one by one", padded, f"off by {gap:.1e} (logits reach {scale:.3g})"))

    finite = bool(torch.isfinite(plain[real]).all())
    results.append(CheckResult("logits are finite", finite, "yes" if finite else "NaN or infinity in the logits"))
    if strict:
        whole = {
            "observed = unobserved",
            "after an intervention = before",
            "left-padded = one by one",
            "logits are finite",
        }
        failed = [r for r in results if not r.passed and r.name in whole]
        if failed:
            raise EmotionCircuitsError(
                f"{model.name} failed its self-check: " + "; ".join(f"{r.name} ({r.detail})" for r in failed)
            )
    return results


def _difference(a: Tensor, b: Tensor) -> str:
    return "bit-identical" if torch.equal(a, b) else f"differs by up to {float((a - b).abs().max()):.2g}"
