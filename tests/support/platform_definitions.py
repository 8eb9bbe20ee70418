"""A platform of thirty custom kinds, as large operators bring them, with rules in CEL: our own, for tests.

Each kind has the fields of its spec, rules over them, an object that they accept, and changes that they refuse with the
sentence that is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["GROUP", "KINDS", "PlatformKind", "definition"]

GROUP = "platform.example.org"

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}
TIME = {"type": "string", "format": "date-time"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PORT_OR_NAME = {"x-kubernetes-int-or-string": True}
NAME = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEMPLATE = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}


def one_of(*values: str, **extra: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), **extra}


def items(item: dict[str, Any], most: int = 64, **extra: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": most, **extra}


def keyed(key: str, most: int = 64, **properties: Any) -> dict[str, Any]:
    item = {"type": "object", "required": [key], "properties": properties}
    return items(item, most, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})


def struct(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


@dataclass(frozen=True)
class PlatformKind:
    name: str
    properties: dict[str, Any]
    rules: tuple[tuple[str, str], ...]
    accepted: dict[str, Any]
    #: What is changed in the accepted spec, and what then is told.
    refused: tuple[tuple[dict[str, Any], str], ...]
    required: tuple[str, ...] = ()
    scope: str = "Namespaced"
    #: What an update of the accepted object may not change, and what then is told.
    immutable: tuple[tuple[dict[str, Any], str], ...] = field(default=())

    @property
    def plural(self) -> str:
        return f"{self.name.lower()}s"


def definition(kind: PlatformKind) -> dict[str, Any]:
    spec = {
        "type": "object",
        "properties": kind.properties,
        "required": list(kind.required),
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in kind.rules],
    }
    condition = {"type": "object", "required": ["type"], "properties": {"type": STRING, "status": STRING}}
    conditions = items(condition, 8, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec, "status": struct(conditions=conditions)},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {"kind": kind.name, "plural": kind.plural, "categories": ["platform"]},
            "versions": [version],
        },
    }


KINDS: tuple[PlatformKind, ...] = (
    PlatformKind(
        "Listener",
        {
            "listeners": keyed("name", name=NAME, port=PORT, protocol=one_of("HTTP", "HTTPS", "TCP"), hostname=STRING),
        },
        (
            (
                "self.listeners.all(a, self.listeners.exists_one(b, a.port == b.port && a.protocol == b.protocol && "
                "(has(a.hostname) == has(b.hostname)) && (!has(a.hostname) || a.hostname == b.hostname)))",
                "port, protocol and hostname must be unique",
            ),
            ("self.listeners.all(l, l.protocol != 'TCP' || !has(l.hostname))", "TCP listeners have no hostname"),
        ),
        {
            "listeners": [
                {"name": "web", "port": 80, "protocol": "HTTP"},
                {"name": "shop", "port": 80, "protocol": "HTTP", "hostname": "shop.example.org"},
            ]
        },
        (
            (
                {"listeners": [{"name": n, "port": 80, "protocol": "HTTP"} for n in ("a", "b")]},
                "port, protocol and hostname must be unique",
            ),
            (
                {"listeners": [{"name": "a", "port": 80, "protocol": "TCP", "hostname": "x"}]},
                "TCP listeners have no hostname",
            ),
            ({"listeners": [{"name": "a", "port": 0}]}, "should be greater than or equal to 1"),
        ),
        ("listeners",),
    ),
    PlatformKind(
        "HttpRoute",
        {
            "rules": items(
                struct(
                    matches=items(struct(path=struct(type=one_of("Exact", "Prefix", "Regex"), value=STRING)), 8),
                    backends=items(struct("name", name=NAME, port=PORT, weight={"type": "integer", "minimum": 0}), 16),
                    redirect=struct(host=STRING),
                ),
                16,
            )
        },
        (
            (
                "self.rules.all(r, !(has(r.redirect) && has(r.backends) && r.backends.size() > 0))",
                "a rule redirects or has backends",
            ),
            (
                "self.rules.all(r, !has(r.matches) || r.matches.all(m, !has(m.path) || m.path.type == 'Regex' || "
                "m.path.value.startsWith('/')))",
                "paths begin with a slash",
            ),
        ),
        {
            "rules": [
                {"matches": [{"path": {"type": "Prefix", "value": "/a"}}], "backends": [{"name": "web", "port": 80}]}
            ]
        },
        (
            (
                {"rules": [{"redirect": {"host": "x"}, "backends": [{"name": "web"}]}]},
                "a rule redirects or has backends",
            ),
            ({"rules": [{"matches": [{"path": {"type": "Exact", "value": "a"}}]}]}, "paths begin with a slash"),
        ),
    ),
    PlatformKind(
        "Database",
        {"engine": one_of("postgres", "mariadb"), "version": STRING, "storage": STRING, "replicas": INTEGER},
        (
            ("self.engine == oldSelf.engine", "the engine is immutable"),
            ("quantity(self.storage).compareTo(quantity(oldSelf.storage)) >= 0", "storage cannot shrink"),
            ("isSemver(self.version, true)", "version must be a version"),
            ("self.replicas % 2 == 1", "an odd number of replicas is needed"),
        ),
        {"engine": "postgres", "version": "16.2", "storage": "10Gi", "replicas": 3},
        (
            ({"version": "latest"}, "version must be a version"),
            ({"replicas": 2}, "an odd number of replicas is needed"),
            ({"engine": "sqlite"}, 'supported values: "postgres", "mariadb"'),
        ),
        ("engine", "version", "storage", "replicas"),
        immutable=(
            ({"engine": "mariadb"}, "the engine is immutable"),
            ({"storage": "10000Mi"}, "storage cannot shrink"),
        ),
    ),
    PlatformKind(
        "Backup",
        {"schedule": STRING, "keep": struct(daily=INTEGER, weekly=INTEGER), "until": TIME, "timeout": STRING},
        (
            ("self.schedule.split(' ').size() == 5", "a schedule has five fields"),
            ("self.keep.daily + self.keep.weekly > 0", "something must be kept"),
            ("duration(self.timeout) <= duration('1h')", "the timeout is an hour at most"),
            ("!has(self.until) || self.until > timestamp('2020-01-01T00:00:00Z')", "until is in the past"),
        ),
        {"schedule": "0 3 * * *", "keep": {"daily": 7, "weekly": 0}, "timeout": "30m"},
        (
            ({"schedule": "@daily"}, "a schedule has five fields"),
            ({"keep": {"daily": 0, "weekly": 0}}, "something must be kept"),
            ({"timeout": "61m"}, "the timeout is an hour at most"),
            ({"until": "2019-01-01T00:00:00Z"}, "until is in the past"),
        ),
        ("schedule", "keep", "timeout"),
    ),
    PlatformKind(
        "Network",
        {"cidr": STRING, "gateway": STRING, "reserved": items(STRING, 16)},
        (
            ("isCIDR(self.cidr) && cidr(self.cidr).masked() == cidr(self.cidr)", "cidr must be a network"),
            ("cidr(self.cidr).containsIP(self.gateway)", "the gateway must be inside"),
            ("self.reserved.all(r, cidr(self.cidr).containsCIDR(r))", "what is reserved must be inside"),
        ),
        {"cidr": "10.1.0.0/16", "gateway": "10.1.0.1", "reserved": ["10.1.4.0/24"]},
        (
            ({"cidr": "10.1.2.3/16"}, "cidr must be a network"),
            ({"gateway": "10.2.0.1"}, "the gateway must be inside"),
            ({"reserved": ["10.0.0.0/8"]}, "what is reserved must be inside"),
        ),
        ("cidr", "gateway", "reserved"),
        "Cluster",
    ),
    PlatformKind(
        "Certificate",
        {"names": items(STRING, 20), "validity": STRING, "renewBefore": STRING, "issuer": struct("name", name=NAME)},
        (
            ("self.names.size() > 0 && self.names.all(n, n.matches('^[*a-z0-9.-]+$'))", "names must be DNS names"),
            ("duration(self.renewBefore) < duration(self.validity)", "it must be renewed before it ends"),
            ("self.names.all(n, self.names.filter(m, m == n).size() == 1)", "each name is there once"),
        ),
        {
            "names": ["a.example.org", "*.example.org"],
            "validity": "2160h",
            "renewBefore": "360h",
            "issuer": {"name": "ca"},
        },
        (
            ({"names": ["A!"]}, "names must be DNS names"),
            ({"renewBefore": "2161h"}, "it must be renewed before it ends"),
            ({"names": ["a", "a"]}, "each name is there once"),
        ),
        ("names", "validity", "renewBefore", "issuer"),
    ),
    PlatformKind(
        "Autoscaler",
        {"min": INTEGER, "max": INTEGER, "target": NUMBER, "steps": items(struct(at=NUMBER, to=INTEGER), 10)},
        (
            ("self.min <= self.max", "min is not above max"),
            ("self.target > 0.0 && self.target <= 1.0", "target is a share"),
            ("!has(self.steps) || self.steps.map(s, s.at).isSorted()", "steps are in order"),
            ("!has(self.steps) || self.steps.map(s, s.to).max() <= self.max", "steps end at max"),
        ),
        {"min": 1, "max": 5, "target": 0.8, "steps": [{"at": 0.5, "to": 2}, {"at": 1, "to": 5}]},
        (
            ({"min": 6}, "min is not above max"),
            ({"target": 1.5}, "target is a share"),
            ({"steps": [{"at": 2, "to": 2}, {"at": 1, "to": 3}]}, "steps are in order"),
            ({"steps": [{"at": 1, "to": 9}]}, "steps end at max"),
        ),
        ("min", "max", "target"),
    ),
    PlatformKind(
        "Endpoint",
        {"url": STRING, "methods": items(one_of("GET", "POST", "PUT"), 3, **{"x-kubernetes-list-type": "set"})},
        (
            ("isURL(self.url) && url(self.url).getScheme() in ['http', 'https']", "url must be a web address"),
            ("url(self.url).getHostname() != 'localhost'", "localhost is nobody's address"),
        ),
        {"url": "https://example.org/hook", "methods": ["GET", "POST"]},
        (
            ({"url": "ftp://example.org"}, "url must be a web address"),
            ({"url": "http://localhost:8080/"}, "localhost is nobody's address"),
            ({"methods": ["GET", "GET"]}, "Duplicate value"),
        ),
        ("url",),
    ),
    PlatformKind(
        "Secretsource",
        {"vault": struct("path", path=STRING), "file": struct("name", name=STRING), "inline": STRING},
        (
            (
                "[has(self.vault), has(self.file), has(self.inline)].filter(x, x).size() == 1",
                "exactly one source is named",
            ),
        ),
        {"vault": {"path": "a/b"}},
        (
            ({"file": {"name": "x"}}, "exactly one source is named"),
            ({"vault": {}}, "spec.vault.path: Required value"),
        ),
    ),
    PlatformKind(
        "Team",
        {"owner": STRING, "members": keyed("name", name=NAME, role=one_of("admin", "user", default="user"))},
        (
            ("self.members.exists(m, m.name == self.owner && m.role == 'admin')", "the owner is an admin of the team"),
            ("self.owner == oldSelf.owner || self.members.exists(m, m.name == oldSelf.owner)", "a past owner stays"),
        ),
        {"owner": "ada", "members": [{"name": "ada", "role": "admin"}, {"name": "bob"}]},
        (
            ({"owner": "eve"}, "the owner is an admin of the team"),
            ({"members": [{"name": "ada"}]}, "the owner is an admin of the team"),
        ),
        ("owner", "members"),
        "Cluster",
        ((({"owner": "bob", "members": [{"name": "bob", "role": "admin"}]}), "a past owner stays"),),
    ),
    PlatformKind(
        "Workflow",
        {"steps": keyed("name", 32, name=NAME, after=items(NAME, 8), image=STRING)},
        (
            ("self.steps.all(s, !has(s.after) || s.after.all(a, self.steps.exists(t, t.name == a)))", "unknown step"),
            ("self.steps.all(s, !has(s.after) || !(s.name in s.after))", "a step cannot wait for itself"),
            ("self.steps.exists(s, !has(s.after) || s.after.size() == 0)", "some step comes first"),
        ),
        {"steps": [{"name": "build", "image": "a"}, {"name": "test", "after": ["build"], "image": "b"}]},
        (
            ({"steps": [{"name": "a"}, {"name": "b", "after": ["c"]}]}, "unknown step"),
            ({"steps": [{"name": "a"}, {"name": "b", "after": ["b"]}]}, "a step cannot wait for itself"),
            ({"steps": [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}]}, "some step comes first"),
        ),
    ),
    PlatformKind(
        "Template",
        {"parameters": {"type": "object", "additionalProperties": STRING, "maxProperties": 10}, "text": STRING},
        (("self.parameters.all(k, self.text.contains('${' + k + '}'))", "each parameter is used"),),
        {"parameters": {"name": "x"}, "text": "hello ${name}"},
        (({"parameters": {"other": "y"}}, "each parameter is used"),),
        ("parameters", "text"),
    ),
    PlatformKind(
        "Quota",
        {"cpu": STRING, "memory": STRING, "burst": NUMBER},
        (
            ("isQuantity(self.cpu) && isQuantity(self.memory)", "cpu and memory are quantities"),
            ("quantity(self.cpu).sign() == 1", "cpu is above zero"),
        ),
        {"cpu": "500m", "memory": "1Gi", "burst": 2},
        (({"memory": "lots"}, "cpu and memory are quantities"), ({"cpu": "0"}, "cpu is above zero")),
        ("cpu", "memory"),
    ),
    PlatformKind(
        "Probe",
        {"port": PORT_OR_NAME, "path": STRING, "period": INTEGER, "timeout": INTEGER},
        (
            ("type(self.port) == int ? self.port > 0 : self.port.matches('^[a-z-]+$')", "port is a number or a name"),
            ("self.timeout < self.period", "the timeout is shorter than the period"),
        ),
        {"port": "http", "path": "/", "period": 10, "timeout": 1},
        (({"port": 0}, "port is a number or a name"), ({"timeout": 10}, "the timeout is shorter than the period")),
        ("port", "period", "timeout"),
    ),
    PlatformKind(
        "Podset",
        {"template": TEMPLATE, "replicas": {"type": "integer", "minimum": 0, "default": 1}},
        (("self.template.kind == 'Pod' && self.template.apiVersion == 'v1'", "the template is a Pod"),),
        {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}}},
        (
            ({"template": {"apiVersion": "v1", "kind": "Node"}}, "the template is a Pod"),
            ({"replicas": -1}, "greater than"),
        ),
        ("template",),
    ),
    PlatformKind(
        "Alert",
        {"expression": STRING, "severity": one_of("info", "page"), "runbook": STRING, "labels": OPEN},
        (("self.severity != 'page' || has(self.runbook)", "who pages tells what to do"),),
        {"expression": "up == 0", "severity": "info", "labels": {"any": ["thing"]}},
        (({"severity": "page"}, "who pages tells what to do"),),
        ("expression", "severity"),
    ),
    PlatformKind(
        "Dashboard",
        {"panels": items(struct(x=INTEGER, y=INTEGER, w=INTEGER, h=INTEGER), 30)},
        (("self.panels.all(p, p.x + p.w <= 12 && p.w > 0 && p.h > 0)", "panels fit into twelve columns"),),
        {"panels": [{"x": 0, "y": 0, "w": 6, "h": 4}, {"x": 6, "y": 0, "w": 6, "h": 4}]},
        (({"panels": [{"x": 8, "y": 0, "w": 6, "h": 4}]}, "panels fit into twelve columns"),),
        ("panels",),
    ),
    PlatformKind(
        "Mesh",
        {"mode": one_of("strict", "permissive", "off"), "exceptions": items(NAME, 10)},
        (
            ("self.mode != 'off' || !has(self.exceptions)", "there are no exceptions from nothing"),
            ("!(oldSelf.mode == 'strict' && self.mode == 'off')", "strict goes by way of permissive"),
        ),
        {"mode": "strict"},
        (({"mode": "off", "exceptions": ["a"]}, "there are no exceptions from nothing"),),
        ("mode",),
        immutable=(({"mode": "off"}, "strict goes by way of permissive"),),
    ),
    PlatformKind(
        "Queue",
        {"shards": {"type": "integer", "minimum": 1, "multipleOf": 2}, "retention": STRING, "deadLetter": NAME},
        (
            (
                "duration(self.retention) >= duration('1m') && duration(self.retention) <= duration('168h')",
                "1m to 7 days",
            ),
        ),
        {"shards": 4, "retention": "24h"},
        (({"retention": "10s"}, "1m to 7 days"), ({"shards": 3}, "should be a multiple of 2")),
        ("shards", "retention"),
    ),
    PlatformKind(
        "Topic",
        {"partitions": INTEGER, "name": STRING},
        (
            ("self.partitions >= oldSelf.partitions", "partitions only grow"),
            ("!format.dns1123Label().validate(self.name).hasValue()", "name must be a label"),
        ),
        {"partitions": 3, "name": "orders"},
        (({"name": "Orders!"}, "name must be a label"),),
        ("partitions", "name"),
        immutable=(({"partitions": 2}, "partitions only grow"),),
    ),
    PlatformKind(
        "Function",
        {"runtime": STRING, "memory": INTEGER, "environment": keyed("name", name=STRING, value=STRING)},
        (
            ("self.runtime.find('^(python|node|go)') != ''", "an unknown runtime"),
            ("self.environment.all(e, e.name.upperAscii() == e.name)", "names are in capitals"),
        ),
        {"runtime": "python3.11", "memory": 128, "environment": [{"name": "A", "value": "1"}]},
        (
            ({"runtime": "cobol"}, "an unknown runtime"),
            ({"environment": [{"name": "a", "value": "1"}]}, "names are in capitals"),
        ),
        ("runtime", "environment"),
    ),
    PlatformKind(
        "Release",
        {"channel": one_of("stable", "beta"), "version": STRING, "notBefore": TIME, "notAfter": TIME},
        (
            ("semver(self.version).major() >= 1 || self.channel == 'beta'", "what is stable is 1.0 or later"),
            ("self.notBefore < self.notAfter", "it begins before it ends"),
            ("!semver(self.version).isLessThan(semver(oldSelf.version))", "versions do not go back"),
        ),
        {
            "channel": "stable",
            "version": "1.2.0",
            "notBefore": "2024-01-01T00:00:00Z",
            "notAfter": "2024-02-01T09:00:00+09:00",
        },
        (
            ({"version": "0.9.0"}, "what is stable is 1.0 or later"),
            ({"notAfter": "2023-01-01T00:00:00Z"}, "it begins before it ends"),
        ),
        ("channel", "version", "notBefore", "notAfter"),
        immutable=(({"version": "1.1.9"}, "versions do not go back"),),
    ),
    PlatformKind(
        "Region",
        {"zones": items(STRING, 6, **{"x-kubernetes-list-type": "set"}), "primary": STRING},
        (
            ("self.primary in self.zones", "the primary is one of the zones"),
            ("sets.contains(self.zones, oldSelf.zones)", "zones only grow"),
        ),
        {"zones": ["a", "b"], "primary": "a"},
        (({"primary": "c"}, "the primary is one of the zones"),),
        ("zones", "primary"),
        "Cluster",
        (({"zones": ["a", "c"]}, "zones only grow"),),
    ),
    PlatformKind(
        "Volume",
        {"size": STRING, "accessModes": items(one_of("RWO", "ROX", "RWX"), 3), "snapshot": struct(name=NAME)},
        (
            (
                "self.accessModes.size() > 0 && self.accessModes[0] != 'ROX' || has(self.snapshot)",
                "read only needs a snapshot",
            ),
        ),
        {"size": "1Gi", "accessModes": ["RWO"]},
        (({"accessModes": ["ROX"]}, "read only needs a snapshot"),),
        ("size", "accessModes"),
    ),
    PlatformKind(
        "Policy",
        {"allow": items(STRING, 10), "deny": items(STRING, 10), "default": one_of("allow", "deny", default="deny")},
        (("!sets.intersects(self.?allow.orValue([]), self.?deny.orValue([]))", "allowed and denied at once"),),
        {"allow": ["a"], "deny": ["b"]},
        (({"deny": ["a"]}, "allowed and denied at once"),),
    ),
    PlatformKind(
        "Rollout",
        {"strategy": one_of("canary", "blueGreen"), "canary": struct(weights=items(INTEGER, 10)), "blueGreen": OPEN},
        (
            ("self.strategy == 'canary' ? has(self.canary) : has(self.blueGreen)", "the strategy is described"),
            (
                "!has(self.canary) || self.canary.weights.all(i, w, i == 0 || w > self.canary.weights[i - 1])",
                "weights rise",
            ),
        ),
        {"strategy": "canary", "canary": {"weights": [10, 50, 100]}},
        (
            ({"strategy": "blueGreen"}, "the strategy is described"),
            ({"canary": {"weights": [50, 10]}}, "weights rise"),
        ),
        ("strategy",),
    ),
    PlatformKind(
        "Account",
        {"email": {"type": "string", "format": "email"}, "id": {"type": "string", "format": "uuid"}, "active": BOOLEAN},
        (("self.id == oldSelf.id", "an account keeps its id"),),
        {"email": "a@example.org", "id": "123e4567-e89b-12d3-a456-426614174000", "active": True},
        (({"email": "nobody"}, "must be of type email"), ({"id": "1"}, "must be of type uuid")),
        ("email", "id"),
        "Cluster",
        (({"id": "223e4567-e89b-12d3-a456-426614174000"}, "an account keeps its id"),),
    ),
    PlatformKind(
        "Contract",
        {
            "kind": one_of("free", "paid"),
            "price": {"type": "number", "minimum": 0},
            "free": BOOLEAN,
        },
        (("self.kind == 'paid' ? has(self.price) && self.price > 0.0 : !has(self.price)", "what is paid has a price"),),
        {"kind": "paid", "price": 3},
        (({"kind": "free"}, "what is paid has a price"), ({"price": 0}, "what is paid has a price")),
        ("kind",),
    ),
    PlatformKind(
        "Sensor",
        {"range": struct("low", "high", low=NUMBER, high=NUMBER), "unit": STRING, "samples": items(NUMBER, 100)},
        (
            ("self.range.low < self.range.high", "low is below high"),
            ("!has(self.samples) || self.samples.all(s, s >= self.range.low && s <= self.range.high)", "out of range"),
            ("!has(self.samples) || self.samples.sum() < 1000.0", "too much in all"),
        ),
        {"range": {"low": -10, "high": 500.5}, "unit": "C", "samples": [1, 2.5]},
        (
            ({"range": {"low": 5, "high": 5}}, "low is below high"),
            ({"samples": [501]}, "out of range"),
            ({"samples": [500, 500]}, "too much in all"),
        ),
        ("range",),
    ),
    PlatformKind(
        "Tenant",
        {"parent": STRING, "depth": INTEGER, "suspended": {"type": "boolean", "default": False}},
        (
            ("self.depth == 0 ? !has(self.parent) : has(self.parent)", "only the root has no parent"),
            ("!has(oldSelf.parent) || has(self.parent)", "a parent cannot be taken away"),
        ),
        {"depth": 1, "parent": "root"},
        (({"depth": 0}, "only the root has no parent"),),
        ("depth",),
        "Cluster",
    ),
)
