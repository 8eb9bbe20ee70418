from __future__ import annotations

from dataclasses import replace

from antei.network.nftables import Ruleset
from antei.network.services import Endpoint, ServicePort, ServiceTable

RULES = Ruleset("10.96.0.0/12", hairpin_source="10.128.0.1")
WEB = ServicePort(
    namespace="ns",
    name="web",
    port_name="",
    protocol="TCP",
    port=80,
    ips=("10.96.1.1",),
    node_port=30080,
    endpoints=(Endpoint("10.244.1.2", 8080), Endpoint("10.244.1.3", 8080)),
    affinity_seconds=None,
)


def test_the_first_transaction_replaces_whatever_was_there() -> None:
    text = RULES.rebuild(ServiceTable((WEB,))).text
    assert text.startswith("add table ip antei\ndelete table ip antei\n")
    assert "add element ip antei services { 10.96.1.1 . tcp . 80 : goto e2 }" in text
    assert 'oifname "outside" masquerade' in text
    assert "add element ip antei node_ports { tcp . 30080 : goto n2 }" in text
    assert "10.96.1.1 . tcp . 80 . 0 : 10.244.1.2 . 8080, 10.96.1.1 . tcp . 80 . 1 : 10.244.1.3 . 8080" in text


def test_an_update_flushes_and_fills_in_one_transaction_and_drops_unused_chains() -> None:
    before = RULES.rebuild(ServiceTable((WEB,)))
    after = RULES.update(ServiceTable((replace(WEB, endpoints=WEB.endpoints[:1]),)), before)
    lines = after.text.splitlines()
    assert lines.index("flush map ip antei services") < lines.index("delete chain ip antei e2")
    assert "add element ip antei services { 10.96.1.1 . tcp . 80 : goto e1 }" in lines
    assert "delete table" not in after.text
    assert after.chains == {"e1", "n1"}


def test_a_service_without_endpoints_is_in_no_map_and_so_refused() -> None:
    text = RULES.rebuild(ServiceTable((replace(WEB, endpoints=()),))).text
    assert "add element" not in text
    assert "ip daddr 10.96.0.0/12 goto refuse" in text


def test_affinity_sets_of_endpoints_that_stay_are_not_touched() -> None:
    sticky = replace(WEB, affinity_seconds=60)
    before = RULES.rebuild(ServiceTable((sticky,)))
    after = RULES.update(ServiceTable((replace(sticky, endpoints=sticky.endpoints[1:]),)), before)
    assert len(before.sets) == 2
    assert after.sets < before.sets
    (gone,) = before.sets - after.sets
    assert f"delete set ip antei {gone}" in after.text.splitlines()
    (kept,) = after.sets
    assert f"delete set ip antei {kept}" not in after.text
    assert f"flush set ip antei {kept}" not in after.text


def test_of_two_services_with_one_external_address_and_port_the_first_has_it() -> None:
    other = replace(WEB, name="zzz", ips=("10.96.1.2", "192.0.2.1"), node_port=None)
    table = ServiceTable((replace(WEB, ips=("10.96.1.1", "192.0.2.1")), other))
    assert RULES.rebuild(table).text.count("192.0.2.1 . tcp . 80 : goto") == 1
