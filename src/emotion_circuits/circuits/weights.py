"""What a head's weights say: which tokens it would write, what it reads, how heads compose.

Conventions. A head's maps act on the residual stream *after* the norm that attention reads through, with that norm's
gain folded in (and the mean taken away for LayerNorm); the norm's division by the stream's length is left out, so gains
are up to one positive factor per token. Query and key maps are taken without rotary positions: they say what is matched
at the same position. Biases are left out. Behind a post-norm its gain is folded into the output map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from emotion_circuits.directions import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import at_path
from emotion_circuits.model.token_texts import token_text

__all__ = [
    "HeadWeights",
    "alignment",
    "composition",
    "copying_score",
    "head_weights",
    "weights_table",
    "written_tokens",
]


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """One head's maps, ``x`` being the normed residual stream as a row vector.

    Attributes:
        q: ``[d_model, d_head]``, ``query = x @ q``.
        k: ``[d_model, d_head]``.
        v: ``[d_model, d_head]``.
        o: ``[d_head, d_model]``, what is added is ``z @ o``.
    """

    q: Float[Tensor, "d_model d_head"]
    k: Float[Tensor, "d_model d_head"]
    v: Float[Tensor, "d_model d_head"]
    o: Float[Tensor, "d_head d_model"]

    @property
    def ov(self) -> Float[Tensor, "d_model d_model"]:
        """From what is attended to, to what is written."""
        return self.v @ self.o


def _fold(model: LanguageModel, norm: nn.Module | None, weight: Float[Tensor, "d_model out"]) -> Tensor:
    if norm is None:
        return weight
    folded = model.family.gain(norm)[:, None] * weight
    return folded - folded.mean(0) if isinstance(norm, nn.LayerNorm) else folded


def _projections(model: LanguageModel, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value weights ``[head, d_model, d_head]``, key and value heads expanded to query heads."""
    family = model.family
    attention = at_path(model.blocks[layer], family.attention)
    raw = [at_path(attention, path).weight.detach().float() for path in family.projections]  # type: ignore[operator,union-attr]
    heads, groups, width = model.n_heads, model.n_kv_heads, model.d_head
    if family.qkv == "separate":
        q, k, v = raw
    elif family.qkv == "fused_thirds":
        q, k, v = (raw[0].T if family.conv1d else raw[0]).chunk(3)
    elif family.qkv == "fused_groups":
        q, k, v = raw[0].split([heads * width, groups * width, groups * width])
    else:  # [q | k | v] inside each head
        q, k, v = (part.flatten(0, 1) for part in raw[0].unflatten(0, (heads, 3, width)).unbind(1))
    out = []
    for weight in (q, k, v):
        each = weight.unflatten(0, (-1, width)).transpose(1, 2)
        out.append(each.repeat_interleave(heads // each.shape[0], dim=0))
    return out[0], out[1], out[2]


def head_weights(model: LanguageModel, node: Node) -> HeadWeights:
    """A head's maps with the norms folded in, in float32.

    Raises:
        EmotionCircuitsError: not a head.
    """
    if node.kind != "head":
        raise EmotionCircuitsError(f"{node} is not a head; write L3H2")
    model.check_site(node.site)
    block = model.blocks[node.layer]
    norm = at_path(block, model.family.attention_norm) if model.family.attention_norm else None
    q, k, v = (_fold(model, norm, w[node.head]) for w in _projections(model, node.layer))
    o = model.out_projection(node.layer)[node.head].detach().float()
    if model.family.post_norm is not None:
        o = o * model.family.gain(at_path(block, model.family.post_norm))
    return HeadWeights(q, k, v, o)


def _reading_unembedding(model: LanguageModel) -> Float[Tensor, "d_model vocabulary"]:
    weight: Tensor = model.unembedding.weight.detach().float().T  # type: ignore[union-attr,operator]
    return _fold(model, at_path(model.base, model.family.final_norm), weight)


def _input_directions(model: LanguageModel, tokens: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
    rows: Tensor = model.hf.get_input_embeddings().weight.detach().float()[tokens]
    unit: Tensor = rows / rows.norm(dim=-1, keepdim=True)
    return unit


@torch.no_grad()
def written_tokens(model: LanguageModel, node: Node, words: Sequence[str], *, top: int = 10) -> pd.DataFrame:
    """Which next tokens a head raises and lowers most when it attends to a word, by its full OV map.

    The word's first token goes from the embedding through OV, the final norm's gain and the unembedding; what earlier
    blocks would have added to it is left out.

    Args:
        model: the model.
        node: the head.
        words: words as they stand in text (with their leading space).
        top: tokens on each side.

    Returns:
        One row per word: ``raised`` and ``lowered`` tokens, and ``own_rank``: the word's own rank (1 is first).
    """
    ids = [row[0] for row in model.continuing(words)]
    ov, unembed = head_weights(model, node).ov, _reading_unembedding(model)
    logits = _input_directions(model, torch.tensor(ids, device=ov.device)) @ ov @ unembed
    rows = []
    for word, token, row in zip(words, ids, logits, strict=True):
        order = row.argsort(descending=True)
        rows.append(
            {
                "word": word,
                "raised": [token_text(model.tokenizer, int(t)) for t in order[:top]],
                "lowered": [token_text(model.tokenizer, int(t)) for t in order.flip(0)[:top]],
                "own_rank": int((order == token).nonzero()[0, 0]) + 1,
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def copying_score(model: LanguageModel, node: Node) -> float:
    """Sum of the eigenvalues of the full OV circuit (vocabulary to vocabulary) over the sum of their sizes, in [−1, 1].

    1: whatever is attended to is made more likely; about 0: no copying (Elhage et al. 2021).
    """
    weights = head_weights(model, node)
    embedding: Tensor = model.hf.get_input_embeddings().weight.detach().float()
    # The non-zero eigenvalues of W_E·V·O·W_U are those of the small matrix O·W_U·W_E·V.
    small = (weights.o @ _reading_unembedding(model)) @ (embedding @ weights.v)
    values = torch.linalg.eigvals(small.double())
    return float(values.real.sum() / values.abs().sum())


@torch.no_grad()
def alignment(
    model: LanguageModel,
    nodes: Sequence[Node],
    direction: Float[Tensor, " d_model"],
    *,
    n_random: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """How strongly each head writes and reads a direction, relative to random directions.

    Args:
        model: the model.
        nodes: heads.
        direction: e.g. an emotion vector; any length.
        n_random: random unit directions for the null.
        seed: of the null.

    Returns:
        One row per head: ``writes`` ``‖OV·d‖`` (the OV map's output on ``d``), ``writes_along`` ``d·OV·d``, ``output``
        ``‖O·d‖`` (does it write along ``d``), ``reads_v``, ``reads_k``, ``reads_q``, each divided by the root mean
        square of the same figure over random directions (1 is chance), with ``…_p``: share of random ones as high.
    """
    generator = torch.Generator().manual_seed(seed)
    device = model.device
    random = torch.nn.functional.normalize(torch.randn(n_random, model.d_model, generator=generator), dim=-1).to(device)
    unit = torch.nn.functional.normalize(direction.detach().float().to(device), dim=-1)[None]
    rows = []
    for node in nodes:
        w = head_weights(model, node)
        ov = w.ov
        row: dict[str, object] = {"node": str(node)}
        measures = {
            "writes": lambda d, ov=ov: (d @ ov).norm(dim=-1),
            "writes_along": lambda d, ov=ov: ((d @ ov) * d).sum(-1),
            "output": lambda d, w=w: (d @ w.o.T).norm(dim=-1),
            "reads_v": lambda d, w=w: (d @ w.v).norm(dim=-1),
            "reads_k": lambda d, w=w: (d @ w.k).norm(dim=-1),
            "reads_q": lambda d, w=w: (d @ w.q).norm(dim=-1),
        }
        for name, measure in measures.items():
            value, null = measure(unit)[0], measure(random)  # type: ignore[no-untyped-call]
            row[name] = float(value / null.square().mean().sqrt().clamp(min=1e-12))
            row[f"{name}_p"] = float(((null.abs() >= value.abs()).sum() + 1) / (n_random + 1))
        rows.append(row)
    return pd.DataFrame(rows)


@torch.no_grad()
def weights_table(
    model: LanguageModel, chosen: Sequence[Node], directions: DirectionSet, *, shuffles: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Do chosen heads write and read the emotions' directions more than other heads of their layers?

    Random directions are too easy a null (activations of any kind fill few dimensions), so the comparison is with the
    other heads of the same layers. A head in layer ``L`` reads the directions of ``L − 1`` and writes those of ``L``.

    Args:
        model: the model.
        chosen: heads.
        directions: emotion directions by layer (``resid_post``).
        shuffles: random choices of as many heads per layer.
        seed: of the shuffles.

    Returns:
        One row per figure and emotion: mean over the chosen heads, mean over the others of their layers, and ``p``, the
        share of random choices with as high a mean (with the +1 correction). Figures are those of :func:`alignment`
        (relative to random directions), and ``copying`` (:func:`copying_score`, no emotion).
    """
    layers = sorted({n.layer for n in chosen if n.layer > 0 and {n.layer, n.layer - 1} <= set(directions.layers)})
    pool = [Node("head", layer, head) for layer in layers for head in range(model.n_heads)]
    mine = np.array([n in set(chosen) for n in pool])
    rng = np.random.default_rng(seed)
    layer_of = np.array([n.layer for n in pool])
    keys = rng.random((shuffles, len(pool)))
    drawn = np.zeros((shuffles, len(pool)), dtype=bool)
    for layer in layers:
        inside = np.flatnonzero(layer_of == layer)
        count = int(mine[inside].sum())
        best = np.argsort(keys[:, inside], axis=1)[:, :count]
        np.put_along_axis(drawn, inside[best], True, axis=1)
    figures: dict[tuple[str, str], np.ndarray] = {("copying", ""): np.array([copying_score(model, n) for n in pool])}
    for label in directions.labels:
        row = directions.row(label)
        columns: dict[str, list[float]] = {"reads_v": [], "reads_q": [], "reads_k": [], "output": []}
        for node in pool:
            reading = directions.vectors[row, directions.place(node.layer - 1)]
            writing = directions.vectors[row, directions.place(node.layer)]
            read = alignment(model, [node], reading, n_random=100, seed=seed).iloc[0]
            columns["output"].append(
                float(alignment(model, [node], writing, n_random=100, seed=seed).iloc[0]["output"])
            )
            for name in ("reads_v", "reads_q", "reads_k"):
                columns[name].append(float(read[name]))
        figures |= {(name, label): np.array(values) for name, values in columns.items()}
    rows = []
    for (name, label), values in figures.items():
        null = (drawn * values).sum(1) / drawn.sum(1)
        found = float(values[mine].mean())
        rows.append(
            {
                "figure": name, "emotion": label, "chosen": found, "others": float(values[~mine].mean()),
                "null_low": float(np.quantile(null, 0.025)), "null_high": float(np.quantile(null, 0.975)),
                "p": float(((null >= found - 1e-12).sum() + 1) / (shuffles + 1)), "heads": int(mine.sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@torch.no_grad()
def composition(
    model: LanguageModel, pairs: Sequence[tuple[Node, Node]], *, seed: int = 0, n_random: int = 20
) -> pd.DataFrame:
    """How much a later head's query, key and value maps read of what an earlier head writes (Elhage et al. 2021).

    ``‖OV₁·W₂‖_F / (‖OV₁‖_F ‖W₂‖_F)`` with ``W₂`` the later head's value map (V), or its query-key form read from either
    side (Q, K).

    Args:
        model: the model.
        pairs: (earlier head, later head).
        seed: of the null.
        n_random: random maps of the same shapes for ``chance``.

    Returns:
        One row per pair: ``q``, ``k``, ``v`` and ``chance``.

    Raises:
        EmotionCircuitsError: the second head does not come after the first.
    """
    generator = torch.Generator().manual_seed(seed)
    d, e = model.d_model, model.d_head

    def random() -> Tensor:
        return torch.randn(d, e, generator=generator) @ torch.randn(e, d, generator=generator)

    def score(first: Tensor, second: Tensor) -> float:
        return float((first @ second).norm() / (first.norm() * second.norm()).clamp(min=1e-12))

    chance = sum(score(random(), random()) for _ in range(n_random)) / n_random
    rows = []
    for early, late in pairs:
        if late.layer <= early.layer:
            raise EmotionCircuitsError(f"{late} does not come after {early}: heads compose from layer to layer")
        a, b = head_weights(model, early), head_weights(model, late)
        qk = b.q @ b.k.T
        scores = {"q": score(a.ov, qk), "k": score(a.ov, qk.T), "v": score(a.ov, b.ov)}
        rows.append({"early": str(early), "late": str(late), **scores, "chance": chance})
    return pd.DataFrame(rows)
