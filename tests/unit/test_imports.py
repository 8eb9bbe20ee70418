"""What is loaded only when somebody needs it: starting is importing, and each of these costs megabytes and time."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Needed by few clusters: webhooks and probes (aiohttp), expressions (CEL), /metrics, gRPC probes, reports, sweeps.
_RARE = {
    "aiohttp",
    "cel_expr_python",
    "dask",
    "google.protobuf",
    "grpc",
    "h2",
    "hypothesis",
    "jinja2",
    "prometheus_client",
}
#: What no reader of manifests needs, nor who asks for help.
_OF_CLUSTERS = {"antei.server", "antei.store", "antei.network", "antei.runtime", "pyroute2", "uvicorn", "dns"}
_OF_THE_API = {
    "antei.api",
    "antei.client",
    "antei.cluster",
    "asyncio",
    "cryptography",
    "lightkube",
    "rich",
    "ssl",
    "yaml",
}


@pytest.mark.parametrize(
    ("what", "code", "unloaded"),
    [
        pytest.param(
            "antei --help",
            "from click.testing import CliRunner; from antei.cli import main; CliRunner().invoke(main, ['--help'])",
            _RARE | _OF_CLUSTERS | _OF_THE_API,
            id="help",
        ),
        pytest.param("antei check", "import antei.cli.check", _RARE | _OF_CLUSTERS | {"cryptography"}, id="check"),
        pytest.param("antei up", "import antei.cli.up, antei.cluster", _RARE, id="up"),
        pytest.param(
            "antei up --detach", "import antei.cli.up", _RARE | {"antei.cluster", "antei.node", "pyroute2"}, id="detach"
        ),
        pytest.param(
            "antei down", "import antei.cli.down", _RARE | _OF_CLUSTERS | _OF_THE_API - {"asyncio", "ssl"}, id="down"
        ),
        pytest.param(
            "the fixtures", "import antei.pytest_plugin", {"antei.cluster", "antei.api", "lightkube"}, id="plugin"
        ),
        pytest.param("a test's cluster", "import antei.testing.cluster", _RARE | {"pyroute2"}, id="testing"),
    ],
)
def test_what_few_need_is_not_loaded_by_everybody(what: str, code: str, unloaded: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(unloaded & set(done.stdout.split())) == [], f"{what} loads what it seldom needs"
