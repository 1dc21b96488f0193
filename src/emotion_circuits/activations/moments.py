"""Count, mean and covariance per label in one pass, for corpora that do not fit on disk.

Batches are merged by the pairwise formula of Chan, Golub & LeVeque (1983), in float64: nothing is lost by subtracting
large sums, and the result does not depend on how the rows were cut into batches (up to rounding).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.activations.pooling import FRAME, READABLE, batches_by_length, run_batch, stateless
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import replacing, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt

__all__ = ["Moments", "capture_moments"]


class Moments:
    """Running moments of states ``[layer, row, d]`` per label.

    Attributes:
        labels: names.
        count: ``[label]`` rows seen.
        mean: ``[label, layer, d]``, float64.
        scatter: ``[label, layer, d, d]`` sum of outer products of deviations from the mean, float64.
    """

    def __init__(self, labels: Sequence[str], layers: int, d: int) -> None:
        self.labels = tuple(labels)
        self.count = torch.zeros(len(self.labels), dtype=torch.long)
        self.mean = torch.zeros(len(self.labels), layers, d, dtype=torch.float64)
        self.scatter = torch.zeros(len(self.labels), layers, d, d, dtype=torch.float64)

    def _row(self, label: str) -> int:
        try:
            return self.labels.index(label)
        except ValueError:
            raise EmotionCircuitsError(f"no moments of {label!r}; labels: {', '.join(self.labels)}") from None

    def update(self, states: Float[Tensor, "layer row d"], labels: Int[Tensor, " row"]) -> None:
        """Take a batch in.

        Args:
            states: finite states.
            labels: index into :attr:`labels` per row.

        Raises:
            EmotionCircuitsError: wrong shape, NaN or infinity.
        """
        if states.dim() != 3 or states.shape[0] != self.mean.shape[1] or states.shape[2] != self.mean.shape[2]:
            raise EmotionCircuitsError(
                f"moments of [{self.mean.shape[1]} layers, row, {self.mean.shape[2]}] cannot take {list(states.shape)}"
            )
        if not bool(torch.isfinite(states).all()):
            raise EmotionCircuitsError("moments: states hold NaN or infinity; run the model in float32 or bfloat16")
        for k in labels.unique().tolist():
            x = states[:, labels == k].double()
            mean = x.mean(1)
            x = x - mean[:, None]
            self._merge(int(k), x.shape[1], mean, x.transpose(1, 2) @ x)

    def merge(self, other: Moments) -> None:
        """Take in what another pass has seen.

        Raises:
            EmotionCircuitsError: other labels or shapes.
        """
        if other.labels != self.labels or other.mean.shape != self.mean.shape:
            raise EmotionCircuitsError("moments can be merged only where labels, layers and width are the same")
        for k in range(len(self.labels)):
            if int(other.count[k]):
                self._merge(k, int(other.count[k]), other.mean[k], other.scatter[k])

    def _merge(self, k: int, n: int, mean: Tensor, scatter: Tensor) -> None:
        before = int(self.count[k])
        total = before + n
        delta = mean - self.mean[k]
        self.scatter[k] += scatter
        self.scatter[k] += delta[:, :, None] * delta[:, None, :] * (before * n / total)
        self.mean[k] += delta * (n / total)
        self.count[k] = total

    def covariance(self, label: str) -> Float[Tensor, "layer d d"]:
        """Unbiased covariance of one label.

        Raises:
            EmotionCircuitsError: fewer than two rows.
        """
        k = self._row(label)
        if int(self.count[k]) < 2:
            raise EmotionCircuitsError(f"a covariance of {label!r} needs 2 rows, {int(self.count[k])} were seen")
        result: Tensor = self.scatter[k] / (int(self.count[k]) - 1)
        return result

    def mean_difference(self, label: str, reference: str = "neutral") -> Float[Tensor, "layer d"]:
        """Difference of means, the direction of every layer."""
        result: Tensor = self.mean[self._row(label)] - self.mean[self._row(reference)]
        return result

    def save(self, folder: Path | str, name: str = "moments") -> None:
        """Write ``<name>.safetensors`` and ``<name>.json``."""
        folder = Path(folder)
        with replacing(folder / f"{name}.safetensors") as temporary:
            save_file({"count": self.count, "mean": self.mean, "scatter": self.scatter}, temporary)
        write_json(folder / f"{name}.json", {"labels": list(self.labels), "count": self.count.tolist()})

    @classmethod
    def load(cls, folder: Path | str, name: str = "moments") -> Moments:
        """Read saved moments.

        Raises:
            EmotionCircuitsError: missing or damaged.
        """
        folder = Path(folder)
        try:
            labels = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["labels"]
            with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
                mean = file.get_tensor("mean")
                result = cls(labels, mean.shape[1], mean.shape[2])
                result.mean, result.count = mean, file.get_tensor("count")
                result.scatter = file.get_tensor("scatter")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise EmotionCircuitsError(f"{folder}: no readable moments here ({error})") from error
        return result


class _Buffer:
    """States held back until there are many of a label.

    Adding to ``[layer, d, d]`` sums costs the same for one row as for hundreds, and is what a pass would otherwise spend
    its time on.
    """

    ROWS = 512

    def __init__(self, moments: Moments, dtype: torch.dtype) -> None:
        layers, d = moments.mean.shape[1:]
        self.moments = moments
        self.held = torch.empty(len(moments.labels), layers, self.ROWS, d, dtype=dtype)
        self.count = [0] * len(moments.labels)

    def put(self, states: Float[Tensor, "layer row d"], labels: Int[Tensor, " row"]) -> None:
        for k in labels.unique().tolist():
            rows = states[:, labels == k]
            while rows.shape[1]:
                room = self.ROWS - self.count[k]
                part, rows = rows[:, :room], rows[:, room:]
                self.held[k, :, self.count[k] : self.count[k] + part.shape[1]] = part
                self.count[k] += part.shape[1]
                if self.count[k] == self.ROWS:
                    self.flush(k)

    def flush(self, k: int) -> None:
        if self.count[k]:
            labels = torch.full((self.count[k],), k)
            self.moments.update(self.held[k, :, : self.count[k]], labels)
            self.count[k] = 0


def _chunks(items: Iterable[Prompt], size: int) -> Iterator[list[Prompt]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


@torch.inference_mode()
def capture_moments(
    model: LanguageModel,
    prompts: Iterable[Prompt],
    labels: Sequence[str],
    *,
    kinds: Sequence[str] = ("resid_post",),
    pooling: str = "last",
    layers: Sequence[int] | None = None,
    batch_tokens: int = 1024,
    chunk: int = 2048,
    frame: str = FRAME,
) -> dict[str, Moments]:
    """Moments of pooled states over a stream of sentences; memory does not depend on how many there are.

    Args:
        model: the model.
        prompts: any iterable; sentences are taken ``chunk`` at a time and sorted by length within the chunk.
        labels: the labels to keep apart; a sentence with another label is an error.
        kinds: site kinds with one state per token.
        pooling: ``last``, ``mean``, ``weighted`` or ``frame``.
        layers: all by default.
        batch_tokens: upper bound of tokens in one forward pass.
        chunk: sentences held at a time.
        frame: the words of pooling ``frame``.

    Returns:
        Moments by kind.

    Raises:
        EmotionCircuitsError: unknown label or pooling, a sentence without tokens, non-finite states.
    """
    if pooling not in READABLE:
        raise EmotionCircuitsError(f"moments need a pooling among {', '.join(READABLE)}; got {pooling!r}")
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    found: dict[str, _Buffer] = {}
    place = {label: i for i, label in enumerate(labels)}
    with progress_bar(f"moments of {model.name}", None) as bar:
        for part in _chunks(prompts, chunk):
            for prompt in part:
                if prompt.label not in place:
                    raise EmotionCircuitsError(f"sentence {prompt.id}: label {prompt.label!r} is none of {labels}")
            ids: list[list[int]] = model.tokenizer([p.text for p in part], add_special_tokens=True)["input_ids"]
            lengths = torch.tensor([len(row) for row in ids])
            missing = stateless(pooling, lengths) | ((lengths == 0) & (pooling != "frame"))
            if bool(missing.any()):
                short = part[int(missing.nonzero()[0, 0])].id
                raise EmotionCircuitsError(f"sentence {short} has too few tokens for pooling {pooling!r}")
            for rows in batches_by_length(ids, batch_tokens):
                states = run_batch(model, [ids[i] for i in rows], kinds, chosen, pooling, frame)
                targets = torch.tensor([place[part[i].label] for i in rows])
                for kind, values in states.items():
                    if kind not in found:
                        found[kind] = _Buffer(Moments(labels, len(chosen), values.shape[-1]), values.dtype)
                    found[kind].put(values, targets)
                bar.advance(len(rows))
    if not found:
        raise EmotionCircuitsError("nothing to measure: there are no sentences")
    for buffer in found.values():
        for k in range(len(labels)):
            buffer.flush(k)
    return {kind: buffer.moments for kind, buffer in found.items()}
