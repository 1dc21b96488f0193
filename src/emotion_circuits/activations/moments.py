"""Count, mean and covariance per label in one pass, for corpora that do not fit on disk.

Batches are merged by the pairwise formula of Chan, Golub & LeVeque (1983), in float64: nothing is lost by subtracting
large sums, and the result does not depend on how the rows were cut into batches (up to rounding). Attention sinks are left
out as in a capture (:mod:`emotion_circuits.activations.sinks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.activations.pooling import FRAME, READABLE, batches_by_length, frame_tokens, run_batch
from emotion_circuits.activations.sinks import STREAM, Sinks, measure_sinks
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import replacing, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt
from emotion_circuits.record.notes import checked

__all__ = ["Moments", "capture_moments"]

_MEASURED = 128


class Moments:
    """Running moments of states ``[layer, row, d]`` per label.

    Attributes:
        labels: names.
        count: ``[label, layer]`` rows with a state at the layer.
        excluded: ``[label, layer]`` rows without one: attention sinks only.
        sinks: the rule by which tokens were left out, where states come from a model.
        mean: ``[label, layer, d]``, float64.
        scatter: ``[label, layer, d, d]`` sum of outer products of deviations from the mean, float64.
    """

    def __init__(self, labels: Sequence[str], layers: int, d: int) -> None:
        self.labels = tuple(labels)
        self.count = torch.zeros(len(self.labels), layers, dtype=torch.long)
        self.excluded = torch.zeros(len(self.labels), layers, dtype=torch.long)
        self.sinks: Sinks | None = None
        self.mean = torch.zeros(len(self.labels), layers, d, dtype=torch.float64)
        self.scatter = torch.zeros(len(self.labels), layers, d, d, dtype=torch.float64)

    def _row(self, label: str) -> int:
        try:
            return self.labels.index(label)
        except ValueError:
            raise EmotionCircuitsError(f"no moments of {label!r}; labels: {', '.join(self.labels)}") from None

    def update(
        self,
        states: Float[Tensor, "layer row d"],
        labels: Int[Tensor, " row"],
        absent: Bool[Tensor, "layer row"] | None = None,
    ) -> None:
        """Take a batch in.

        Args:
            states: finite states, but where there are none.
            labels: index into :attr:`labels` per row.
            absent: where there are none; everywhere some by default.

        Raises:
            EmotionCircuitsError: wrong shape, NaN or infinity.
        """
        if states.dim() != 3 or states.shape[0] != self.mean.shape[1] or states.shape[2] != self.mean.shape[2]:
            raise EmotionCircuitsError(
                f"moments of [{self.mean.shape[1]} layers, row, {self.mean.shape[2]}] cannot take {list(states.shape)}"
            )
        there = torch.ones(states.shape[:2], dtype=torch.bool) if absent is None else ~absent
        if not bool((torch.isfinite(states).all(-1) | ~there).all()):
            raise EmotionCircuitsError("moments: states hold NaN or infinity; run the model in float32 or bfloat16")
        for k in labels.unique().tolist():
            own = there[:, labels == k, None]
            x = torch.where(own, states[:, labels == k].double(), 0.0)
            n = own[:, :, 0].sum(1)
            mean = x.sum(1) / n.clamp(min=1)[:, None]
            x = torch.where(own, x - mean[:, None], 0.0)
            self.excluded[k] += own.shape[1] - n
            self._merge(int(k), n, mean, x.transpose(1, 2) @ x)

    def merge(self, other: Moments) -> None:
        """Take in what another pass has seen.

        Raises:
            EmotionCircuitsError: other labels or shapes.
        """
        if other.labels != self.labels or other.mean.shape != self.mean.shape:
            raise EmotionCircuitsError("moments can be merged only where labels, layers and width are the same")
        for k in range(len(self.labels)):
            self._merge(k, other.count[k], other.mean[k], other.scatter[k])
        self.excluded += other.excluded

    def _merge(self, k: int, n: Int[Tensor, " layer"], mean: Tensor, scatter: Tensor) -> None:
        before = self.count[k].clone()
        total = before + n
        share = n.double() / total.clamp(min=1)
        delta = mean - self.mean[k]
        self.scatter[k] += scatter
        self.scatter[k] += delta[:, :, None] * delta[:, None, :] * (before * share)[:, None, None]
        self.mean[k] += delta * share[:, None]
        self.count[k] = total

    def covariance(self, label: str) -> Float[Tensor, "layer d d"]:
        """Unbiased covariance of one label.

        Raises:
            EmotionCircuitsError: fewer than two rows at a layer.
        """
        k = self._row(label)
        fewest = int(self.count[k].min())
        if fewest < 2:
            raise EmotionCircuitsError(f"a covariance of {label!r} needs 2 rows, {fewest} were seen")
        result: Tensor = self.scatter[k] / (self.count[k] - 1)[:, None, None]
        return result

    def mean_difference(self, label: str, reference: str = "neutral") -> Float[Tensor, "layer d"]:
        """Difference of means, the direction of every layer."""
        result: Tensor = self.mean[self._row(label)] - self.mean[self._row(reference)]
        return result

    def save(self, folder: Path | str, name: str = "moments") -> None:
        """Write ``<name>.safetensors`` and ``<name>.json``."""
        folder = Path(folder)
        with replacing(folder / f"{name}.safetensors") as temporary:
            tensors = {"count": self.count, "excluded": self.excluded, "mean": self.mean, "scatter": self.scatter}
            save_file(tensors, temporary)
        write_json(
            folder / f"{name}.json",
            {
                "labels": list(self.labels),
                "count": self.count.tolist(),
                "excluded": self.excluded.tolist(),
                "sinks": None if self.sinks is None else self.sinks.to_json(),
            },
        )

    @classmethod
    def load(cls, folder: Path | str, name: str = "moments") -> Moments:
        """Read saved moments.

        Raises:
            EmotionCircuitsError: missing or damaged.
        """
        folder = Path(folder)
        try:
            note = loads(checked(folder / f"{name}.json").read_text(encoding="utf-8"))
            labels = note["labels"]
            with safe_open(checked(folder / f"{name}.safetensors"), framework="pt") as file:
                found = {name: file.get_tensor(name) for name in ("count", "excluded", "mean", "scatter")}
                layers, d = found["mean"].shape[1:]
                result, n = cls(labels, 0, 0), len(labels)
                shapes = {"count": (n, layers), "excluded": (n, layers), "mean": (n, layers, d)}
                for name, shape in {**shapes, "scatter": (n, layers, d, d)}.items():
                    if found[name].shape != shape:
                        raise ValueError(f"{name} is {tuple(found[name].shape)} where {shape} is needed")
                    setattr(result, name, found[name])
                result.sinks = Sinks.from_json(note["sinks"]) if note["sinks"] else None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
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
        self.absent = torch.zeros(len(moments.labels), layers, self.ROWS, dtype=torch.bool)
        self.count = [0] * len(moments.labels)

    def put(
        self, states: Float[Tensor, "layer row d"], labels: Int[Tensor, " row"], absent: Bool[Tensor, "layer row"]
    ) -> None:
        for k in labels.unique().tolist():
            rows, without = states[:, labels == k], absent[:, labels == k]
            while rows.shape[1]:
                room = self.ROWS - self.count[k]
                part, rows = rows[:, :room], rows[:, room:]
                at = slice(self.count[k], self.count[k] + part.shape[1])
                self.held[k, :, at], self.absent[k, :, at] = part, without[:, :room]
                without = without[:, room:]
                self.count[k] += part.shape[1]
                if self.count[k] == self.ROWS:
                    self.flush(k)

    def flush(self, k: int) -> None:
        if self.count[k]:
            labels = torch.full((self.count[k],), k)
            held = slice(0, self.count[k])
            self.moments.update(self.held[k, :, held], labels, self.absent[k, :, held])
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
    sinks: Sinks | None = None,
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
        sinks: which tokens are left out; measured on the first 128 sentences by default, whatever ``chunk`` is.

    Returns:
        Moments by kind. Sentences that hold nothing but sinks are counted as excluded, layer by layer.

    Raises:
        EmotionCircuitsError: unknown label or pooling, a sentence without tokens, non-finite states.
    """
    if pooling not in READABLE:
        raise EmotionCircuitsError(f"moments need a pooling among {', '.join(READABLE)}; got {pooling!r}")
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    found: dict[str, _Buffer] = {}
    place = {label: i for i, label in enumerate(labels)}
    stream = iter(prompts)
    first = list(islice(stream, _MEASURED))
    if not first:
        raise EmotionCircuitsError("nothing to measure: there are no sentences")
    if sinks is None:
        sinks = measure_sinks(
            model, [p.text for p in first], [k for k in kinds if k in STREAM], chosen, [p.id for p in first]
        )
    room = len(frame_tokens(model, frame)) if pooling == "frame" else 0
    with progress_bar(f"moments of {model.name}", None) as bar:
        for part in _chunks(chain(first, stream), chunk):
            for prompt in part:
                if prompt.label not in place:
                    raise EmotionCircuitsError(f"sentence {prompt.id}: label {prompt.label!r} is none of {labels}")
            ids = model.encode([p.text for p in part], room=room, names=[p.id for p in part]).ids
            for prompt, row in zip(part, ids, strict=True):
                if len(row) <= len(model.prefix):
                    raise EmotionCircuitsError(f"sentence {prompt.id} has no tokens for {model.name}")
            for rows in batches_by_length(ids, batch_tokens):
                states, absent = run_batch(model, [ids[i] for i in rows], kinds, chosen, pooling, sinks, frame)
                targets = torch.tensor([place[part[i].label] for i in rows])
                for kind, values in states.items():
                    if kind not in found:
                        found[kind] = _Buffer(Moments(labels, len(chosen), values.shape[-1]), values.dtype)
                        found[kind].moments.sinks = sinks
                    found[kind].put(values, targets, absent[kind])
                bar.advance(len(rows))
    for buffer in found.values():
        for k in range(len(labels)):
            buffer.flush(k)
    return {kind: buffer.moments for kind, buffer in found.items()}
