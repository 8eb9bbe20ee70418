"""Mistakes of antei's own: an exception where nobody foresaw one, in something that has to go on all the same.

Whoever runs the loop decides what a mistake means, by the loop's exception handler: asyncio's own logs it with its
traceback, the virtual loop's fails the run.
"""

from __future__ import annotations

import asyncio

__all__ = ["report_mistake"]


def report_mistake(what: str, error: Exception) -> None:
    """`what` went wrong, in words; the caller goes on without it. To be called on a running loop."""
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": error})
