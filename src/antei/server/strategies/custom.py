"""Custom kinds: what their definition's schema and subresources make of a write.

Kubernetes: apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy}.go.
"""

from __future__ import annotations

from typing import Any

from antei.api.customresources.decoding import conformed
from antei.api.customresources.object import CustomObject
from antei.api.errors import ApiError, method_not_supported
from antei.api.objects import meta, replace
from antei.server.strategies.generic import Context, Strategy

__all__ = ["CustomStrategy"]


class CustomStrategy(Strategy):
    has_generation = True
    allows_unconditional_update = False

    def normalise(self, obj: Any) -> Any:
        return conformed(obj)

    def prepare_create(self, obj: Any, context: Context) -> Any:
        definition = self.resource.definition
        if definition is not None and definition.is_terminating:
            raise _terminating(self.resource.plural, self.resource.group)
        return super().prepare_create(obj, context)

    def prepare_status(self, new: Any, old: Any, context: Context) -> Any:
        """All but the status stays, of metadata all but managedFields."""
        metadata = replace(meta(old), managedFields=meta(new).managedFields, resourceVersion=meta(new).resourceVersion)
        return replace(old, metadata=metadata, status=new.status)

    def spec_changed(self, new: CustomObject, old: CustomObject) -> bool:
        """Without the status subresource a change of the status counts, too."""
        ignored = {"apiVersion", "kind", "metadata"} | ({"status"} if self.has_status else set())
        return {name: value for name, value in new.items() if name not in ignored} != {
            name: value for name, value in old.items() if name not in ignored
        }


def _terminating(plural: str, group: str) -> ApiError:
    error = method_not_supported(plural, "create", group)
    detail = "create not allowed while custom resource definition is terminating"
    return ApiError(replace(error.status, message=detail))
