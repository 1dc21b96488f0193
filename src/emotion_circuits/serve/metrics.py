"""Figures of a server in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

__all__ = ["Metrics"]

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters and times; to be used by one thread."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[str] = Counter()
        self.unmoved = 0
        self._times: dict[str, list[float]] = {
            "request_seconds": [0.0] * (len(_BUCKETS) + 2), "first_token_seconds": [0.0] * (len(_BUCKETS) + 2),
        }  # fmt: skip

    def took(self, what: str, seconds: float) -> None:
        """Count a time: of ``request_seconds`` or ``first_token_seconds``."""
        row = self._times[what]
        for i, edge in enumerate(_BUCKETS):
            row[i] += seconds <= edge
        row[-2] += 1
        row[-1] += seconds

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it.

        Args:
            gauges: what holds at the moment, by name.
        """
        lines: list[str] = []

        def add(name: str, kind: str, about: str, rows: Mapping[str, float]) -> None:
            full = f"emotion_circuits_{name}"
            lines.extend([f"# HELP {full} {about}", f"# TYPE {full} {kind}"])
            lines.extend(f"{full}{labels} {value:g}" for labels, value in rows.items())

        add(
            "requests_total", "counter", "Requests by path and status.",
            {f'{{path="{path}",status="{status}"}}': n for (path, status), n in sorted(self.requests.items())},
        )  # fmt: skip
        add(
            "tokens_total", "counter", "Tokens read and written.",
            {f'{{kind="{kind}"}}': n for kind, n in sorted(self.tokens.items())},
        )  # fmt: skip
        add("unmoved_total", "counter", "Answers refused because their projection did not move.", {"": self.unmoved})
        for name, value in gauges.items():
            add(name, "gauge", "At the moment.", {"": value})
        for name, row in self._times.items():
            rows = {f'_bucket{{le="{edge:g}"}}': row[i] for i, edge in enumerate(_BUCKETS)}
            rows |= {'_bucket{le="+Inf"}': row[-2], "_count": row[-2], "_sum": row[-1]}
            add(name, "histogram", "Seconds.", rows)
        return "\n".join(lines) + "\n"
