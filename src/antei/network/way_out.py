"""The pods' way out: `pasta`, which is to the cluster's namespace what a router at home is to a house.

    pod ── veth ──► cluster namespace ── masquerade ──► outside (tap) ──► pasta ── sockets ──► the machine's network

Nothing of the machine's own network is changed, and no privilege beyond the namespace's is needed: what pods send goes
out as pasta's own connections. Nothing comes in this way, and the machine's loopback is not reached by it. Like the
namespace pasta outlives antei; it ends with the namespace. Source: pasta(1).
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from antei.network.links import has_link
from antei.network.nftables import OUTSIDE
from antei.world.namespaces import path_of

__all__ = ["close_way_out", "open_way_out"]

_LOG = logging.getLogger(__name__)
_ROUTES = Path("/proc/net/route")
_PID_FILE = "pasta.pid"
_START_SECONDS, _END_SECONDS = 10, 5
#: passt.avx2 on most machines: one program with two names.
_NAMES = ("passt", "pasta")
#: Link-local, so that no network of the machine's is hidden by it.
_ADDRESS, _GATEWAY, _PREFIX = "169.254.20.2", "169.254.20.1", "30"
_NO_PORTS = tuple(word for option in ("-t", "-u", "-T", "-U") for word in (option, "none"))
_NO_SERVERS = ("--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra")


def open_way_out(namespace: str, directory: Path) -> str:
    """Where an earlier antei has opened it, it stays. Returns why pods cannot go where this machine can, with the
    remedy; "" when they can.

    `directory` holds pasta's pid. Blocks for some 25 ms; the calling thread is in the machine's network namespace.
    """
    if has_link(namespace, OUTSIDE):
        return ""
    if not _has_default_route():
        _LOG.info("this machine has no default route, and so pods have none")
        return ""
    program = shutil.which("pasta")
    if program is None:
        return "install the package passt"
    command = [program, "--quiet", "--ipv4-only", "--config-net", "--ns-ifname", OUTSIDE, "--no-map-gw"]
    command += ["--address", _ADDRESS, "--netmask", _PREFIX, "--gateway", _GATEWAY, *_NO_PORTS, *_NO_SERVERS]
    # As nobody, which is what it makes of root, it could not enter the namespace; it gives its privileges up itself.
    command += ["--runas", "0"] if os.geteuid() == 0 else []
    command += ["--pid", str(directory / _PID_FILE), "--netns", str(path_of(namespace))]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_SECONDS, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if "syslog" not in line]
    return f"pasta: {said[-1] if said else f'exit code {done.returncode}'}"


def close_way_out(directory: Path) -> None:
    """pasta would find out by itself within a second or two that its namespace is gone. Blocks until it has ended."""
    file = directory / _PID_FILE
    with suppress(OSError, ValueError, psutil.NoSuchProcess, psutil.TimeoutExpired):
        process = psutil.Process(int(file.read_text()))
        if process.name().startswith(_NAMES):
            process.send_signal(signal.SIGTERM)
            process.wait(_END_SECONDS)
    file.unlink(missing_ok=True)


def _has_default_route() -> bool:
    """Of IPv4 (proc_net_route(5): destination and mask in hexadecimal)."""
    with suppress(OSError):
        fields = (line.split() for line in _ROUTES.read_text().splitlines()[1:])
        return any(line[1] == line[7] == "00000000" for line in fields)
    return False
