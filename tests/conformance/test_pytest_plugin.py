"""The pytest plugin, as tests of others see it: each test here is a test suite of its own that pytest runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from antei_process import containers_of, kubectl_binary

import antei.testing  # noqa: F401 - a run in this process forgets what it imported itself

pytest_plugins = ["pytester"]

DOCUMENT = Path(__file__).parents[2] / "docs/pytest.md"
OPTIONS = ("-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
POD = """
POD = '''
apiVersion: v1
kind: Pod
metadata: {name: box}
spec: {containers: [{name: main, image: box}]}
'''
COMMAND = "echo the box is open; trap 'exit 0' TERM; while :; do sleep 9 & wait; done"
BOX = {"box": {"command": ["/bin/sh", "-c", COMMAND]}}
"""


@pytest.fixture(autouse=True)
def _kubectl_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(kubectl_binary()).parent}{os.pathsep}{os.environ['PATH']}")


def test_the_documents_examples_are_true(pytester: pytest.Pytester) -> None:
    found = re.findall(r"^```\w+\n# file: (\S+)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    for name, text in found:
        (pytester.path / name).write_text(text)
    count = sum(name.startswith("test_") for name, _ in found)
    assert count >= 4
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=count)


def test_nothing_of_antei_is_imported_before_a_test_asks_for_a_cluster(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            loaded = [name for name in sys.modules if name.split(".")[0] in ("antei", "lightkube", "uvicorn")]
            assert sorted(loaded) == ["antei", "antei.pytest_plugin"]
        """
    )
    pytester.runpytest_subprocess(*OPTIONS).assert_outcomes(passed=1)


def test_every_test_has_a_cluster_of_its_own_and_nothing_is_left_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        POD
        + """
import pytest
from lightkube.resources.core_v1 import Node, Pod

pytestmark = [pytest.mark.lasts(30), pytest.mark.antei(images=BOX, manifests=POD)]

@pytest.mark.antei(nodes=2)
def test_one(antei_cluster, kube_client):
    assert sorted(node.metadata.name for node in kube_client.list(Node)) == ["node-1", "node-2"]
    kube_client.delete(Pod, "box")

def test_two(antei_cluster, kube_client):
    assert [node.metadata.name for node in kube_client.list(Node)] == ["node-1"]
    assert kube_client.get(Pod, "box").status.phase == "Running"
"""
    )
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=2)
    assert containers_of(pytester.path) == []


def test_a_failed_tests_report_shows_pods_events_and_logs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        POD
        + """
import asyncio
import pytest

@pytest.mark.antei(images=BOX, manifests=POD)
def test_processes(antei_cluster):
    from antei_process import until
    until("it speaks", lambda: "is open" in str(antei_cluster.story()))
    assert False

@pytest.mark.antei(virtual_time=True, manifests=POD)
async def test_virtually(antei_cluster):
    await asyncio.sleep(7200)
    assert False

@pytest.mark.antei(runtime="simulated", manifests=["missing.yaml"])
def test_never_started(antei_cluster):
    pass

@pytest.mark.antei(manifests=POD, wait_seconds=0.5)
def test_never_ready(antei_cluster):
    pass
"""
    )
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(failed=2, errors=2)
    result.stdout.re_match_lines(
        [
            r"-+ antei_cluster: pods -+",
            r"NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE",
            r"default +box +1/1 +Running .*",
            r"-+ antei_cluster: events -+",
            r"default .* Started +pod/box +Container started",
            r"-+ antei_cluster: log of default/box, main -+",
            r"the box is open",
            r"-+ antei_cluster: pods -+",
            r"default +box +1/1 +Running +0 +120m",
        ],
        consecutive=False,
    )
    result.stdout.fnmatch_lines(["*missing.yaml: no such file or directory*"])
    result.stdout.fnmatch_lines(
        ["*NotReady: not ready after 0.5 s: pod/box: box is not ready", "*no entry of the image map*"]
    )


def test_the_sessions_cluster_is_shared_and_is_what_the_ini_file_says(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nantei_runtime = simulated\nantei_nodes = 3\nantei_manifests = box.yaml\n")
    pytester.path.joinpath("box.yaml").write_text(POD.split("'''")[1])
    pytester.makepyfile(
        """
        import os
        from lightkube.models.meta_v1 import ObjectMeta
        from lightkube.resources.core_v1 import ConfigMap, Node, Pod

        def test_one(antei_session_cluster, kube_client, kubeconfig):
            assert len(list(kube_client.list(Node))) == 3
            assert os.environ["KUBECONFIG"] == str(kubeconfig) == str(antei_session_cluster.kubeconfig)
            kube_client.create(ConfigMap(metadata=ObjectMeta(name="left")))

        def test_two(antei_session_cluster, kube_client):
            assert kube_client.get(ConfigMap, "left").metadata.name == "left"
            assert kube_client.get(Pod, "box").status.phase == "Running"

        def test_a_fresh_one_beside_it(antei_session_cluster, antei_cluster, kube_client):
            assert antei_cluster.url != antei_session_cluster.url
            assert [found.metadata.name for found in kube_client.list(Pod)] == []
        """
    )
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=3)


