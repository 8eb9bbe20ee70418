"""Times and durations as the runtime takes them inside of lists and maps.

protobuf is loaded by the first of them only, as the runtime is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["duration_value", "timestamp_value"]


def timestamp_value(moment: datetime) -> Timestamp:
    from google.protobuf.timestamp_pb2 import Timestamp

    value = Timestamp()
    value.FromDatetime(moment)
    return value


def duration_value(length: timedelta) -> Duration:
    from google.protobuf.duration_pb2 import Duration

    value = Duration()
    value.FromTimedelta(length)
    return value
