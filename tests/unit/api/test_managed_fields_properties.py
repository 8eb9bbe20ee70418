"""Whatever managers write in turns, the rules of server-side apply hold (a model of them for one map and one list)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lightkube.models.meta_v1 import ManagedFieldsEntry
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.managed_fields import Applying, Writer, apply_configuration, entries_after_update
from antei.api.managed_fields.entries import managers_of
from antei.api.managed_fields.shapes import shape_of
from antei.api.managed_fields.values import difference, fields_set_by

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_VALUES = st.sampled_from("12")
_MAPS = st.dictionaries(st.sampled_from("abc"), _VALUES)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    containers = [
        {"name": name, **({"image": draw(_VALUES)} if draw(st.booleans()) else {})}
        for name in draw(st.permutations("xyz"))[: draw(st.integers(0, 3))]
    ]
    spec: dict[str, Any] = {"nodeName": draw(_VALUES)}
    if draw(st.booleans()):
        spec["nodeSelector"] = draw(_MAPS)
    if containers:
        spec["containers"] = containers
    labels = draw(_MAPS)
    metadata = {"name": "p", "labels": labels} if labels else {"name": "p"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


_WRITES = st.lists(
    st.tuples(st.sampled_from(("apply", "force", "update")), st.sampled_from(("one", "two", "three")), objects()),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(_WRITES)
def test_every_sequence_of_writes_keeps_the_rules(writes: list[tuple[str, str, dict[str, Any]]]) -> None:
    data: dict[str, Any] | None = None
    entries: list[ManagedFieldsEntry] | None = None
    shape = shape_of(Pod)
    for verb, manager, written in writes:
        writer = Writer(manager, "v1", NOW)
        if verb == "update":
            entries = entries_after_update(Pod, data, written, None, entries, writer)
            data = written
        else:
            applying = Applying(Pod, written, writer, force=verb == "force")
            try:
                applied = apply_configuration(applying, data, entries)
            except ApiError as error:
                _check_conflict(error, verb, entries, manager)
                continue
            data, entries = applied.data, applied.entries(entries, is_changed=True)
            _check_applied(data, written)
            again = apply_configuration(applying, data, entries)
            assert again.data == data
            assert again.entries(entries, is_changed=False) == entries
        _check_owned(data, entries)
    assert not difference(data, data, shape)


def _check_applied(data: dict[str, Any], config: dict[str, Any]) -> None:
    """All that the configuration sets is as it says."""
    changes = difference(config, data, shape_of(Pod))
    wanted = fields_set_by(config, shape_of(Pod))
    assert not (frozenset(changes.modified) | frozenset(changes.removed)) & wanted


def _check_owned(data: dict[str, Any], entries: list[ManagedFieldsEntry] | None) -> None:
    """Nobody owns what is not there, and nothing is owned by none at all."""
    present = difference(None, data, shape_of(Pod)).set | fields_set_by(data, shape_of(Pod))
    for owned in managers_of(entries).values():
        assert owned.fields
        assert owned.fields <= present


def _check_conflict(error: ApiError, verb: str, entries: list[ManagedFieldsEntry] | None, manager: str) -> None:
    """Only without force, and only with others."""
    assert (verb, error.code) == ("apply", 409)
    assert error.status.details is not None
    others = [entry.manager for entry in entries or () if (entry.manager, entry.operation) != (manager, "Apply")]
    for cause in error.status.details.causes or ():
        assert any(f'"{other}"' in (cause.message or "") for other in [*others, "before-first-apply"])
