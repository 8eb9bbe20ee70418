"""Who owns which field of an object: `metadata.managedFields`, and server-side apply, which goes by it.

    shapes, list_types   how the fields of a type are told apart     values      compare, merge, take away
    paths                sets of fields, and fieldsV1                entries     the table in an object's metadata
    ownership            what a write does to it

All pure, on plain JSON values. Kubernetes: sigs.k8s.io/structured-merge-diff, apimachinery/pkg/util/managedfields.
"""

from __future__ import annotations

from antei.api.managed_fields.ownership import Applied, Applying, Writer, apply_configuration, entries_after_update

__all__ = ["Applied", "Applying", "Writer", "apply_configuration", "entries_after_update"]
