"""What is decided before anything is connected: options, statuses, ports, where a proxied request goes."""

from __future__ import annotations

import base64

import pytest
from lightkube.models.core_v1 import EndpointAddress, EndpointPort, EndpointSubset
from lightkube.resources.core_v1 import Endpoints

from antei.api.errors import ApiError
from antei.api.pod_streams import TerminalSize
from antei.server.http.exchange import Exchange
from antei.server.http.port_forward import forwarded_ports
from antei.server.http.proxy import forwarded_headers, returned_headers, rewritten_location
from antei.server.http.proxy_location import Location, Target, endpoint_of, split_target
from antei.server.http.remote_command import exit_status, terminal_size
from antei.server.http.routes import resolve
from antei.server.http.websocket import token_protocol


def test_an_exit_code_is_a_cause_of_a_status() -> None:
    assert exit_status(0) == {"metadata": {}, "status": "Success"}
    assert exit_status(137) == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 137",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "137"}]},
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b'{"Width":100,"Height":30}', TerminalSize(100, 30)),
        (b'{"Width":0,"Height":30}', None),
        (b'{"Width":70000,"Height":30}', None),
        (b'{"Width":1e999,"Height":30}', None),
        (b'{"Width":"x","Height":[]}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"", None),
        (b"[" * 1000, None),
    ],
)
def test_a_terminals_size_is_two_sensible_numbers_or_ignored(text: bytes, size: TerminalSize | None) -> None:
    assert terminal_size(text) == size


@pytest.mark.parametrize(
    ("values", "ports"),
    [(["80"], (80,)), (["80,90", "443"], (80, 90, 443)), (["65535"], (65535,))],
)
def test_ports_are_listed_or_repeated(values: list[str], ports: tuple[int, ...]) -> None:
    assert forwarded_ports(values) == ports


@pytest.mark.parametrize("values", [[], [""], ["0"], ["65536"], ["x"], ["80,"], ["-1"], ["٣"], ["1" * 30], ["1"] * 101])
def test_what_is_no_port_is_refused(values: list[str]) -> None:
    with pytest.raises(ApiError) as refused:
        forwarded_ports(values)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web", Target("http", "web", "")),
        ("web:80", Target("http", "web", "80")),
        ("web:", Target("http", "web", "")),
        ("https:web:", Target("https", "web", "")),
        (":web:http", Target("http", "web", "http")),
        ("ftp:web:80", None),
        ("a:b:c:d", None),
        (":80", None),
        ("", None),
    ],
)
def test_a_proxys_target_is_scheme_name_and_port(text: str, target: Target | None) -> None:
    assert split_target(text) == target


def test_an_endpoint_is_a_ready_address_with_the_port_of_that_name() -> None:
    ready, other = EndpointAddress(ip="10.0.0.1"), EndpointAddress(ip="10.0.0.2")
    endpoints = Endpoints(
        subsets=[
            EndpointSubset(notReadyAddresses=[other], ports=[EndpointPort(port=80, name="http")]),
            EndpointSubset(addresses=[ready], ports=[EndpointPort(port=8080, name="http"), EndpointPort(port=9)]),
        ]
    )
    assert endpoint_of(endpoints, "http") == ("10.0.0.1", 8080)
    assert endpoint_of(endpoints, "") == ("10.0.0.1", 9)
    assert endpoint_of(endpoints, "nope") is None


HERE = Location("http", "10.0.0.1", 8080)


@pytest.mark.parametrize(
    ("location", "rewritten"),
    [
        (b"/login?a=b#c", b"/p/login?a=b#c"),
        (b"http://10.0.0.1:8080/login", b"/p/login"),
        (b"http://10.0.0.1:8080", b"/p/"),
        (b"https://elsewhere.example/x", b"https://elsewhere.example/x"),
        (b"next", b"next"),
        (b"//elsewhere.example/x", b"//elsewhere.example/x"),
        (b"http://[broken", b"http://[broken"),
    ],
)
def test_a_redirect_of_the_other_side_to_itself_leads_back_here(location: bytes, rewritten: bytes) -> None:
    assert rewritten_location(location, HERE, b"/p") == rewritten


def _exchange(*headers: tuple[bytes, bytes]) -> Exchange:
    scope = {"method": "GET", "path": "/", "raw_path": b"/", "headers": list(headers), "query_string": b""}
    return Exchange(scope, None, None)  # type: ignore[arg-type]


def test_credentials_and_headers_of_the_connection_are_not_passed_on() -> None:
    exchange = _exchange(
        (b"host", b"127.0.0.1:6443"),
        (b"authorization", b"Bearer secret"),
        (b"connection", b"keep-alive, X-Mine"),
        (b"x-mine", b"1"),
        (b"keep-alive", b"5"),
        (b"te", b"trailers"),
        (b"upgrade", b"h2c"),
        (b"x-forwarded-uri", b"/forged"),
        (b"accept", b"*/*"),
        (b"transfer-encoding", b"chunked"),
    )
    assert forwarded_headers(exchange, b"/p/x", upgrades=False) == [
        (b"host", b"127.0.0.1:6443"),
        (b"accept", b"*/*"),
        (b"transfer-encoding", b"chunked"),
        (b"x-forwarded-uri", b"/p/x"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"127.0.0.1:6443"),
    ]


def test_what_comes_back_loses_what_was_between_the_two() -> None:
    headers = [
        (b"Connection", b"close, X-Own"),
        (b"X-Own", b"1"),
        (b"Date", b"then"),
        (b"Location", b"/a"),
        (b"Content-Type", b"text/html"),
        (b"Transfer-Encoding", b"chunked"),
    ]
    assert returned_headers(headers, HERE, b"/p") == [(b"Location", b"/p/a"), (b"Content-Type", b"text/html")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/v1/namespaces/n/pods/p/exec", ("p", "exec")),
        ("/api/v1/namespaces/n/pods/p:80/proxy", ("p:80", "proxy")),
        ("/api/v1/namespaces/n/services/https:s:/proxy/a/b//c/../d", ("https:s:", "proxy")),
        ("/api/v1/nodes/n/proxy/healthz", ("n", "proxy")),
        ("/api/v1/namespaces/n/pods/p/exec/more", None),
        ("/api/v1/namespaces/n/configmaps/c/proxy/x", None),
        ("/api/v1/namespaces/n/pods//proxy/x", None),
    ],
)
def test_only_a_proxy_has_a_path_behind_it(path: str, found: tuple[str, str] | None) -> None:
    route = resolve(path)
    assert (None if route is None else (route.name, route.subresource)) == found


def test_a_browsers_token_is_among_its_subprotocols() -> None:
    encoded = base64.urlsafe_b64encode(b"secret-token").rstrip(b"=")
    offered = b"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io." + encoded
    assert token_protocol(offered) == b"Bearer secret-token"
    assert token_protocol(b"v4.channel.k8s.io") is None
    assert token_protocol(b"base64url.bearer.authorization.k8s.io.\xff") == b"Bearer "
