"""Times and durations as the runtime takes them inside of lists and maps."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["duration_value", "timestamp_value"]


def timestamp_value(moment: datetime) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(moment)
    return value


def duration_value(length: timedelta) -> Duration:
    value = Duration()
    value.FromTimedelta(length)
    return value
