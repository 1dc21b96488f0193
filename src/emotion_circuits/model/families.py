"""One row per architecture family: where its parts live.

To support a new family, add a row to :data:`FAMILIES` and a tiny config of it to ``tests/families.py``; the
self-check and the tests then say whether the row is right. Paths are attribute paths; ``mid`` is the module
whose *input* is the residual stream between attention and MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["FAMILIES", "LARGER", "TOWERS", "Family", "at_path", "family_of", "language_config"]


@dataclass(frozen=True)
class Family:
    """Where the parts of one architecture live.

    Attributes:
        name: the family's name in messages.
        base: path from the causal-LM class to the transformer without unembedding.
        blocks: path from ``base`` to the list of decoder blocks.
        attention: path from a block to the attention module (the object the attention seam is called with).
        attn_out: path from a block to the module whose *output* attention adds to the residual stream.
        out_proj: path from a block to attention's output projection, whose input is the concatenated heads.
        mlp_out: path from a block to the module whose output the MLP adds to the residual stream.
        mid: path from a block to the module whose input is ``resid_mid``.
        parallel: config attribute that says the block is parallel (``True``/``False`` when it is fixed).
        final_norm: path from ``base`` to the norm before the unembedding.
        attention_norm: path from a block to the norm attention reads through (``None``: post-norm family).
        norm_offset: what a norm adds to its stored weight (Gemma stores ``gain − 1``).
        logit_cap: config attribute of the soft cap behind the unembedding.
        window: config attribute of how many columns a token of a local layer sees back.
        qkv: layout of the projections: ``separate`` (q_proj, k_proj, v_proj), ``fused_thirds`` (GPT-2: [q|k|v]),
            ``fused_per_head`` (NeoX: [q|k|v] inside each head), ``fused_groups`` (Phi-3: all q, then k, then v).
        projections: path(s) from the attention module to those projections.
        conv1d: GPT-2's ``Conv1D`` stores weights as ``[in, out]``.
        seam: ``interface`` (transformers' AttentionInterface) or ``method`` (per-instance ``_attn`` override).
        own_mask: with seam ``method``, the attention module's buffer ``[1, 1, query, key]`` of what may be looked at.
        score_divisor: with seam ``method``, the attention module's attribute that scores are divided by.
        tuple_blocks: a block returns a tuple that begins with the residual stream.
        pre_norm: config attribute that must be true for the row to hold (OPT-350m is post-norm).
        down: path from a block to the MLP's last linear map, where its output enters the residual stream as it is (``None``: a
            norm lies between), so that a bias of it is a constant push behind the block.
        down_bias: ``True``: that map has a bias; a config attribute that gives it one; ``False``: neither.
        gguf: name of the architecture in llama.cpp; ``None``: it does not run it.
    """

    name: str
    base: str
    blocks: str
    attention: str
    attn_out: str
    out_proj: str
    mlp_out: str
    mid: str
    final_norm: str
    attention_norm: str | None
    norm_offset: float = 0.0
    logit_cap: str | None = None
    window: str = "sliding_window"
    parallel: bool | str = False
    qkv: Literal["separate", "fused_thirds", "fused_per_head", "fused_groups"] = "separate"
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    conv1d: bool = False
    seam: Literal["interface", "method"] = "interface"
    own_mask: str | None = None
    score_divisor: str | None = None
    tuple_blocks: bool = False
    pre_norm: str | None = None
    down: str | None = None
    down_bias: bool | str = False
    gguf: str | None = None

    def is_parallel(self, config: Any) -> bool:
        """Whether this model's blocks compute attention and MLP in parallel (no ``resid_mid``)."""
        return bool(getattr(config, self.parallel)) if isinstance(self.parallel, str) else self.parallel

    @property
    def post_norm(self) -> str | None:
        """Path from a block to a norm between attention's output projection and the residual stream.

        Where there is one, attention's output is not the sum of what its heads write (Gemma 2/3, OLMo 2).
        """
        return None if self.out_proj.startswith(f"{self.attn_out}.") else self.attn_out

    def gain(self, norm: nn.Module) -> Float[Tensor, " d_model"]:
        """The factors a norm of this family multiplies with, in float32."""
        weight: Tensor = norm.weight.detach().float()  # type: ignore[union-attr,operator]
        return weight + self.norm_offset if self.norm_offset else weight


def _llama_like(name: str, **changes: Any) -> Family:
    row: dict[str, Any] = {
        "base": "model",
        "blocks": "layers",
        "attention": "self_attn",
        "attn_out": "self_attn",
        "out_proj": "self_attn.o_proj",
        "mlp_out": "mlp",
        "mid": "post_attention_layernorm",
        "final_norm": "norm",
        "attention_norm": "input_layernorm",
        "down": "mlp.down_proj",
    }
    return Family(name=name, **{**row, **changes})


_GEMMA_SANDWICH: dict[str, Any] = {
    "attn_out": "post_attention_layernorm",
    "mlp_out": "post_feedforward_layernorm",
    "mid": "pre_feedforward_layernorm",
    "norm_offset": 1.0,
    "logit_cap": "final_logit_softcapping",
    "down": None,
}

FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        name="GPT-2",
        base="transformer",
        blocks="h",
        attention="attn",
        attn_out="attn",
        out_proj="attn.c_proj",
        mlp_out="mlp",
        mid="ln_2",
        final_norm="ln_f",
        attention_norm="ln_1",
        qkv="fused_thirds",
        projections=("c_attn",),
        conv1d=True,
        down="mlp.c_proj",
        down_bias=True,
        gguf="gpt2",
    ),
    "gpt_neo": Family(
        name="GPT-Neo",
        base="transformer",
        blocks="h",
        attention="attn.attention",
        attn_out="attn",
        out_proj="attn.attention.out_proj",
        mlp_out="mlp",
        mid="ln_2",
        final_norm="ln_f",
        attention_norm="ln_1",
        window="window_size",
        seam="method",
        own_mask="bias",
        tuple_blocks=True,
        down="mlp.c_proj",
        down_bias=True,
    ),
    "gpt_neox": Family(
        name="GPT-NeoX / Pythia",
        base="gpt_neox",
        blocks="layers",
        attention="attention",
        attn_out="attention",
        out_proj="attention.dense",
        mlp_out="mlp",
        mid="post_attention_layernorm",
        final_norm="final_layer_norm",
        attention_norm="input_layernorm",
        parallel="use_parallel_residual",
        qkv="fused_per_head",
        projections=("query_key_value",),
        down="mlp.dense_4h_to_h",
        down_bias=True,
        gguf="gptneox",
    ),
    "gptj": Family(
        name="GPT-J",
        base="transformer",
        blocks="h",
        attention="attn",
        attn_out="attn",
        out_proj="attn.out_proj",
        mlp_out="mlp",
        mid="mlp",
        final_norm="ln_f",
        attention_norm="ln_1",
        parallel=True,
        seam="method",
        score_divisor="scale_attn",
        tuple_blocks=True,
        down="mlp.fc_out",
        down_bias=True,
    ),
    "llama": _llama_like("Llama", down_bias="mlp_bias", gguf="llama"),
    "mistral": _llama_like("Mistral", gguf="llama"),
    "qwen2": _llama_like("Qwen 2", gguf="qwen2"),
    "qwen3": _llama_like("Qwen 3", gguf="qwen3"),
    "gemma": _llama_like("Gemma", norm_offset=1.0, gguf="gemma"),
    "gemma2": _llama_like("Gemma 2", gguf="gemma2", **_GEMMA_SANDWICH),
    "gemma3_text": _llama_like("Gemma 3", gguf="gemma3", **_GEMMA_SANDWICH),
    "phi3": _llama_like("Phi-3", qkv="fused_groups", projections=("qkv_proj",), gguf="phi3"),
    "opt": Family(
        name="OPT",
        base="model.decoder",
        blocks="layers",
        attention="self_attn",
        attn_out="self_attn",
        out_proj="self_attn.out_proj",
        mlp_out="fc2",
        mid="final_layer_norm",
        final_norm="final_layer_norm",
        attention_norm="self_attn_layer_norm",
        pre_norm="do_layer_norm_before",
        down="fc2",
        down_bias=True,
    ),
    "olmo2": _llama_like(
        "OLMo 2",
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        mid="mlp",
        attention_norm=None,
        down=None,
        gguf="olmo2",
    ),
    "stablelm": _llama_like("StableLM", parallel="use_parallel_residual", gguf="stablelm"),
}
"""Rows by Hugging Face ``config.model_type``."""


LARGER: dict[str, dict[str, str]] = {
    "gemma3": {
        r"^model\.language_model\.": "model.",
        r"^language_model\.model\.": "model.",
        r"^language_model\.lm_head": "lm_head",
    },
}
"""Models that also see pictures: what the language model's tensors are called there, as patterns, and their own names."""

TOWERS = r"(model\.)?(vision_tower|multi_modal_projector)\."
"""Tensors of a larger model that the language model does without."""


def language_config(config: Any) -> Any:
    """The part of a Hugging Face config that describes the language model (one that also sees pictures has several).

    Raises:
        EmotionCircuitsError: a larger model whose text alone is not known to go through that part alone.
    """
    if getattr(config, "text_config", None) is None:
        return config
    if config.model_type not in LARGER:
        raise EmotionCircuitsError(
            f"architecture {config.model_type!r} holds a language model beside other towers, and is not one of those known "
            f"here: {', '.join(sorted(LARGER))}. Save its language model alone and load that folder"
        )
    return config.get_text_config()


def family_of(config: Any) -> Family:
    """The row for a Hugging Face config.

    Raises:
        EmotionCircuitsError: no row for this architecture, or a variant the row does not describe.
    """
    model_type = getattr(config, "model_type", None)
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise EmotionCircuitsError(
            f"no family row for architecture {model_type!r}; supported: {', '.join(sorted(FAMILIES))}. "
            "To add one, see docs/families.md (one row in emotion_circuits/model/families.py and a tiny test config)."
        )
    if family.pre_norm is not None and not getattr(config, family.pre_norm):
        raise EmotionCircuitsError(
            f"{family.name} with {family.pre_norm}=False (post-norm, e.g. opt-350m) is not described by the family "
            "table: its residual stream is normalised between blocks. Use a pre-norm model of the family."
        )
    if getattr(config, "use_bidirectional_attention", False):
        raise EmotionCircuitsError(
            f"{family.name} with use_bidirectional_attention: every token sees the later ones (a model for embeddings), so it "
            "continues no text. Use a causal model of the family."
        )
    return family


def at_path(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted attribute path.

    Raises:
        EmotionCircuitsError: the model has no such part, so its family row does not describe it.
    """
    try:
        return module.get_submodule(path)
    except AttributeError as error:
        raise EmotionCircuitsError(
            f"{type(module).__name__} has no part {path!r} ({error}); its row in the family table does not describe "
            "this model, see docs/families.md"
        ) from error
