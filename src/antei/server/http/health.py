"""/version, /livez, /readyz and /healthz, which need no token."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

import msgspec

from antei import __version__
from antei.server.http.exchange import Exchange

__all__ = ["KUBERNETES_VERSION", "Health", "version_info"]

KUBERNETES_VERSION = "v1.37.0"
_CHECKS = ("livez", "readyz", "healthz")


def version_info() -> dict[str, str]:
    return {
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": f"{KUBERNETES_VERSION}+antei{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"python{platform.python_version()}",
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


class Health:
    """Answers from named checks: functions that say whether something is as it should be."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]]) -> None:
        self._checks = checks

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was one of these."""
        parts = exchange.path.strip("/").split("/")
        if parts == ["version"]:
            await exchange.respond(msgspec.json.encode(version_info()))
            return True
        if parts[0] not in _CHECKS or len(parts) > 2:
            return False
        results = {name: check() for name, check in {"ping": lambda: True, **self._checks}.items()}
        if len(parts) == 2:
            if parts[1] not in results:
                return False
            results = {parts[1]: results[parts[1]]}
        await self._answer(exchange, parts[0], results)
        return True

    async def _answer(self, exchange: Exchange, path: str, results: Mapping[str, bool]) -> None:
        excluded = exchange.query.get("exclude", "")
        results = {name: passed for name, passed in results.items() if name != excluded}
        passed = all(results.values())
        lines = [f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld" for name, good in results.items()]
        lines.append(f"{path} check {'passed' if passed else 'failed'}")
        text = "\n".join(lines) + "\n" if "verbose" in exchange.query or not passed else "ok"
        await exchange.respond(text.encode(), 200 if passed else 500, b"text/plain; charset=utf-8")
