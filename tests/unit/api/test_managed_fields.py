"""Who owns which field after updates and applies; the shapes of fieldsV1 are those that Kubernetes writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.meta_v1 import ManagedFieldsEntry
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod, Service

from antei.api.errors import ApiError
from antei.api.managed_fields import Applied, Applying, Writer, apply_configuration, entries_after_update
from antei.api.managed_fields.entries import Manager, Owned, capped, entries_of, managers_of
from antei.api.managed_fields.paths import MalformedFields, fields_v1, parse_fields_v1, path_text
from antei.api.managed_fields.shapes import shape_of
from antei.api.managed_fields.values import fields_set_by, merged

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def config_map(data: dict[str, str] | None, **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **metadata}}
    return found if data is None else {**found, "data": data}


def deployment(replicas: int | None = None, *containers: dict[str, Any], **template: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": list(containers), **template}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


class Cluster:
    """One object that several managers write, in turns."""

    def __init__(self, struct: type[Any], api_version: str) -> None:
        self.struct = struct
        self.api_version = api_version
        self.data: dict[str, Any] | None = None
        self.entries: list[ManagedFieldsEntry] | None = None
        self.now = NOW

    def writer(self, manager: str, subresource: str = "") -> Writer:
        self.now += timedelta(seconds=1)
        return Writer(manager, self.api_version, self.now, subresource)

    def apply(
        self, manager: str, config: dict[str, Any], *, force: bool = False, subresource: str = ""
    ) -> dict[str, Any]:
        applying = Applying(self.struct, config, self.writer(manager, subresource), force)
        result: Applied = apply_configuration(applying, self.data, self.entries)
        self.entries = result.entries(self.entries, is_changed=result.data != self.data)
        self.data = result.data
        return self.data

    def update(self, manager: str, data: dict[str, Any], subresource: str = "", given: Any = None) -> None:
        writer = self.writer(manager, subresource)
        self.entries = entries_after_update(self.struct, self.data, data, given, self.entries, writer)
        self.data = data

    @property
    def owned(self) -> dict[str, Any]:
        """manager/operation → fieldsV1"""
        return {f"{entry.manager}/{entry.operation}": entry.fieldsV1 for entry in self.entries or ()}


def test_fields_are_written_as_kubernetes_writes_them() -> None:
    cluster = Cluster(Deployment, "apps/v1")
    web = {"name": "web", "image": "i", "ports": [{"containerPort": 80}], "resources": {}, "env": [{"name": "X"}]}
    cluster.update("kubectl-create", deployment(1, web, imagePullSecrets=[{"name": "s"}]))
    assert cluster.owned == {
        "kubectl-create/Update": {
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"web"}': {
                                ".": {},
                                "f:env": {".": {}, 'k:{"name":"X"}': {".": {}, "f:name": {}}},
                                "f:image": {},
                                "f:name": {},
                                "f:ports": {
                                    ".": {},
                                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                                },
                                "f:resources": {},
                            }
                        },
                        "f:imagePullSecrets": {".": {}, 'k:{"name":"s"}': {}},
                    },
                },
            }
        }
    }
    (entry,) = cluster.entries or ()
    assert (entry.apiVersion, entry.fieldsType, entry.time, entry.subresource) == (
        "apps/v1",
        "FieldsV1",
        NOW + timedelta(seconds=1),
        None,
    )


def test_a_set_of_fields_reads_back_whatever_the_space_in_its_keys() -> None:
    text = {"f:a": {".": {}, 'k:{"name": "x"}': {".": {}, "f:b": {}}, 'v:"y"': {}}, "f:c": {}}
    paths = parse_fields_v1(text)
    assert fields_v1(paths) == {"f:a": {".": {}, 'k:{"name":"x"}': {".": {}, "f:b": {}}, 'v:"y"': {}}, "f:c": {}}
    assert [path_text(path) for path in sorted(paths)] == [".a", '.a[name="x"]', '.a[name="x"].b', '.a[="y"]', ".c"]


@pytest.mark.parametrize("fields", [[], {"f:a": 1}, {"a": {}}, {"k:1": {}}, {"k:{": {}}, {"i:x": {}}, {"x:y": {}}])
def test_what_is_no_set_of_fields_is_refused(fields: Any) -> None:
    with pytest.raises(MalformedFields):
        parse_fields_v1(fields)


def test_an_applier_owns_what_it_sets_and_nothing_else() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1"}, labels={"x": "y"}))
    cluster.apply("two", config_map({"b": "2"}))
    assert cluster.data == config_map({"a": "1", "b": "2"}, labels={"x": "y"})
    assert cluster.owned == {
        "one/Apply": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}},
        "two/Apply": {"f:data": {"f:b": {}}},
    }


def test_another_value_is_a_conflict_that_names_manager_and_field() -> None:
    cluster = Cluster(Deployment, "apps/v1")
    web = {"name": "web", "image": "i"}
    cluster.update("kubectl-client-side-apply", deployment(1, web))
    with pytest.raises(ApiError) as raised:
        cluster.apply("kubectl-x", deployment(2, web))
    status = raised.value.status
    assert (status.code, status.reason) == (409, "Conflict")
    assert status.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )
    assert status.details is not None
    (cause,) = status.details.causes or ()
    assert (cause.reason, cause.field) == ("FieldManagerConflict", ".spec.replicas")
    assert cause.message == 'conflict with "kubectl-client-side-apply" using apps/v1'


def test_several_conflicts_are_listed_by_manager() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1", "b": "1"}))
    cluster.apply("two", config_map({"c": "1"}))
    with pytest.raises(ApiError) as raised:
        cluster.apply("three", config_map({"a": "2", "b": "2", "c": "2"}))
    assert raised.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.c'
    )


def test_force_takes_the_field_and_its_ownership() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1", "b": "1"}))
    cluster.apply("two", config_map({"a": "2"}), force=True)
    assert cluster.data == config_map({"a": "2", "b": "1"})
    assert cluster.owned == {"one/Apply": {"f:data": {"f:b": {}}}, "two/Apply": {"f:data": {"f:a": {}}}}


def test_the_same_value_is_owned_together_and_stays_until_the_last_leaves_it() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1", "b": "1"}))
    cluster.apply("two", config_map({"a": "1"}))
    assert cluster.apply("one", config_map({"b": "1"})) == config_map({"a": "1", "b": "1"})
    assert cluster.apply("two", config_map(None)) == config_map({"b": "1"})
    assert cluster.owned == {"one/Apply": {"f:data": {"f:b": {}}}}


def test_what_is_no_longer_applied_goes_with_its_items_and_empty_maps() -> None:
    cluster = Cluster(Deployment, "apps/v1")
    web, side = {"name": "web", "image": "i", "env": [{"name": "X", "value": "1"}]}, {"name": "side", "image": "s"}
    cluster.apply("one", deployment(3, web, side))
    assert cluster.apply("one", deployment(None, {"name": "web", "image": "i"})) == deployment(
        None, {"name": "web", "image": "i"}
    )


def test_what_an_updater_added_to_a_list_stays() -> None:
    cluster = Cluster(Deployment, "apps/v1")
    web, side = {"name": "web", "image": "i"}, {"name": "side", "image": "s"}
    cluster.apply("one", deployment(1, web))
    cluster.update("injector", deployment(1, side, web))
    assert cluster.apply("one", deployment(1, {"name": "web", "image": "j"})) == deployment(
        1, side, {"name": "web", "image": "j"}
    )
    assert "injector/Update" in cluster.owned


def test_an_update_takes_what_it_changes_from_whoever_applied_it() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1", "b": "1"}))
    cluster.update("edit", config_map({"a": "2"}))
    assert cluster.owned == {"edit/Update": {"f:data": {"f:a": {}}}}
    assert cluster.apply("one", config_map({"a": "2"})) == config_map({"a": "2"})
    assert cluster.owned == {"one/Apply": {"f:data": {"f:a": {}}}, "edit/Update": {"f:data": {"f:a": {}}}}


def test_atomic_lists_and_maps_have_one_owner() -> None:
    cluster = Cluster(Service, "v1")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    cluster.apply("one", {**service, "spec": {"selector": {"a": "b"}, "externalIPs": ["1.1.1.1"]}})
    assert cluster.owned == {"one/Apply": {"f:spec": {"f:externalIPs": {}, "f:selector": {}}}}
    with pytest.raises(ApiError, match=r"2 conflicts: .*\n- \.spec\.externalIPs\n- \.spec\.selector"):
        cluster.apply("two", {**service, "spec": {"selector": {"c": "d"}, "externalIPs": ["2.2.2.2"]}})


def test_sets_merge_by_value() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map(None, finalizers=["x/a", "x/b"]))
    cluster.apply("two", config_map(None, finalizers=["x/c"]))
    assert cluster.owned["two/Apply"] == {"f:metadata": {"f:finalizers": {'v:"x/c"': {}}}}
    assert cluster.apply("one", config_map(None, finalizers=["x/b"]))["metadata"]["finalizers"] == ["x/b", "x/c"]


def test_an_object_that_nobody_tracked_is_adopted_on_its_first_apply() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.data = config_map({"a": "1", "b": "1"})
    cluster.update("edit", config_map({"a": "1", "b": "2"}))
    assert cluster.owned == {}
    with pytest.raises(ApiError, match=r'conflict with "before-first-apply" using v1: \.data\.a'):
        cluster.apply("one", config_map({"a": "2"}))
    cluster.apply("one", config_map({"a": "1"}))
    assert cluster.owned == {
        "one/Apply": {"f:data": {"f:a": {}}},
        "before-first-apply/Update": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
    }


def test_subresources_have_entries_of_their_own() -> None:
    cluster = Cluster(Deployment, "apps/v1")
    cluster.apply("one", deployment(1, {"name": "web", "image": "i"}))
    cluster.update("scaler", deployment(5, {"name": "web", "image": "i"}), "scale")
    (scaled,) = [entry for entry in cluster.entries or () if entry.subresource]
    assert (scaled.manager, scaled.subresource, scaled.fieldsV1) == ("scaler", "scale", {"f:spec": {"f:replicas": {}}})
    with pytest.raises(ApiError, match=r'"scaler" with subresource "scale" using apps/v1: \.spec\.replicas'):
        cluster.apply("one", deployment(1, {"name": "web", "image": "i"}))


def test_what_changes_nothing_leaves_even_the_time() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.apply("one", config_map({"a": "1"}))
    before = cluster.entries
    cluster.apply("one", config_map({"a": "1"}))
    assert cluster.entries == before
    cluster.update("edit", config_map({"a": "1"}))
    assert cluster.entries == before


def test_a_client_may_hand_over_ownership_itself_or_reset_it() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.update("kubectl-client-side-apply", config_map({"a": "1"}))
    moved = entries_of({Manager("kubectl", "Apply"): Owned("v1", parse_fields_v1({"f:data": {"f:a": {}}}), NOW)})
    cluster.update("migration", config_map({"a": "1"}), given=moved)
    assert cluster.owned == {"kubectl/Apply": {"f:data": {"f:a": {}}}}
    broken = [ManagedFieldsEntry(manager="x", operation="Frob")]
    cluster.update("migration", config_map({"a": "1"}), given=broken)
    assert cluster.owned == {"kubectl/Apply": {"f:data": {"f:a": {}}}}
    cluster.update("migration", config_map({"a": "1"}), given=[])
    assert cluster.owned == {}


def test_kubectl_may_change_what_it_applied_without_the_servers_help() -> None:
    cluster = Cluster(ConfigMap, "v1")
    key = "kubectl.kubernetes.io/last-applied-configuration"
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","b":"1"}}'
    cluster.update("kubectl-client-side-apply", config_map({"a": "1", "b": "1"}, annotations={key: last}))
    with pytest.raises(ApiError):
        cluster.apply("other", config_map({"a": "2"}))
    result = cluster.apply("kubectl", config_map({"a": "2"}))
    assert result["data"] == {"a": "2", "b": "1"}
    assert result["metadata"]["annotations"][key].startswith('{"apiVersion":"v1"')
    assert '"a":"2"' in result["metadata"]["annotations"][key]
    cluster.update("edit", config_map({"a": "3", "b": "1"}, annotations=result["metadata"]["annotations"]))
    with pytest.raises(ApiError, match=r'1 conflict: conflict with "edit" using v1: \.data\.a'):
        cluster.apply("kubectl", config_map({"a": "4"}))


OUT_OF_SCHEMA: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": (
        {**deployment(1), "spec": {"replica": 1}},
        r"failed to create typed patch object \(/d; apps/v1, Kind=Deployment\): \.spec\.replica: field not declared",
    ),
    "an item without its key": (
        deployment(1, {"image": "i"}),
        r"\.spec\.template\.spec\.containers: element 0: associative list with keys has an element that omits key "
        r'field "name"',
    ),
    "two items of one key": (
        deployment(1, {"name": "w"}, {"name": "w"}),
        r'\.spec\.template\.spec\.containers: duplicate entries for key \[name="w"\]',
    ),
}


@pytest.mark.parametrize(("config", "message"), OUT_OF_SCHEMA.values(), ids=OUT_OF_SCHEMA.keys())
def test_what_does_not_fit_its_type_is_refused(config: dict[str, Any], message: str) -> None:
    cluster = Cluster(Deployment, "apps/v1")
    with pytest.raises(ApiError, match=message) as raised:
        cluster.apply("one", config)
    assert raised.value.code == 400


ORDERS = {
    "what is only live stays where it was": ("abc", "b", "abc"),
    "what is applied goes in its order": ("abc", "cb", "acb"),
    "what is new goes after what is live": ("ab", "c", "abc"),
    "what is new goes before what it is applied before": ("ab", "cb", "acb"),
    "all at once": ("axby", "bca", "xbyca"),
}


@pytest.mark.parametrize(("live", "applied", "expected"), ORDERS.values(), ids=ORDERS.keys())
def test_items_keep_an_order(live: str, applied: str, expected: str) -> None:
    def listed(names: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": name} for name in names]}}

    result = merged(listed(live), listed(applied), shape_of(Pod))
    found = [container["name"] for container in result["spec"]["containers"]]
    assert sorted(found) == sorted(expected)
    positions = [found.index(name) for name in applied]
    assert positions == sorted(positions)
    assert "".join(found) == expected


def test_values_of_the_wrong_type_are_left_to_the_decoder() -> None:
    shape = shape_of(Deployment)
    config = {"spec": {"replicas": {"x": 1}, "template": "t"}, "metadata": 1}
    assert {path_text(path) for path in fields_set_by(config, shape)} == {
        ".metadata",
        ".spec.replicas",
        ".spec.template",
    }
    assert merged(deployment(1), config, shape)["spec"]["template"] == "t"


def test_the_oldest_of_many_updaters_become_one() -> None:
    managers = {
        Manager(f"m{number:02}", "Update", "", "v1"): Owned(
            "v1", parse_fields_v1({"f:data": {f"f:{number}": {}}}), NOW + timedelta(seconds=number)
        )
        for number in range(13)
    }
    found = capped(managers)
    assert len(found) == 10
    ancient = found[Manager("ancient-changes", "Update", "", "v1")]
    assert fields_v1(ancient.fields) == {"f:data": {"f:0": {}, "f:1": {}, "f:2": {}, "f:3": {}}}


def test_entries_come_appliers_first_then_by_time() -> None:
    cluster = Cluster(ConfigMap, "v1")
    cluster.update("z", config_map({"a": "1"}))
    cluster.update("a", config_map({"a": "1", "b": "1"}))
    cluster.apply("late", config_map({"a": "1"}))
    assert list(cluster.owned) == ["late/Apply", "z/Update", "a/Update"]
    assert entries_of(managers_of(cluster.entries)) == cluster.entries
