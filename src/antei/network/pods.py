"""An address for each pod, and where the machine allows it a network namespace of its own.

    attach: uid ─► address (kept in a file first, so that a crash leaves nothing unknown) ─► namespace and link
    detach: link and namespace gone ─► address free again, but given out last

The same uid gets the same address as long as it is not detached, also from the next antei; its namespace, in which
the pod's processes go on running meanwhile, is adopted as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from lightkube.resources.core_v1 import Pod

from antei.network import links
from antei.network.addresses import FIRST_POD, LAST_POD, ClusterAddresses
from antei.network.resolv_conf import ResolverSettings, host_settings, resolv_conf
from antei.world import namespaces
from antei.world.sockets import PodAddress

__all__ = ["ADDRESS_FILE", "Assignment", "Assignments", "LoopbackPodNetwork", "NamespacePodNetwork"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
ADDRESS_FILE = "pod-addresses.json"


class Assignment(msgspec.Struct, frozen=True):
    node: str
    ip: str


class _File(msgspec.Struct):
    pods: dict[str, Assignment]
    last: dict[str, int]  # node name to the number given out last


class Assignments:
    """Which pod uid has which address. Pure bookkeeping; `encoded` is what must be on disk before it counts."""

    def __init__(self, addresses: ClusterAddresses, data: bytes | None = None) -> None:
        """Raises ValueError when `data` is not what `encoded` gave."""
        self._addresses = addresses
        try:
            kept = msgspec.json.decode(data, type=_File) if data else _File({}, {})
        except msgspec.MsgspecError as error:
            raise ValueError(f"pod addresses: {error}") from error
        # What was given out on loopback is of no use with namespaces, and the other way round.
        range_of = addresses.api.partition(".")[0] + "."
        self.pods = {uid: assignment for uid, assignment in kept.pods.items() if assignment.ip.startswith(range_of)}
        self._last = kept.last
        self._taken = {assignment.ip for assignment in self.pods.values()}

    def assign(self, uid: str, node: str) -> Assignment:
        """The pod's address; a free one of that node, in turn, so that a released one rests as long as possible.

        Raises OSError when none is left, or the node is none of the cluster's.
        """
        known = self.pods.get(uid)
        if known is not None:
            return known
        if node not in self._addresses.node_names:
            raise OSError(f"node {node} has no pod addresses in this cluster")
        count = LAST_POD - FIRST_POD + 1
        start = self._last.get(node, FIRST_POD - 1) - FIRST_POD + 1
        for step in range(count):
            number = FIRST_POD + (start + step) % count
            ip = self._addresses.pod(node, number)
            if ip not in self._taken:
                self._last[node] = number
                self._taken.add(ip)
                self.pods[uid] = Assignment(node, ip)
                return self.pods[uid]
        raise OSError(f"no pod address left on node {node}: all of {self._addresses.pod_cidr(node)} are in use")

    def release(self, uid: str) -> None:
        assignment = self.pods.pop(uid, None)
        if assignment is not None:
            self._taken.discard(assignment.ip)

    def encoded(self) -> bytes:
        return msgspec.json.encode(_File(self.pods, self._last))


class _Kept:
    """The file of assignments, and one thread that writes it, each time whole."""

    def __init__(self, path: Path, addresses: ClusterAddresses) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.assignments = Assignments(addresses, path.read_bytes() if path.exists() else None)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); without it running pods lose their addresses") from error
        self._earlier = tuple(self.assignments.pods)
        self._written = b""

    def left_over(self, pod_uids: frozenset[str]) -> list[str]:
        """Those that were in the file at the start and are not among these."""
        return [uid for uid in self._earlier if uid not in pod_uids and uid in self.assignments.pods]

    def write(self, data: bytes) -> None:
        """What is in the file already is not written again. Raises OSError."""
        if data == self._written:
            return
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(data)
        os.replace(fresh, self._path)
        self._written = data

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class NamespacePodNetwork:
    """Implements the node's PodNetwork with a network namespace for each pod. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.

    Two threads, both inside the cluster's namespace, serve it, because the kernel takes some 25 ms to remove a link
    and no new pod shall wait for that.
    """

    def __init__(self, cluster_namespace: str, addresses: ClusterAddresses, directory: Path) -> None:
        self.cluster_namespace = cluster_namespace
        self._addresses = addresses
        self._path = directory / ADDRESS_FILE
        self._attaching = ThreadPoolExecutor(1, "pod network")
        self._detaching = ThreadPoolExecutor(1, "pod network removal")
        self._locks: dict[str, asyncio.Lock] = {}
        self._kept: _Kept | None = None
        self._host = ResolverSettings()

    async def start(self) -> None:
        """Makes or adopts the cluster's namespace. Raises OSError when the machine does not let us."""
        await self._run(self._attaching, partial(links.prepare_cluster, self.cluster_namespace, self._addresses))
        await self._run(self._detaching, partial(namespaces.enter, self.cluster_namespace))
        self._kept = await self._run(self._attaching, partial(_Kept, self._path, self._addresses))
        self._host = await self._run(self._attaching, host_settings)
        pod_links = [self._link(uid, assignment) for uid, assignment in self._kept.assignments.pods.items()]
        removed = await self._run(
            self._detaching,
            partial(
                links.remove_stale,
                [link.namespace for link in pod_links],
                {link.device: link.ip for link in pod_links},
                f"{self.cluster_namespace}-",
            ),
        )
        if removed:
            _LOG.info("removed what earlier pods left in the network: %s", ", ".join(removed))

    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress:
        kept = self._started()
        async with self._locks.setdefault(pod_uid, asyncio.Lock()):
            link = self._link(pod_uid, kept.assignments.assign(pod_uid, node_name))
            # Also for a pod that is known: a write of its address may have failed, or been cancelled.
            data = kept.assignments.encoded()
            await self._run(self._attaching, partial(self._attach, kept, data, link, user_namespace))
            return PodAddress(link.ip, link.namespace)

    async def detach(self, pod_uid: str) -> None:
        kept = self._started()
        async with self._locks.setdefault(pod_uid, asyncio.Lock()):
            assignment = kept.assignments.pods.get(pod_uid)
            if assignment is not None:
                await self._run(self._detaching, partial(links.detach, self._link(pod_uid, assignment)))
                kept.assignments.release(pod_uid)
                await self._run(self._attaching, partial(kept.write, kept.assignments.encoded()))
        self._locks.pop(pod_uid, None)

    async def isolate(self, pod_uids: Sequence[str]) -> None:
        """Cuts these pods off, as if their node's cable were pulled."""
        await self._run(self._attaching, partial(links.isolate, self._links_of(pod_uids)))

    async def rejoin(self, pod_uids: Sequence[str]) -> None:
        await self._run(self._attaching, partial(links.rejoin, self._links_of(pod_uids)))

    def _links_of(self, pod_uids: Sequence[str]) -> list[links.PodLink]:
        known = self._started().assignments.pods
        return [self._link(uid, known[uid]) for uid in pod_uids if uid in known]

    async def keep_only(self, pod_uids: frozenset[str]) -> None:
        """Detaches the pods of an earlier antei that are not among these, which the API still knows."""
        for uid in self._started().left_over(pod_uids):
            _LOG.info("pod %s is gone: its network goes too", uid)
            await self.detach(uid)

    def resolv_conf(self, pod: Pod) -> str:
        return resolv_conf(pod, self._addresses.dns, self._host)

    async def destroy(self) -> None:
        """Removes every pod's network, the cluster's namespace and the file."""
        kept = self._started()
        await self._run(self._detaching, partial(links.remove_all, self.cluster_namespace))
        await self._run(self._attaching, kept.forget)
        self.close()

    def close(self) -> None:
        """Ends the threads and leaves all pods' networks as they are."""
        self._attaching.shutdown(wait=False)
        self._detaching.shutdown(wait=False)

    def _attach(self, kept: _Kept, data: bytes, link: links.PodLink, user_namespace: Path | None) -> None:
        kept.write(data)
        if links.is_attached(link):
            return
        links.detach(link)  # after a crash half-way, or a reboot that left the file only
        links.attach(link, self.cluster_namespace, user_namespace)

    def _link(self, uid: str, assignment: Assignment) -> links.PodLink:
        digest = hashlib.sha256(uid.encode()).hexdigest()[:10]
        return links.PodLink(
            ip=assignment.ip,
            host_ip=self._addresses.nodes.get(assignment.node, self._addresses.api),
            namespace=f"{self.cluster_namespace}-{digest}",
            device=f"p{digest}",
        )

    def _started(self) -> _Kept:
        if self._kept is None:
            raise OSError("the pod network has not been started")
        return self._kept

    async def _run(self, thread: ThreadPoolExecutor, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(thread, function)


class LoopbackPodNetwork:
    """Implements the node's PodNetwork without privileges: pods share the host's network.

    Each pod still has a loopback address of its own, 127.244.<node>.<n>. Two replicas on one port get along when
    the server binds its POD_IP; where it binds every address, the second one fails with "address already in use",
    which is the pod's own to report.
    """

    def __init__(self, addresses: ClusterAddresses, directory: Path) -> None:
        self._addresses = addresses
        self._path = directory / ADDRESS_FILE
        self._kept: _Kept | None = None
        self._thread = ThreadPoolExecutor(1, "pod addresses")
        self._host = ResolverSettings()

    async def start(self) -> None:
        self._kept = await self._run(partial(_Kept, self._path, self._addresses))
        self._host = await self._run(host_settings)

    async def attach(self, pod_uid: str, node_name: str, user_namespace: Path | None = None) -> PodAddress:
        kept = self._started()
        assignment = kept.assignments.assign(pod_uid, node_name)
        await self._run(partial(kept.write, kept.assignments.encoded()))
        return PodAddress(assignment.ip, None)

    async def detach(self, pod_uid: str) -> None:
        kept = self._started()
        kept.assignments.release(pod_uid)
        await self._run(partial(kept.write, kept.assignments.encoded()))

    async def keep_only(self, pod_uids: frozenset[str]) -> None:
        for uid in self._started().left_over(pod_uids):
            await self.detach(uid)

    def resolv_conf(self, pod: Pod) -> str:
        return resolv_conf(pod, self._addresses.dns, self._host)

    async def destroy(self) -> None:
        await self._run(self._started().forget)
        self.close()

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _started(self) -> _Kept:
        if self._kept is None:
            raise OSError("the pod network has not been started")
        return self._kept

    async def _run(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
