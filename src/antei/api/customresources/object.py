"""An object of a custom kind: a JSON object whose metadata is typed, and that nobody changes.

    cron_tab = CustomObject.of({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {...}, ...})
    cron_tab.metadata.name, cron_tab["spec"]["replicas"], cron_tab.status

`api.objects.replace` makes a changed copy, as of every object; `replace(obj, status=None)` takes a field away.
Each version of a custom kind has a class of its own (`Resource.type`), which differs in nothing but its resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

if TYPE_CHECKING:
    from antei.api.resources import Resource

__all__ = ["CustomObject", "decode_json"]


class CustomObject(dict[str, Any]):
    """msgspec encodes it as any mapping. What is inside is not copied: it is shared, and nobody changes it."""

    __slots__ = ()
    #: That of one version of a kind; None in this class itself.
    resource: ClassVar[Resource | None] = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Takes a plain JSON object. Raises msgspec.ValidationError where its metadata is none."""
        metadata = data.get("metadata")
        if not isinstance(metadata, ObjectMeta):
            metadata = ObjectMeta() if metadata is None else msgspec.convert(metadata, ObjectMeta)
        return cls({**data, "metadata": metadata})

    @property
    def apiVersion(self) -> str | None:
        return self.get("apiVersion")

    @property
    def kind(self) -> str | None:
        return self.get("kind")

    @property
    def metadata(self) -> ObjectMeta | None:
        return self.get("metadata")

    @property
    def spec(self) -> Any:
        return self.get("spec")

    @property
    def status(self) -> Any:
        return self.get("status")

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """A copy with these top-level fields; those that are None are taken away."""
        merged = {**self, **changes}
        return type(self)({name: value for name, value in merged.items() if value is not None or name not in changes})

    def plain(self) -> dict[str, Any]:
        """As plain JSON data, the metadata too."""
        return {**self, "metadata": msgspec.to_builtins(self.metadata)}

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("an object of a custom kind is not changed, but replaced")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def decode_json(body: bytes, type_: type[Any]) -> Any:
    """As msgspec.json.decode, of a Struct's class or a custom kind's. Raises msgspec.DecodeError."""
    if issubclass(type_, CustomObject):
        data = msgspec.json.decode(body)
        if not isinstance(data, dict):
            raise msgspec.ValidationError("Expected `object`")
        return type_.of(data)
    return msgspec.json.decode(body, type=type_)
