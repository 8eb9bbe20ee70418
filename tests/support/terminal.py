"""kubectl on a terminal, as somebody at a keyboard has it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

import antei_process
from antei_process import Kubectl

__all__ = ["Terminal"]

_PATIENCE_SECONDS = 30


class Terminal:
    """A terminal with kubectl on it."""

    def __init__(self, kubectl: Kubectl, *arguments: str) -> None:
        environment = {**os.environ, "KUBECONFIG": str(kubectl.antei.kubeconfig), "HOME": str(kubectl.antei.data)}
        binary = antei_process.kubectl_binary()
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execve(binary, ["kubectl", *arguments], environment)
        self.shown = ""
        self.resize(100, 30)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def expect(self, pattern: str) -> str:
        """Reads on until the screen shows this; what comes later is for the next one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (match := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, f"{pattern!r} is not in {self.shown!r}"
            if select.select([self._descriptor], [], [], 0.1)[0]:
                try:
                    data = os.read(self._descriptor, 65536)
                except OSError:
                    data = b""
                assert data, f"it ended: {self.shown!r}"
                self.shown += data.decode(errors="replace")
        self.shown = self.shown[match.end() :]
        return match[0]

    def close(self) -> int:
        """kubectl's exit code."""
        while True:
            try:
                if not os.read(self._descriptor, 65536):
                    break
            except OSError:
                break
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
