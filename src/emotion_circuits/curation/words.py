"""What words and lengths fitted on some corpora tell about others: the figures that a reading of states stands beside."""

from __future__ import annotations

from collections.abc import Sequence

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from emotion_circuits.curation.surface import Accuracy, accuracy_of, decided, length_only
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import corpus_of, load_prompts

__all__ = ["across_sets"]


def across_sets(fit: Sequence[str], scored: Sequence[str], labels: Sequence[str]) -> tuple[Accuracy, ...]:
    """Tuned n-grams and length alone, fitted on the train splits of corpora and scored on test splits.

    The n-grams (words, characters, both) and their regularisation are chosen on the validation splits, every corpus counting
    the same, as a reader of states is chosen (:func:`~emotion_circuits.directions.baseline.word_readers`).

    Args:
        fit: corpora with a train and a validation split.
        scored: corpora with a test split.
        labels: labels that are told apart.

    Returns:
        Two figures per scored corpus, named ``CORPUS: what is read``.

    Raises:
        EmotionCircuitsError: a corpus that is not there, or no row in a split.

    Example:
        >>> found = across_sets(["implicit"], ["implicit-fresh"], ["gratitude", "anger", "apology", "neutral"])
        >>> [(a.name, a.rows) for a in found]
        [('implicit-fresh: tuned n-grams', 120), ('implicit-fresh: length alone', 120)]
    """
    from emotion_circuits.directions.baseline import word_readers  # torch, which checking a corpus needs nothing of

    train = load_prompts(fit, split="train", labels=labels)
    held = load_prompts(fit, split="validation", labels=labels)
    texts, truth = [row.text for row in train], [row.label for row in train]
    ngrams = word_readers(
        texts, truth, [row.text for row in held], [row.label for row in held],
        held_corpora=[corpus_of(row.set) for row in held],
    )[0]  # fmt: skip
    with threadpool_limits(1):
        lengths = length_only().fit(texts, truth)
    found = []
    for name in scored:
        rows = load_prompts(name, split="test", labels=labels)
        if not rows:
            raise EmotionCircuitsError(f"{name}: no row of its test split is labelled {', '.join(labels)}")
        own = [row.text for row in rows]
        for what, judged in (("tuned n-grams", ngrams.read(own)), ("length alone", decided(lengths, own))):
            found.append(accuracy_of(f"{name}: {what}", list(judged), rows))
    return tuple(found)
