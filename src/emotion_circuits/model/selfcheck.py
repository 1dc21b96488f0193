"""What the telescope promises, checked on the model itself when it is loaded.

A failed check of one site kind refuses that kind with the reason; a failed check of the whole refuses the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.intervening import Ablate, Add, Intervention, intervene
from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.observing import Record, observe
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
    if kind not in ("resid_pre", "resid_mid", "resid_post"):
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
        EmotionCircuitsError: observing or removing an intervention changed the output, one row's edit another row's,
            or left padding any; NaN or infinity anywhere.
    """
    model.refused.clear()
    results: list[CheckResult] = []
    batch = _probe_batch(model)
    single = Batch(batch.input_ids[1:, 3:], batch.attention_mask[1:, 3:])
    plain = model.logits(batch, finite=False)

    kinds: list[SiteKind] = [k for k in KINDS if k != "resid_mid" or model.has_resid_mid]
    layer = model.n_layers // 2
    with observe(model, model.sites(*kinds)) as record:
        observed = model.logits(batch, finite=False)
    broken = _first_broken(model, record, batch, plain)
    results.append(CheckResult("states and logits are finite", not broken, broken or "yes"))
    if broken:
        # NaN differs from itself: every comparison below would fail too, and hide where it began.
        if strict:
            raise EmotionCircuitsError(
                f"{model.name} failed its self-check: {broken}. With float16 use dtype 'bfloat16' or 'float32'; else its "
                "weights are damaged: download or convert them again"
            )
        return results
    same = torch.equal(plain, observed)
    results.append(CheckResult("observed = unobserved", same, _difference(plain, observed)))

    for kind in kinds:
        unseen = [site for site in model.sites(kind) if site not in record]
        if unseen:
            model.refused[kind] = f"the model does not pass through its seam at layer {unseen[0].layer}"
            results.append(CheckResult(f"{kind} is seen", False, model.refused[kind]))
    results += _attention_adds_up(model, record, batch)
    results += _stream_adds_up(model, record, batch)

    results += _edits_act(model, [k for k in kinds if k not in model.refused], layer)

    again = model.logits(batch, finite=False)
    restored = torch.equal(plain, again)
    results.append(CheckResult("after an intervention = before", restored, _difference(plain, again)))

    alone = model.logits(single, finite=False)
    gap = float((alone[0].float() - plain[1, 3:].float()).abs().max())
    scale = float(alone.float().abs().max())
    padded = gap <= (1e-4 if plain.dtype == torch.float32 else 5e-2) * max(scale, 1.0)
    results.append(CheckResult("left-padded = one by one", padded, f"off by {gap:.1e} (logits reach {scale:.3g})"))

    if strict:
        whole = {
            "observed = unobserved",
            "after an intervention = before",
            "an edit stays in its row",
            "left-padded = one by one",
        }
        failed = [r for r in results if not r.passed and r.name in whole]
        if failed:
            raise EmotionCircuitsError(
                f"{model.name} failed its self-check: " + "; ".join(f"{r.name} ({r.detail})" for r in failed)
            )
    return results


def _edits_act(model: LanguageModel, kinds: list[SiteKind], layer: int) -> list[CheckResult]:
    """An edit at every kind of site, each in a row of its own of one batch; the first row is left alone."""
    text = _probe_batch(model).input_ids[0, :3].tolist()
    batch = model.collate([text] * (len(kinds) + 1))
    # Last position only: the unembedding of a large vocabulary costs more than the blocks.
    plain = model.logits(batch, last_only=True, finite=False)
    edits = [replace(_edit_of(kind, model, layer), rows=(row,)) for row, kind in enumerate(kinds, start=1)]
    with intervene(model, edits):
        changed = model.logits(batch, last_only=True, finite=False)
    results = []
    for row, kind in enumerate(kinds, start=1):
        moved = float((changed[row] - plain[row]).float().abs().max())
        if not moved > 0:
            model.refused[kind] = "an edit there does not change the logits"
        results.append(CheckResult(f"an edit at {kind} changes the logits", moved > 0, f"by up to {moved:.2g}"))
    alone = torch.equal(changed[0], plain[0])
    return [*results, CheckResult("an edit stays in its row", alone, _difference(plain[0], changed[0]))]


