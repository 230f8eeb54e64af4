"""The metrics of several worker processes as if they were one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_NOT_MERGED = "_created"


class MergedMetrics(Collector):
    """Adds up what ``texts`` returns: each worker's metrics in Prometheus's text format, None for a silent one."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, texts: Callable[[], Sequence[str | None]]) -> None:
        self._texts = texts
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> list[Metric]:
        return []  # else registering would ask the workers

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for text in self._texts():
            for family in text_string_to_metric_families(text or ""):
                families.setdefault(family.name, family)
                sums = values.setdefault(family.name, {})
                for sample in family.samples:
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    before = sums.get(key, 0.0)
                    sums[key] = max(before, sample.value) if _is_level(family) else before + sample.value
        for name, family in families.items():
            merged = Metric(name, family.documentation, family.type)
            for (sample_name, labels), value in values[name].items():
                if not sample_name.endswith(_NOT_MERGED):
                    merged.add_sample(sample_name, dict(labels), value)
            yield merged

    def render(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)


def _is_level(family: Metric) -> bool:
    """Whether the worst process's value counts, as for a delay; numbers of things are added up."""
    return family.type == "gauge" and family.name.endswith(("_seconds", "_ratio"))
