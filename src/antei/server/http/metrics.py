"""/metrics: what the program counts of itself, in the format that Prometheus reads.

The library that writes it is loaded when somebody asks, and writes in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from antei.server.http.exchange import Exchange
from antei.server.http.health import version_info
from antei.world.measures import Counter, Histogram, Labels, Measure, Measures, Sampled

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Metrics", "respond_measures"]


class Metrics:
    """Of the API server, and of the controllers, which are in its process."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        info = version_info()
        labels = {"major": "major", "minor": "minor", "git_version": "gitVersion", "platform": "platform"}
        measures.sampled(
            "kubernetes_build_info",
            "The version that is served; the value is always 1.",
            tuple(labels),
            lambda: [(tuple(info[name] for name in labels.values()), 1.0)],
        )

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was this one."""
        if exchange.path != "/metrics" or exchange.method not in ("GET", "HEAD"):
            return False
        await respond_measures(exchange, self._measures.all(), with_process=True)
        return True


async def respond_measures(exchange: Exchange, measures: Iterable[Measure], *, with_process: bool = False) -> None:
    seen = [(measure, _copied(measure)) for measure in measures]
    accept = (exchange.accept or b"").decode("latin-1")
    body, content_type = await asyncio.to_thread(_written, seen, accept, with_process)
    await exchange.respond(body, content_type=content_type.encode())


def _copied(measure: Measure) -> Mapping[Labels, Sequence[float]]:
    """The values of this moment, for they change while they are written in a thread."""
    if isinstance(measure, Histogram):
        return {labels: tuple(cells) for labels, cells in measure.values.items()}
    if isinstance(measure, Counter):
        return {labels: (value,) for labels, value in measure.values.items()}
    assert isinstance(measure, Sampled)
    return {labels: (value,) for labels, value in measure.sample()}


def _written(
    seen: Sequence[tuple[Measure, Mapping[Labels, Sequence[float]]]], accept: str, with_process: bool
) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    class Seen:
        def collect(self) -> Iterator[Metric]:
            for measure, values in seen:
                yield _family(measure, values)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Seen())
    if with_process:
        ProcessCollector(registry=registry)
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def _family(measure: Measure, values: Mapping[Labels, Sequence[float]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if isinstance(measure, Histogram):
        histogram = HistogramMetricFamily(measure.name, measure.text, labels=measure.labels)
        bounds = [*(_bound(bound) for bound in measure.bounds), "+Inf"]
        for labels, cells in values.items():
            counted, buckets = 0.0, []
            for bound, count in zip(bounds, cells, strict=False):
                counted += count
                buckets.append((bound, counted))
            histogram.add_metric(labels, buckets, cells[-1])
        return histogram
    is_counter = measure.name.endswith("_total")
    kind = CounterMetricFamily if is_counter else GaugeMetricFamily
    family = kind(measure.name, measure.text, labels=measure.labels)
    for labels, (value,) in values.items():
        family.add_metric(labels, value)
    return family


def _bound(bound: float) -> str:
    """As Go writes it: 0.5, 1, 60."""
    return f"{bound:g}"
