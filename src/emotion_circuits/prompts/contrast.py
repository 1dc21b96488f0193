"""What a value is compared with: sentences of the reference or, where an attribute has none, those of all its other values.

Whoever subtracts, pairs or ranks against something asks here, so that both kinds of attribute go one way.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["compared_with", "labels_of"]


def labels_of(values: Sequence[str], reference: str | None) -> tuple[str, ...]:
    """What a text may be labelled: the values, then the reference where there is one.

    Example:
        >>> labels_of(["joy", "fear"], None)
        ('joy', 'fear')
    """
    return tuple(values) if reference is None else (*values, reference)


def compared_with(value: str, values: Sequence[str], reference: str | None) -> tuple[str, ...]:
    """Labels whose mean a value stands against, each counting the same.

    Example:
        >>> compared_with("joy", ["joy", "fear"], "plain"), compared_with("joy", ["joy", "fear", "shame"], None)
        (('plain',), ('fear', 'shame'))
    """
    return tuple(other for other in values if other != value) if reference is None else (reference,)
