"""Linux network namespaces by name, as `ip netns` keeps them under /run/netns, and sockets inside one.

A thread, not a process, is in a network namespace. Nothing here moves the calling thread except `enter` and
`create`, which say so and are for worker threads: the event loop's own thread never leaves the host's namespace.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from antei.world.libc import checked, libc

__all__ = ["NamespaceSockets", "create", "enter", "exists", "held", "keep", "names", "open_socket", "path_of", "remove"]

_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
#: A thread that does not answer for so long is dead or the machine is out of memory.
_ANSWER_SECONDS = 5.0


def path_of(name: str) -> Path:
    return _DIRECTORY / name


def names(prefix: str) -> list[str]:
    """The named namespaces that start with `prefix`, sorted."""
    if not _DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in _DIRECTORY.iterdir() if entry.name.startswith(prefix))


def exists(name: str) -> bool:
    """Whether the name leads to a namespace: after a reboot, or a crash half-way, it may be a mere file."""
    path = path_of(name)
    return path.exists() and path.stat().st_dev != _DIRECTORY.stat().st_dev


def enter(name: str) -> None:
    """Moves the calling thread into the namespace. Raises OSError (EPERM without CAP_SYS_ADMIN, ENOENT)."""
    descriptor = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(libc().setns(descriptor, _CLONE_NEWNET), f"setns {name}")
    finally:
        os.close(descriptor)


def create(name: str, user_namespace: Path | None = None) -> None:
    """A new namespace under that name; the calling thread is in it afterwards. Raises OSError.

    `user_namespace`: whose users are to rule it, where they are not this machine's.
    """
    _share_directory()
    path = path_of(name)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    try:
        if user_namespace is None:
            checked(libc().unshare(_CLONE_NEWNET), "unshare")
            keep(f"/proc/{threading.get_native_id()}/ns/net", path)
        else:
            with held(["net"], user_namespace) as pid:
                keep(f"/proc/{pid}/ns/net", path)
            enter(name)
    except OSError:
        path.unlink()
        raise


@contextmanager
def held(kinds: Sequence[str], user_namespace: Path | None = None) -> Iterator[int]:
    """New namespaces of these kinds, as a process that is in them: of our own threads none may enter another user's.

    Raises OSError.
    """
    inside = ["nsenter", f"--user={user_namespace}", "--"] if user_namespace is not None else []
    command = [*inside, "unshare", *(f"--{kind}" for kind in kinds), "--", "sh", "-c", "echo; read -r end"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            said = process.communicate(timeout=_ANSWER_SECONDS)[1].decode(errors="replace").strip()
            raise OSError(f"no new namespaces ({', '.join(kinds)}): {said}")
        yield process.pid
    finally:
        process.communicate(timeout=_ANSWER_SECONDS)  # its stdin ends, and so does it


def keep(source: str, path: Path) -> None:
    """Binds a namespace to a file that is there, so that it lasts without a process in it. Raises OSError."""
    checked(libc().mount(source.encode(), os.fsencode(path), b"none", _MS_BIND, None), f"mount {path}")


def remove(name: str) -> None:
    """Takes the name away; the kernel frees the namespace when no process or socket is left in it."""
    path = path_of(name)
    if not path.exists():
        return
    libc().umount2(os.fsencode(path), _MNT_DETACH)  # fails for a mere file, which unlink removes all the same
    path.unlink(missing_ok=True)


def open_socket(name: str, family: int, kind: int) -> socket.socket:
    """One non-blocking socket in the namespace, by a thread that enters it and ends. Raises OSError. Blocks briefly."""
    result: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            enter(name)
            opened = socket.socket(family, kind, socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0)
            opened.setblocking(False)
            result.append(opened)
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=work, name=f"socket in {name}")
    thread.start()
    thread.join()
    (found,) = result
    if isinstance(found, OSError):
        raise found
    return found


def _share_directory() -> None:
    """As iproute2 does, so that names made here are seen in other mount namespaces and the other way round."""
    _DIRECTORY.mkdir(parents=True, exist_ok=True)
    directory = os.fsencode(_DIRECTORY)
    if libc().mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None) != 0:
        checked(libc().mount(directory, directory, b"none", _MS_BIND | _MS_REC, None), "mount /run/netns")
        checked(libc().mount(b"", directory, b"none", _MS_SHARED | _MS_REC, None), "share /run/netns")


class NamespaceSockets:
    """Implements `antei.world.sockets.Sockets` for a named namespace, through a thread that has entered it.

    Opening by setns there and back on the loop's thread costs 4 µs, through the thread 65 µs; but an interrupt
    between there and back would leave everything antei starts afterwards in the wrong namespace. So the thread, and
    it keeps a few unconnected TCP sockets in stock: taking one costs about 2 µs and waits for nobody.
    """

    STOCK = 16

    def __init__(self, namespace_name: str) -> None:
        """Raises OSError when the namespace is not there or may not be entered."""
        self._name = namespace_name
        # SimpleQueue on purpose: its get and put are single C calls, safe from any thread and from finalizers.
        self._orders: queue.SimpleQueue[tuple[int, int, bool] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[socket.socket | OSError | None] = queue.SimpleQueue()
        self._stock: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"sockets in {namespace_name}", daemon=True)
        self._thread.start()
        self._answer()
        for _ in range(self.STOCK):
            self._orders.put((socket.AF_INET, socket.SOCK_STREAM, True))

    def open(self, family: int, kind: int) -> socket.socket:
        if self._closed:
            raise OSError(f"the sockets of namespace {self._name} are closed")
        if family == socket.AF_INET and kind == socket.SOCK_STREAM:
            try:
                opened = self._stock.get_nowait()
            except queue.Empty:
                return self._order(family, kind)
            self._orders.put((family, kind, True))
            return opened
        return self._order(family, kind)

    def close(self) -> None:
        """Ends the thread; sockets that were handed out stay open. Until then the namespace cannot be freed."""
        if self._closed:
            return
        self._closed = True
        self._orders.put(None)
        self._answer()
        while not self._stock.empty():
            self._stock.get_nowait().close()

    def _order(self, family: int, kind: int) -> socket.socket:
        self._orders.put((family, kind, False))
        answer = self._answer()
        if answer is None:
            raise OSError(f"the sockets of namespace {self._name} are closed")
        return answer

    def _answer(self) -> socket.socket | None:
        """What the thread says next. Raises OSError; a thread that is silent is not asked again."""
        try:
            answer = self._answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            self._closed = True  # a late answer must not be taken for that of another question
            raise OSError(f"the thread in namespace {self._name} does not answer") from None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _serve(self) -> None:
        try:
            enter(self._name)
        except OSError as error:
            self._answers.put(error)
            return
        self._answers.put(None)
        while (order := self._orders.get()) is not None:
            family, kind, for_stock = order
            try:
                # The protocol is named because asyncio sets TCP_NODELAY only on sockets that name it.
                opened = socket.socket(family, kind, socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0)
                opened.setblocking(False)
            except OSError as error:  # EMFILE: the stock stays smaller, and who waits is told
                if not for_stock:
                    self._answers.put(error)
                continue
            if for_stock:
                self._stock.put(opened)
            else:
                self._answers.put(opened)
        self._answers.put(None)
