"""OpenAPI, v2 and v3: what kubectl, IDEs and code generators read to know kinds, their fields and their operations."""

from antei.server.http.openapi.service import OpenApi

__all__ = ["OpenApi"]