def _tolerance(value: Tensor) -> float:
    return 1e-3 if value.dtype in (torch.float32, torch.float64) else 3e-2


def _first_broken(model: LanguageModel, record: Record, batch: Batch, logits: Tensor) -> str:
    """Where the first NaN or infinity is, in the order of computation; empty where there is none."""
    for layer in range(model.n_layers):
        for kind in ("resid_pre", "q", "k", "v", "z", "attn_out", "mlp_out", "resid_post"):
            site = Site(kind, layer)  # type: ignore[arg-type]
            if site in record and not bool(torch.isfinite(record[site][batch.real]).all()):
                return f"NaN or infinity at {kind} of layer {layer}"
    return "" if bool(torch.isfinite(logits[batch.real]).all()) else "NaN or infinity in the logits"


def _attention_adds_up(model: LanguageModel, record: Record, batch: Batch) -> list[CheckResult]:
    """Pattern rows sum to 1 and, applied to the values, give the head outputs the model computes."""
    if any(kind in model.refused for kind in ("pattern", "v", "z")):
        return []
    sums = gap = scale = 0.0
    for layer in range(model.n_layers):
        pattern, v, z = (record[Site(kind, layer)].float() for kind in ("pattern", "v", "z"))  # type: ignore[arg-type]
        sums = max(sums, float((pattern.sum(-1).transpose(1, 2)[batch.real] - 1).abs().max()))
        mixed = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
        gap = max(gap, float((mixed - z)[batch.real].abs().max()))
        scale = max(scale, float(z[batch.real].abs().max()))
    tolerance = _tolerance(record[Site("v", 0)])
    ones, same = sums <= tolerance, gap <= tolerance * max(scale, 1e-3) * 10
    if not ones:
        model.refused["pattern"] = model.refused["scores"] = f"its rows do not sum to 1 (off by {sums:.2g})"
    if not same:
        for kind in ("pattern", "scores", "v"):
            model.refused[kind] = f"pattern · v differs from the head outputs by {gap:.2g} (they reach {scale:.2g})"
    return [
        CheckResult("pattern rows sum to 1", ones, f"off by {sums:.1e}"),
        CheckResult("pattern · v = z", same, f"off by {gap:.1e} of {scale:.1e}"),
    ]


def _stream_adds_up(model: LanguageModel, record: Record, batch: Batch) -> list[CheckResult]:
    """What attention and the MLP are said to add is what the residual stream gains."""
    kinds: list[SiteKind] = ["resid_pre", "attn_out", "mlp_out", "resid_post"]
    kinds += ["resid_mid"] if model.has_resid_mid else []
    if any(kind in model.refused for kind in kinds):
        return []
    gap = scale = 0.0
    tolerance = _tolerance(record[Site("resid_pre", 0)])
    for layer in range(model.n_layers):
        value = {kind: record[Site(kind, layer)][batch.real].float() for kind in kinds}
        gaps = [value["resid_pre"] + value["attn_out"] + value["mlp_out"] - value["resid_post"]]
        if model.has_resid_mid:
            gaps.append(value["resid_pre"] + value["attn_out"] - value["resid_mid"])
        gap = max(gap, *(float(g.abs().max()) for g in gaps))
        scale = max(scale, *(float(v.abs().max()) for v in value.values()))
    fine = gap <= tolerance * max(scale, 1e-3)
    if not fine:
        for kind in ("attn_out", "mlp_out", "resid_mid"):
            model.refused[kind] = f"attention and MLP do not add up to the stream (off by {gap:.2g} of {scale:.2g})"
    return [CheckResult("resid_pre + attn_out + mlp_out = resid_post", fine, f"off by {gap:.1e} of {scale:.1e}")]


def _difference(a: Tensor, b: Tensor) -> str:
    return "bit-identical" if torch.equal(a, b) else f"differs by up to {float((a - b).abs().max()):.2g}"
