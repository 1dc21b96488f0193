"""Names of places as TransformerLens writes them (``blocks.9.hook_resid_post``), beside the site kinds of this package.

The same name means the same tensor, in the same layout, with one difference: keys and values are repeated for every query head
here. What has no site is refused with the reason and the nearest name that has one.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["HOOK_NAMES", "WITHOUT_SITE", "hook_of", "kind_and_layer"]

HOOK_NAMES: dict[str, str] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_rot_q": "q",
    "attn.hook_rot_k": "k",
    "attn.hook_v": "v",
    "attn.hook_attn_scores": "scores",
    "attn.hook_pattern": "pattern",
    "attn.hook_z": "z",
}
"""Behind ``blocks.LAYER.``: the hook's name → the kind of site."""
WITHOUT_SITE: dict[str, tuple[str, str]] = {
    "hook_embed": ("the sum of embeddings is what enters the first block", "blocks.0.hook_resid_pre"),
    "hook_pos_embed": ("the sum of embeddings is what enters the first block", "blocks.0.hook_resid_pre"),
    "ln1.hook_normalized": ("what norms give is no site; what enters this one is", "hook_resid_pre"),
    "ln1.hook_scale": ("what norms give is no site; what enters this one is", "hook_resid_pre"),
    "ln2.hook_normalized": ("what norms give is no site; what enters this one is", "hook_resid_mid"),
    "ln2.hook_scale": ("what norms give is no site; what enters this one is", "hook_resid_mid"),
    "ln_final.hook_normalized": (
        "what the last norm gives is no site; what leaves the last block is",
        "hook_resid_post",
    ),
    "attn.hook_q": (
        "it stands before rotary positions; the site stands behind them, the same where there are none",
        "attn.hook_rot_q",
    ),
    "attn.hook_k": (
        "it stands before rotary positions; the site stands behind them, the same where there are none",
        "attn.hook_rot_k",
    ),
    "attn.hook_result": ("heads are taken before the output projection", "attn.hook_z"),
    "mlp.hook_pre": ("what is inside an MLP is no site; what it adds is", "hook_mlp_out"),
    "mlp.hook_post": ("what is inside an MLP is no site; what it adds is", "hook_mlp_out"),
}
"""Hooks that have no site here: the reason, and the nearest one that has."""
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)", re.ASCII)


def kind_and_layer(name: str) -> tuple[str, int] | None:
    """The kind and layer that a TransformerLens name means; ``None`` for a text that is none.

    Example:
        >>> kind_and_layer("blocks.3.attn.hook_z"), kind_and_layer("z.L3")
        (('z', 3), None)

    Raises:
        EmotionCircuitsError: such a name that has no site here; it names the nearest one.
    """
    found = _BLOCK.fullmatch(name)
    layer, hook = (int(found[1]), found[2]) if found else (0, name)
    if found and hook in HOOK_NAMES:
        return HOOK_NAMES[hook], layer
    if hook in WITHOUT_SITE:
        reason, near = WITHOUT_SITE[hook]
        raise EmotionCircuitsError(f"{name}: {reason}: {_whole(near, layer if found else None)}")
    if not found and "hook_" not in name:
        return None
    near = (get_close_matches(hook, HOOK_NAMES, n=1, cutoff=0.0) or ["hook_resid_post"])[0]
    raise EmotionCircuitsError(
        f"{name}: no such place; the nearest is {_whole(near, layer)}. Known behind 'blocks.LAYER.': {', '.join(HOOK_NAMES)}"
    )


def _whole(hook: str, layer: int | None) -> str:
    return hook if hook.startswith("blocks.") else f"blocks.{'LAYER' if layer is None else layer}.{hook}"


def hook_of(kind: str, layer: int) -> str:
    """TransformerLens' name of a kind of site at a layer.

    Example:
        >>> hook_of("pattern", 2)
        'blocks.2.attn.hook_pattern'
    """
    return _whole(next(hook for hook, known in HOOK_NAMES.items() if known == kind), layer)
