"""The kernel's side of the pod network: namespaces, veth pairs, addresses and routes. Blocking; for worker threads.

    pod namespace                      cluster namespace
    eth0 10.244.1.5/32  ◄── veth ──►  p3f9c2a7d10   route 10.244.1.5 dev p3f9c2a7d10 src 10.128.0.1
    default via 169.254.1.1 (onlink)                 lo: 10.96.0.1, 10.96.0.10, 10.128.0.<n>

Both ends know each other's hardware address for good, so nothing waits for ARP. All traffic is routed through the
cluster namespace, and there passes connection tracking in both directions, which a bridge would not promise.
The cluster's own addresses are on `lo`: with permanent routes no other device is needed to answer for them.

pyroute2 is 7 MB and 50 ms: clusters without namespaces (simulated ones, tests') do without, and where there are some it
is loaded in a worker thread.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from antei.network.addresses import ClusterAddresses
from antei.world import namespaces
from antei.world.user_ids import ping_groups

if TYPE_CHECKING:
    from pyroute2 import IPRoute

__all__ = [
    "PodLink",
    "attach",
    "detach",
    "has_link",
    "is_attached",
    "isolate",
    "load_netlink",
    "prepare_cluster",
    "rejoin",
    "remove_all",
    "remove_cluster",
    "remove_stale",
]

_LOG = logging.getLogger(__name__)
_GATEWAY = "169.254.1.1"
#: The same at the cluster's end of every pair: they never meet on one link.
_GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
#: Of no device: what is sent to it is dropped without a word.
_NOBODYS_MAC = "02:00:00:00:00:00"
_PERMANENT = 0x80  # NUD_PERMANENT
_ONLINK = 4  # RTNH_F_ONLINK
_LINK_SCOPE = 253
#: All links of pods are in this group: the kernel removes a group as fast as one link.
_POD_GROUP = 1

_CLUSTER_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # A pod that reaches itself through its Service leaves by the link it came from; no ICMP redirects for that.
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
#: As container runtimes set them: any user may listen on port 80 and ping.
_POD_SYSCTLS = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv6/conf/default/disable_ipv6": "1",  # lo keeps ::1
}


@dataclass(frozen=True, slots=True)
class PodLink:
    ip: str
    host_ip: str  # of the pod's node
    namespace: str
    device: str  # in the cluster namespace, at most 15 characters


def load_netlink() -> None:
    """So that the first who needs it does not wait for it."""
    import_module("pyroute2")


def prepare_cluster(namespace: str, addresses: ClusterAddresses) -> None:
    """Makes the cluster's namespace, or adopts it, with lo and the cluster's addresses on it; the thread is in it
    afterwards. Raises OSError when the kernel refuses."""
    if namespaces.exists(namespace):
        namespaces.enter(namespace)
    else:
        namespaces.remove(namespace)  # a file without a namespace behind it
        namespaces.create(namespace)
    _set_sysctls(_CLUSTER_SYSCTLS)
    with _netlink() as netlink:
        loopback = netlink.link_lookup(ifname="lo")[0]
        netlink.link("set", index=loopback, state="up")
        for ip in (*addresses.nodes.values(), addresses.api, addresses.dns):
            netlink.addr("replace", index=loopback, address=ip, prefixlen=32)
        # Connections of antei's own to a ClusterIP need a route before they are translated (and routed again).
        netlink.route(
            "replace", dst=addresses.service_cidr, oif=loopback, prefsrc=next(iter(addresses.nodes.values()), None)
        )
        # What is still sent to a pod that is gone must not take the pods' way out, to whoever has its address there.
        netlink.route("replace", dst=addresses.pod_cidr_of_all, type="unreachable")


def attach(link: PodLink, cluster_namespace: str, user_namespace: Path | None = None) -> None:
    """Gives the pod its namespace and joins it to the cluster's, where the calling thread must be and stays.

    Raises OSError; what was made half is taken down.
    """
    cluster = os.open(namespaces.path_of(cluster_namespace), os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            namespaces.create(link.namespace, user_namespace)
            _join(link, cluster)
        finally:
            namespaces.enter(cluster_namespace)
        with _netlink() as netlink:
            _route(netlink, link)
    except OSError as error:
        detach(link)
        raise OSError(f"pod network namespace {link.namespace}: {error}") from error
    finally:
        os.close(cluster)


def is_attached(link: PodLink) -> bool:
    """Whether the pod's namespace and its link are there, both (the calling thread is in the cluster's)."""
    if not namespaces.exists(link.namespace):
        return False
    with _netlink() as netlink:
        if not netlink.link_lookup(ifname=link.device):
            return False
        from pyroute2 import NetlinkError  # as `_netlink` did

        try:
            _route(netlink, link)  # harmless when it is there, and heals a crash half-way
        except NetlinkError as error:
            _LOG.warning("%s is there but not usable, it is made anew: %s", link.namespace, error)
            return False
    return True


def has_link(namespace: str, device: str) -> bool:
    """Whether a device of this name is in the namespace; asked by a thread of its own, which enters it and ends."""
    found: list[bool] = []

    def work() -> None:
        with suppress(OSError):
            namespaces.enter(namespace)
            with _netlink() as netlink:
                found.append(bool(netlink.link_lookup(ifname=device)))

    thread = threading.Thread(target=work, name=f"links of {namespace}")
    thread.start()
    thread.join()
    return found == [True]


def detach(link: PodLink) -> None:
    """Takes down what `attach` made, as far as it is there. The link goes now even if processes linger in it."""
    with _netlink() as netlink:
        for index in netlink.link_lookup(ifname=link.device):
            netlink.link("del", index=index)
    namespaces.remove(link.namespace)


def isolate(pod_links: Sequence[PodLink]) -> None:
    """No packet passes to or from these pods any more, and none is told so: each end of a pair now has a hardware
    address that the other does not know, so that what arrives is somebody else's. For rehearsals; `rejoin` undoes it.
    """
    with _netlink() as netlink:
        for link in pod_links:
            for index in netlink.link_lookup(ifname=link.device):
                netlink.link("set", index=index, address=_NOBODYS_MAC)
                netlink.neigh("replace", ifindex=index, dst=link.ip, lladdr=_NOBODYS_MAC, state=_PERMANENT)


def rejoin(pod_links: Sequence[PodLink]) -> None:
    with _netlink() as netlink:
        for link in pod_links:
            for index in netlink.link_lookup(ifname=link.device):
                netlink.link("set", index=index, address=_GATEWAY_MAC)
                netlink.neigh("replace", ifindex=index, dst=link.ip, lladdr=_mac_of(link.ip), state=_PERMANENT)


def remove_stale(pod_namespaces: Sequence[str], devices: Mapping[str, str], prefix: str) -> list[str]:
    """Removes pod namespaces under `prefix` and devices that are not among the given ones; returns their names."""
    removed = []
    with _netlink() as netlink:
        for message in netlink.get_links():
            name = message.get_attr("IFLA_IFNAME")
            if name.startswith("p") and name not in devices:
                netlink.link("del", index=message["index"])
                removed.append(name)
    for name in namespaces.names(prefix):
        if name not in pod_namespaces:
            namespaces.remove(name)
            removed.append(name)
    return removed


def remove_all(cluster_namespace: str) -> None:
    """Removes every pod's link and namespace, and the cluster's own."""
    with _netlink() as netlink:
        if any(message.get_attr("IFLA_GROUP") == _POD_GROUP for message in netlink.get_links()):
            netlink.link("del", group=_POD_GROUP)
    for name in namespaces.names(f"{cluster_namespace}-"):
        namespaces.remove(name)
    namespaces.remove(cluster_namespace)


def remove_cluster(cluster_namespace: str) -> None:
    """`remove_all` for a cluster whose antei is not running; the calling thread is to be thrown away afterwards."""
    if namespaces.exists(cluster_namespace):
        namespaces.enter(cluster_namespace)
        remove_all(cluster_namespace)
        return
    for name in (*namespaces.names(f"{cluster_namespace}-"), cluster_namespace):
        namespaces.remove(name)


def _join(link: PodLink, cluster: int) -> None:
    """In the pod's namespace: the pair with its far end in the cluster's, the address, the way out."""
    _set_sysctls({**_POD_SYSCTLS, "net/ipv4/ping_group_range": ping_groups()})
    with _netlink() as netlink:
        netlink.link("set", index=1, state="up")  # lo is the first device of every namespace
        netlink.link(
            "add",
            ifname="eth0",
            kind="veth",
            address=_mac_of(link.ip),
            peer={"ifname": link.device, "address": _GATEWAY_MAC, "net_ns_fd": cluster},
        )
        eth0 = netlink.link_lookup(ifname="eth0")[0]
        netlink.addr("add", index=eth0, address=link.ip, prefixlen=32)
        netlink.link("set", index=eth0, state="up")
        netlink.neigh("add", ifindex=eth0, dst=_GATEWAY, lladdr=_GATEWAY_MAC, state=_PERMANENT)
        netlink.route("add", dst="0.0.0.0/0", gateway=_GATEWAY, oif=eth0, flags=_ONLINK)


def _route(netlink: IPRoute, link: PodLink) -> None:
    """In the cluster's namespace: the way to the pod; the node's address is whom the pod sees calling."""
    index = netlink.link_lookup(ifname=link.device)[0]
    netlink.link("set", index=index, state="up", group=_POD_GROUP)
    netlink.neigh("replace", ifindex=index, dst=link.ip, lladdr=_mac_of(link.ip), state=_PERMANENT)
    netlink.route("replace", dst=f"{link.ip}/32", oif=index, prefsrc=link.host_ip, scope=_LINK_SCOPE)


@contextmanager
def _netlink() -> Iterator[IPRoute]:
    """rtnetlink in the calling thread's namespace; what the kernel refuses is an OSError."""
    from pyroute2 import IPRoute, NetlinkError  # here, as the module says

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from error


def _mac_of(ip: str) -> str:
    return "0a:58:" + ":".join(f"{byte:02x}" for byte in socket.inet_aton(ip))


def _set_sysctls(values: Mapping[str, str]) -> None:
    """Of the calling thread's namespace. Kernels without IPv6 have no such files."""
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if path.exists():
            path.write_text(value)
