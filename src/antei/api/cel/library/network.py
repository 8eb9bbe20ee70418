"""Addresses, networks and URLs. Kubernetes: apiserver/pkg/cel/library/{ip,cidr,urls}.go."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from cel_expr_python import cel

from antei.api.cel.library.declaring import Library, function, method, tag_of, tagged, untagged

__all__ = ["DECLARATIONS"]

_IP, _CIDR, _URL = "net.IP", "net.CIDR", "kubernetes.URL"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _parsed_address(text: str) -> _Address:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"IP address {text!r} with zone value is not allowed")
        if address.ipv4_mapped is not None:
            raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return address


def _address(value: Any) -> _Address:
    return ipaddress.ip_address(untagged(value, _IP))


def _ip(text: str) -> dict[str, Any]:
    try:
        return tagged(_IP, str(_parsed_address(text)))
    except ValueError as error:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string: {error}") from error


def _parsed_network(text: str) -> _Network:
    if "/" not in text or not text.rpartition("/")[2].isdigit():
        raise ValueError(f"network address parse error during conversion from string: {text!r}: no '/'")
    network = ipaddress.ip_interface(text)
    _parsed_address(str(network.ip))
    return network


def _network(value: Any) -> _Network:
    return ipaddress.ip_interface(untagged(value, _CIDR))


def _cidr(text: str) -> dict[str, Any]:
    return tagged(_CIDR, str(_parsed_network(text)))


def _succeeds(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _contains_ip(network: Any, address: Any) -> bool:
    inner = _parsed_address(address) if isinstance(address, str) else _address(address)
    return inner in _network(network).network


def _contains_cidr(network: Any, other: Any) -> bool:
    outer = _network(network).network
    inner = (_parsed_network(other) if isinstance(other, str) else _network(other)).network
    if isinstance(outer, ipaddress.IPv4Network):
        return isinstance(inner, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, ipaddress.IPv6Network) and inner.subnet_of(outer)


def _is_global_unicast(value: Any) -> bool:
    address = _address(value)
    is_broadcast = str(address) == "255.255.255.255"
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or is_broadcast
    )


def _is_link_local_multicast(value: Any) -> bool:
    address = _address(value)
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address in ipaddress.ip_network("ff02::/16")


def _split(text: str) -> SplitResult:
    """Go's url.ParseRequestURI: an absolute URL or an absolute path."""
    parts = urlsplit(text)
    if not text or (not parts.scheme and not text.startswith("/")) or any(ord(c) <= 32 or ord(c) == 127 for c in text):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    if parts.scheme and not parts.netloc and not parts.path.startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    _ = parts.port  # raises ValueError where it is none
    return parts


def _url(text: str) -> dict[str, Any]:
    _split(text)
    return tagged(_URL, text)


def _host(value: Any) -> str:
    return _split(untagged(value, _URL)).netloc.rpartition("@")[2]


def _hostname(value: Any) -> str:
    host = _host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(value: Any) -> str:
    port = _split(untagged(value, _URL)).port
    return "" if port is None else str(port)


def _query(value: Any) -> dict[str, list[str]]:
    return parse_qs(_split(untagged(value, _URL)).query, keep_blank_values=True)


def _text(value: Any) -> str:
    return str(untagged(value, _IP, _CIDR, _URL))


def _prefix_length(value: Any) -> int:
    return _network(value).network.prefixlen


def _family(value: Any) -> int:
    return _address(value).version


def _is_unspecified_or(name: str) -> Callable[[Any], bool]:
    return lambda value: bool(getattr(_address(value), name))


_MAP, _STRING, _BOOL, _INT = cel.Type.MAP, cel.Type.STRING, cel.Type.BOOL, cel.Type.INT
_LISTS = cel.Type.Map(_STRING, cel.Type.List(_STRING))


def _masked(value: Any) -> dict[str, Any]:
    return tagged(_CIDR, str(_network(value).network))


def _ip_of_network(value: Any) -> dict[str, Any]:
    if tag_of(value) != _CIDR:
        raise ValueError("no such overload")
    return tagged(_IP, str(_network(value).ip))


DECLARATIONS: Library = {
    "ip": [
        function("string_to_ip", _MAP, [_STRING], _ip),
        method("cidr_ip", _MAP, [_MAP], _ip_of_network),
    ],
    "isIP": [function("is_ip", _BOOL, [_STRING], _succeeds(_parsed_address))],
    "ip.isCanonical": [
        function("ip_is_canonical", _BOOL, [_STRING], lambda text: str(_parsed_address(text)) == text),
    ],
    "family": [method("ip_family", _INT, [_MAP], _family)],
    "isUnspecified": [method("ip_is_unspecified", _BOOL, [_MAP], _is_unspecified_or("is_unspecified"))],
    "isLoopback": [method("ip_is_loopback", _BOOL, [_MAP], _is_unspecified_or("is_loopback"))],
    "isLinkLocalUnicast": [method("ip_is_link_local", _BOOL, [_MAP], _is_unspecified_or("is_link_local"))],
    "isLinkLocalMulticast": [method("ip_is_link_local_multicast", _BOOL, [_MAP], _is_link_local_multicast)],
    "isGlobalUnicast": [method("ip_is_global_unicast", _BOOL, [_MAP], _is_global_unicast)],
    "cidr": [function("string_to_cidr", _MAP, [_STRING], _cidr)],
    "isCIDR": [function("is_cidr", _BOOL, [_STRING], _succeeds(_parsed_network))],
    "containsIP": [
        method("cidr_contains_ip", _BOOL, [_MAP, _MAP], _contains_ip),
        method("cidr_contains_ip_string", _BOOL, [_MAP, _STRING], _contains_ip),
    ],
    "containsCIDR": [
        method("cidr_contains_cidr", _BOOL, [_MAP, _MAP], _contains_cidr),
        method("cidr_contains_cidr_string", _BOOL, [_MAP, _STRING], _contains_cidr),
    ],
    "masked": [method("cidr_masked", _MAP, [_MAP], _masked)],
    "prefixLength": [method("cidr_prefix_length", _INT, [_MAP], _prefix_length)],
    "string": [function("network_to_string", _STRING, [_MAP], _text)],
    "url": [function("string_to_url", _MAP, [_STRING], _url)],
    "isURL": [function("is_url", _BOOL, [_STRING], _succeeds(_split))],
    "getScheme": [method("url_scheme", _STRING, [_MAP], lambda value: _split(untagged(value, _URL)).scheme)],
    "getHost": [method("url_host", _STRING, [_MAP], _host)],
    "getHostname": [method("url_hostname", _STRING, [_MAP], _hostname)],
    "getPort": [method("url_port", _STRING, [_MAP], _port)],
    "getEscapedPath": [method("url_path", _STRING, [_MAP], lambda value: _split(untagged(value, _URL)).path)],
    "getQuery": [method("url_query", _LISTS, [_MAP], _query)],
}
