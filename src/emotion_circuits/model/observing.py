"""Watch a model: ``with observe(model, sites) as record: ...``.

Watching never changes a bit of the model's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.sites import Site
from emotion_circuits.model.wiring import Watcher, wiring_of

__all__ = ["Record", "observe"]


class Record(Mapping[Site, Tensor]):
    """What was seen: ``record[Site("resid_post", 9)]`` is the value of the latest forward pass; the site's name will do.

    With ``keep="all"``, :meth:`passes` gives one tensor per forward pass (e.g. per decoding step).
    """

    def __init__(self, keep: str) -> None:
        self._keep = keep
        self._seen: dict[Site, list[Tensor]] = {}

    def _put(self, site: Site, value: Tensor) -> None:
        if self._keep == "all":
            self._seen.setdefault(site, []).append(value)
        else:
            self._seen[site] = [value]

    def __getitem__(self, site: Site | str) -> Tensor:
        return self.passes(site)[-1]

    def passes(self, site: Site | str) -> list[Tensor]:
        """Every recorded pass of a site, oldest first."""
        site = Site.of(site)
        if site not in self._seen:
            raise EmotionCircuitsError(
                f"{site} was not recorded: it was not asked for, or the model has not been run yet"
            )
        return self._seen[site]

    def __contains__(self, site: object) -> bool:
        try:
            return isinstance(site, Site | str) and Site.of(site) in self._seen
        except EmotionCircuitsError:  # a name of nothing
            return False

    def get(self, site: Site | str, default: Any = None) -> Any:
        """The latest value, or ``default`` where the site was not recorded."""
        return self.passes(site)[-1] if site in self else default

    def __iter__(self) -> Iterator[Site]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def clear(self) -> None:
        """Forget what was seen."""
        self._seen.clear()


@contextmanager
def observe(
    model: LanguageModel,
    sites: Iterable[Site | str],
    *,
    detach: bool = True,
    keep: str = "last",
    transform: Callable[[Site, Tensor], Tensor] | None = None,
) -> Iterator[Record]:
    """Record the values at ``sites`` in every forward pass inside the ``with`` block.

    Args:
        model: the model.
        sites: what to watch; shapes in :mod:`emotion_circuits.model.sites`. Names will do, TransformerLens' among them.
        detach: cut records off the autograd graph (set ``False`` to differentiate through them).
        keep: ``last`` pass only, or ``all`` passes.
        transform: applied to each value before it is kept (e.g. pooling, so that full activations are never held).

    Raises:
        SiteUnavailableError: the model has no such site.
    """
    if keep not in ("last", "all"):
        raise EmotionCircuitsError(f"keep must be 'last' or 'all', got {keep!r}")
    record = Record(keep)
    wanted = list(dict.fromkeys(map(Site.of, sites)))
    for site in wanted:
        model.check_site(site)

    def watcher(site: Site) -> Watcher:
        def watch(value: Tensor) -> None:
            if detach:
                value = value.detach()
            if site.head is not None:
                value = value[:, :, site.head]
            elif site.kind in ("scores", "pattern"):
                value = value.transpose(1, 2)
            # A copy where it is kept as it is: the model may reuse or overwrite the tensor (in-place residual edits).
            value = transform(site, value) if transform is not None else value.clone()
            record._put(site, value)

        return watch

    watchers = [((site.kind, site.layer), watcher(site)) for site in wanted]
    wiring = wiring_of(model)
    wiring.add(watchers=watchers)
    try:
        yield record
    finally:
        wiring.remove(watchers=watchers)
