"""What a simulated container does, as data: when it listens, how it answers, how it ends.

Times are seconds since the container started. Where a value may be a function, it is called with that time, so
that "200 until second 30, then 500" is one line: `lambda seconds: HttpAnswer(200 if seconds < 30 else 500)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeAlias

__all__ = [
    "NOBODYS_PORT",
    "ContainerProfile",
    "ExecAnswer",
    "ExecFunction",
    "ExecTable",
    "Failure",
    "HttpAnswer",
    "HttpFunction",
    "ScheduledExit",
    "exec_answer",
    "http_answer",
    "profile_of",
    "scheduled_exit",
]


#: tcpmux: a probe of it fails, as it does on any machine.
NOBODYS_PORT = 1


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ExecAnswer:
    exit_code: int = 0
    output: bytes = b""
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ScheduledExit:
    """The container ends by itself."""

    after_seconds: float
    exit_code: int = 0
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What the runtime itself reports, e.g. Failure("ErrImagePull", "manifest unknown")."""

    reason: str
    message: str


HttpFunction: TypeAlias = Callable[[float], HttpAnswer]
ExecFunction: TypeAlias = Callable[[Sequence[str], float], ExecAnswer]
ExecTable: TypeAlias = Mapping[tuple[str, ...], ExecAnswer]


@dataclass(frozen=True, slots=True)
class ContainerProfile:
    """One image's behaviour; the default is a server that listens at once, answers everything and stops when told.

    http:  answers by "/path" or, for one port only, by "8080/path"; `http_otherwise` is for the rest. A path with its
           query ("/health?deep=1") comes before the path alone.
    exec:  a table by command, or a function of (command, seconds since start). A command that the table lacks
           ends at once with 0, except `sleep N`, which takes that long.
    grpc:  health status by service name, or a function of the seconds since start; None: no health API.
    ports: where it listens; None is everywhere but on NOBODYS_PORT.
    """

    listens_after_seconds: float = 0.0
    ports: tuple[int, ...] | None = None
    http: Mapping[str, HttpAnswer | HttpFunction] = field(default_factory=dict)
    http_otherwise: HttpAnswer | HttpFunction = field(default_factory=HttpAnswer)
    grpc: Mapping[str, str | Callable[[float], str]] | None = field(default_factory=lambda: {"": "SERVING"})
    exec: ExecTable | ExecFunction = field(default_factory=dict)
    ends: ScheduledExit | None = None
    ends_at_attempt: Mapping[int, ScheduledExit | None] = field(default_factory=dict)  # above `ends`
    hangs_after_seconds: float | None = None
    stops_after_seconds: float | None = 0.0  # from the stop signal until it ends; None: it ignores the signal
    stop_exit_code: int = 0
    serves_while_stopping: bool = True  # whether it accepts connections between the stop signal and its end
    settles_after_seconds: float | None = None  # from then on each answer is as the one before; None: not known
    start_seconds: float = 0.0
    start_error: Failure | None = None
    pull_seconds: float = 0.0
    pull_error: Failure | None = None


def profile_of(profiles: Mapping[str, ContainerProfile], image: str) -> ContainerProfile:
    """The profile for an image: by its exact name, else the first glob that matches, else the default one."""
    if image in profiles:
        return profiles[image]
    for pattern, profile in profiles.items():
        if fnmatchcase(image, pattern):
            return profile
    return ContainerProfile()


def scheduled_exit(profile: ContainerProfile, attempt: int) -> ScheduledExit | None:
    return profile.ends_at_attempt.get(attempt, profile.ends)


def http_answer(profile: ContainerProfile, port: int, path: str, since_start_seconds: float) -> HttpAnswer:
    bare = path.partition("?")[0]
    names = (f"{port}{path}", path, f"{port}{bare}", bare)
    answer = next((profile.http[name] for name in names if name in profile.http), profile.http_otherwise)
    return answer if isinstance(answer, HttpAnswer) else answer(since_start_seconds)


def exec_answer(profile: ContainerProfile, command: Sequence[str], since_start_seconds: float) -> ExecAnswer:
    if callable(profile.exec):
        return profile.exec(command, since_start_seconds)
    answer = profile.exec.get(tuple(command))
    return answer if answer is not None else ExecAnswer(duration_seconds=_sleep_seconds(command))


def _sleep_seconds(command: Sequence[str]) -> float:
    """How long `sleep 5s`, alone or as the whole script of a shell, takes; 0 for any other command."""
    words = command[2].split() if len(command) == 3 and command[1] == "-c" else list(command)
    if len(words) != 2 or words[0].rpartition("/")[2] != "sleep":
        return 0.0
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(words[1][-1:], 0)
    number = words[1][:-1] if unit else words[1]
    try:
        return float(number) * (unit or 1)
    except ValueError:
        return 0.0
