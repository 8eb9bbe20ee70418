"""Kinds that CustomResourceDefinitions define: what their objects are, and what their schemas say of them. All pure.

    definition    a CRD to the Resources of its versions       object      an object of a custom kind
    schema        a structural schema, compiled                pruning     fields that the schema has not
    defaulting    fields that an object leaves out             validation  what the schema refuses
    rules         x-kubernetes-validations, in CEL             columns     additionalPrinterColumns
    shapes        who owns which fields (server-side apply)    crd         whether a CRD itself is valid, its names

Kubernetes: staging/src/k8s.io/apiextensions-apiserver.
"""

from __future__ import annotations

from antei.api.customresources.definition import CustomKind, Definition, custom_kind
from antei.api.customresources.object import CustomObject, decode_json

__all__ = ["CustomKind", "CustomObject", "Definition", "custom_kind", "decode_json"]