def test_workers_of_xdist_are_not_in_each_others_way(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        POD
        + """
import pytest
from lightkube.resources.core_v1 import Pod

@pytest.mark.parametrize("number", range(4))
@pytest.mark.antei(images=BOX, manifests=POD)
def test_one_of_many(antei_cluster, antei_session_cluster, kube_client, number):
    assert kube_client.get(Pod, "box").status.podIP
"""
    )
    pytester.runpytest_subprocess("-n", "2", *OPTIONS).assert_outcomes(passed=4)


def test_without_namespaces_containers_are_plain_processes_on_loopback(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from antei.runtime.process import Capabilities

        @pytest.fixture(autouse=True)
        def _nothing_allowed(monkeypatch):
            async def detect(directory):
                return Capabilities(mode="plain", refusals=("not here",))
            monkeypatch.setattr("antei.runtime.chosen.detect", detect)
        """
    )
    pytester.makepyfile(
        POD
        + """
import pytest
from lightkube.resources.core_v1 import Pod

@pytest.mark.antei(images=BOX, manifests=POD)
def test_it_runs(antei_cluster, kube_client):
    assert "not here" in antei_cluster.notes[0]
    assert kube_client.get(Pod, "box").status.podIP.startswith("127.")
"""
    )
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=1)


def test_an_asynchronous_test_needs_no_plugin_in_virtual_time_and_fixtures_are_given_to_it(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.fixture
        def color():
            return "red"

        @pytest.mark.antei(virtual_time=True)
        class TestThings:
            @pytest.mark.parametrize("hours", [1, 2])
            async def test_hours(self, antei_cluster, color, hours):
                before = antei_cluster.seconds
                await asyncio.sleep(hours * 3600)
                assert (antei_cluster.seconds - before, color) == (hours * 3600, "red")

        @pytest.mark.antei(virtual_time=True)
        async def test_without_a_cluster():
            pass

        @pytest.mark.antei(virtual_time=True)
        async def test_over_http(antei_cluster, kube_client):
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*in virtual time there is no server to connect to: use antei_cluster.client*",
            "*the test must take the fixture antei_cluster*",
        ]
    )


MISTAKES = {
    "node=3": "there is no option 'node'; known are *nodes*",
    "3": "marker antei: 3 has no name; write for instance nodes=3",
    "nodes=0": "nodes=0: a number from 1 to 250",
    "runtime='docker'": "runtime='docker': process or simulated",
    "virtual_time=True, runtime='process'": "virtual_time goes with runtime='simulated' only",
    "manifests='kind: Pod\\nspec: {'": "ManifestError: a text of the test:3: did not find expected node content",
    "manifests=['nowhere']": "nowhere: no such file or directory",
    "manifests={'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'X'}}": "not applied: an object of the test:1",
    "images={'box': {'comand': []}}": "ImageMapError: *comand*",
}


def test_mistakes_in_a_marker_are_said(pytester: pytest.Pytester) -> None:
    cases = [
        f"@pytest.mark.antei({marker})\ndef test_{number}(antei_cluster):\n    raise AssertionError('never')\n"
        for number, marker in enumerate(MISTAKES)
    ]
    pytester.makepyfile("import pytest\n\n" + "\n".join(cases))
    result = pytester.runpytest_inprocess(*OPTIONS, "--tb=short")
    result.assert_outcomes(errors=len(MISTAKES))
    result.stdout.fnmatch_lines([f"*{message}*" for message in MISTAKES.values()])


def test_a_part_that_fails_fails_the_test_that_uses_the_cluster(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.antei(runtime="simulated")
        def test_x(antei_cluster):
            async def break_it(cluster):
                async def broken():
                    raise RuntimeError("a part has failed")
                cluster._group.create_task(broken())
            antei_cluster.run(break_it)
        """
    )
    result = pytester.runpytest_inprocess(*OPTIONS)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: a part has failed*"])


def test_markers_are_known(pytester: pytest.Pytester) -> None:
    listed = subprocess.run([sys.executable, "-m", "pytest", "--markers"], capture_output=True, text=True, check=True)
    assert "@pytest.mark.antei(nodes=1, runtime='process'" in listed.stdout
