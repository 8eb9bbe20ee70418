"""kubectl get, describe, logs, wait, events, explain and the like: what a user sees of a running cluster."""

from __future__ import annotations

import json
import re
import select
from itertools import count
from typing import IO, Any

import pytest
import yaml
from antei_process import Antei, Kubectl, config_map, deployment, following, needs_namespaces, pod, until

pytestmark = [pytest.mark.live, needs_namespaces()]


def lines_of(kubectl: Kubectl, *arguments: str) -> list[str]:
    return kubectl("logs", *arguments).out.splitlines()


# get


def test_get_shows_the_columns_of_kubernetes(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2))
    kubectl.rolled_out("deployment/web")
    plain = kubectl("get", "pods").rows
    assert [list(row) for row in plain] == [["NAME", "READY", "STATUS", "RESTARTS", "AGE"]] * 2
    assert {(row["READY"], row["STATUS"], row["RESTARTS"]) for row in plain} == {("1/1", "Running", "0")}
    wide = kubectl("get", "pods", "-o", "wide").rows
    assert list(wide[0])[5:] == ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    assert {row["NODE"] for row in wide} <= {"node-1", "node-2", "node-3"}
    assert len({row["IP"] for row in wide}) == 2
    [of_deployment] = kubectl("get", "deployment", "-o", "wide").rows
    del of_deployment["AGE"]
    assert of_deployment == {
        "NAME": "web",
        "READY": "2/2",
        "UP-TO-DATE": "2",
        "AVAILABLE": "2",
        "CONTAINERS": "main",
        "IMAGES": "pause",
        "SELECTOR": "app=web",
    }


def test_get_writes_yaml_json_names_and_columns_of_ones_own(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("a", x="1"), config_map("b", x="2"))
    as_yaml = yaml.safe_load(kubectl("get", "configmap", "a", "-o", "yaml").out)
    as_json = json.loads(kubectl("get", "configmap", "a", "-o", "json").out)
    assert as_json["data"] == as_yaml["data"] == {"x": "1"}
    assert (as_yaml["apiVersion"], as_yaml["kind"]) == ("v1", "ConfigMap")
    names = kubectl("get", "configmaps", "-o", "name", "--field-selector=metadata.name!=kube-root-ca.crt").out.split()
    assert names == ["configmap/a", "configmap/b"]
    rows = kubectl("get", "configmaps", "a", "b", "-o", "custom-columns=WHO:.metadata.name,X:.data.x").rows
    assert rows == [{"WHO": "a", "X": "1"}, {"WHO": "b", "X": "2"}]
    assert kubectl("get", "configmap", "b", "-o", "jsonpath={.data.x}").out == "2"
    template = "{{range .items}}{{.metadata.name}};{{end}}"
    assert kubectl("get", "configmaps", "--sort-by=.data.x", "-o", f"go-template={template}").out.endswith("a;b;")
    missing = kubectl("get", "configmap", "c", check=False)
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): configmaps "c" not found\n')


def test_get_selects_by_label_and_by_field(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(*(pod(name, labels={"app": "x", "tier": tier}) for name, tier in (("a", "1"), ("b", "2"))))
    kubectl.wait("condition=Ready", "pod/a", "pod/b")
    assert kubectl("get", "pods", "-l", "tier=2", "-o", "name").out == "pod/b\n"
    assert kubectl("get", "pods", "-l", "app=x,tier notin (2)", "-o", "name").out == "pod/a\n"
    assert (
        kubectl("get", "pods", "--field-selector=metadata.name=a,status.phase=Running", "-o", "name").out == "pod/a\n"
    )
    node = kubectl.get("pod", "b")["spec"]["nodeName"]
    assert "pod/b" in kubectl("get", "pods", f"--field-selector=spec.nodeName={node}", "-o", "name").out.split()
    assert [row["LABELS"] for row in kubectl("get", "pods", "--show-labels").rows] == ["app=x,tier=1", "app=x,tier=2"]
    assert [row["TIER"] for row in kubectl("get", "pods", "-L", "tier").rows] == ["1", "2"]
    everywhere = antei.kubectl("get", "pods", "-A", "-l", "app=x").rows
    assert [(row["NAMESPACE"], row["NAME"]) for row in everywhere if row["NAMESPACE"] == kubectl.namespace] == [
        (kubectl.namespace, "a"),
        (kubectl.namespace, "b"),
    ]
    wrong = kubectl("get", "pods", "--field-selector=spec.color=red", check=False)
    assert wrong.code == 1
    assert "field label not supported: spec.color" in wrong.err
    assert kubectl("get", "pods", "-l", "app=nobody").err == f"No resources found in {kubectl.namespace} namespace.\n"


def test_get_watches(kubectl: Kubectl) -> None:
    kubectl.apply(pod("before"))
    with following(kubectl.start("get", "pods", "-w", "--no-headers")) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "before"  # it follows from here on
        kubectl.apply(pod("seen"))
        kubectl.wait("condition=Ready", "pod/seen")
        kubectl("delete", "pod", "seen")
        statuses = []
        for line in process.stdout:
            words = line.split()
            if words[0] != "seen":
                continue
            statuses.append((words[1], words[2]))
            if words[2] in ("Terminating", "Completed") and len(statuses) > 3:
                break
    assert statuses[0] == ("0/1", "Pending")
    assert ("0/1", "ContainerCreating") in statuses
    assert ("1/1", "Running") in statuses
    assert statuses[-1][1] in ("Terminating", "Completed")
    with following(kubectl.start("get", "configmaps", "--watch-only", "--output-watch-events")) as process:
        assert process.stdout is not None
        told = process.stdout
        until("the watch is there", lambda: kubectl.apply(_stamped("late")) and _readable(told))
        assert process.stdout.readline().split() == ["EVENT", "NAME", "DATA", "AGE"]
        assert process.stdout.readline().split()[:3] in (["ADDED", "late", "1"], ["MODIFIED", "late", "1"])


_NUMBERS = count()


def _stamped(name: str) -> dict[str, Any]:
    """Other data each time, so that each apply is a change."""
    return config_map(name, number=str(next(_NUMBERS)))


def _readable(stream: IO[str]) -> bool:
    return bool(select.select([stream], [], [], 0.2)[0])


# describe


def test_describe_tells_of_pods_and_what_happened_to_them(kubectl: Kubectl) -> None:
    kubectl.apply(
        config_map("settings", color="red"),
        pod(
            "web",
            "web",
            env=[{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}],
            ports=[{"name": "http", "containerPort": 8080}],
            readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
        ),
    )
    kubectl.wait("condition=Ready", "pod/web")
    found = kubectl.get("pod", "web")
    said = until("events", lambda: _with("Started", kubectl("describe", "pod", "web").out))
    for pattern in (
        r"^Name: +web$",
        rf"^Namespace: +{kubectl.namespace}$",
        rf"^Node: +{found['spec']['nodeName']}/",
        r"^Status: +Running$",
        rf"^IP: +{found['status']['podIP']}$",
        r"^    Port: +8080/TCP \(http\)$",
        r"^    Ready: +True$",
        r"^    Restart Count: +0$",
        r"^    Readiness: +http-get http://:http/ready delay=0s timeout=1s period=1s success\w+=1 failure\w+=3$",
        r"^      COLOR: +<set to the key 'color' of config map 'settings'> +Optional: false$",
        r"^  PodScheduled +True *$",
        r"^QoS Class: +BestEffort$",
        rf"Normal +Scheduled .*Successfully assigned {kubectl.namespace}/web to {found['spec']['nodeName']}$",
        r"Normal +Pulled .*web",
    ):
        assert re.search(pattern, said, re.MULTILINE), f"{pattern} is not in\n{said}"


def test_describe_tells_of_workloads_services_budgets_and_nodes(antei: Antei, kubectl: Kubectl) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    kubectl.apply(deployment("web", 2), budget)
    kubectl.rolled_out("deployment/web")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    until("two endpoints", lambda: len(_addresses(kubectl, "web")) == 2)
    of_deployment = kubectl("describe", "deployment", "web").out
    assert "Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in of_deployment
    assert re.search(r"NewReplicaSet: +web-\w+ \(2/2 replicas created\)", of_deployment)
    assert re.search(r"ScalingReplicaSet .*Scaled up replica set web-\w+ from 0 to 2", of_deployment)
    of_service = kubectl("describe", "service", "web").out
    assert re.search(r"^TargetPort: +8080/TCP$", of_service, re.MULTILINE)
    endpoints = re.search(r"^Endpoints: +(\S+)$", of_service, re.MULTILINE)
    assert endpoints is not None
    assert sorted(endpoints[1].split(",")) == sorted(f"{ip}:8080" for ip in _addresses(kubectl, "web"))
    of_budget = until("a computed budget", lambda: _with("Allowed disruptions:  1", kubectl("describe", "pdb").out))
    assert re.search(r"Current: +2\n +Desired: +1\n +Total: +2", of_budget)
    node = kubectl.items("pods")[0]["spec"]["nodeName"]
    of_node = antei.kubectl("describe", "node", node).out
    assert re.search(r"^  Ready +True .*KubeletReady", of_node, re.MULTILINE)
    assert re.search(rf"^  {kubectl.namespace} +web-", of_node, re.MULTILINE)
    assert re.search(r"^PodCIDR: +10\.244\.\d\.0/24$", of_node, re.MULTILINE)
    assert re.search(r"^Unschedulable: +false$", of_node, re.MULTILINE)


def _with(part: str, text: str) -> str | None:
    return text if part in text else None


def _addresses(kubectl: Kubectl, service: str) -> list[str]:
    slices = kubectl.items("endpointslices", "-l", f"kubernetes.io/service-name={service}")
    return [
        address
        for piece in slices
        for endpoint in piece.get("endpoints") or ()
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]


# logs


def test_logs_from_the_beginning_the_end_and_by_label(kubectl: Kubectl) -> None:
    two = pod("two", "sh", args=["echo one; echo two; echo three; exec sleep 3600"], terminationGracePeriodSeconds=0)
    two["spec"]["containers"].append({"name": "other", "image": "sh", "args": ["echo other; exec sleep 3600"]})
    kubectl.apply(two)
    kubectl.wait("condition=Ready", "pod/two")
    until("all is written", lambda: len(lines_of(kubectl, "two", "-c", "main")) == 3)
    assert lines_of(kubectl, "two", "-c", "main", "--tail=2") == ["two", "three"]
    assert lines_of(kubectl, "two", "-c", "main", "--tail=0") == []
    assert lines_of(kubectl, "two", "-c", "main", "--limit-bytes=5") == ["one", "t"]
    assert kubectl("logs", "two").err.startswith('Defaulted container "main" out of: main, other')
    every = lines_of(kubectl, "two", "--all-containers", "--prefix")
    assert sorted(every) == [f"[pod/two/main] {word}" for word in ("one", "three", "two")] + ["[pod/two/other] other"]
    assert lines_of(kubectl, "-l", "app=two", "-c", "other") == ["other"]
    stamped = lines_of(kubectl, "two", "-c", "other", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z other", stamped[0])
    unknown = kubectl("logs", "two", "-c", "third", check=False)
    assert (unknown.code, unknown.err) == (1, "error: container third is not valid for pod two out of: main, other\n")


def test_logs_since(kubectl: Kubectl) -> None:
    kubectl.apply(pod("ticker", "ticker"))
    kubectl.wait("condition=Ready", "pod/ticker")
    until("some lines", lambda: len(lines_of(kubectl, "ticker")) > 30)
    stamps = [line.split()[0] for line in lines_of(kubectl, "ticker", "--timestamps")]
    whole_second = stamps[-1].partition(".")[0] + "Z"
    recent = lines_of(kubectl, "ticker", "--timestamps", f"--since-time={whole_second}")
    assert recent
    assert all(line.split()[0] >= whole_second[:-1] for line in recent)
    assert len(recent) < len(lines_of(kubectl, "ticker"))
    assert lines_of(kubectl, "ticker", "--since=1h")[0] == "line 1"


def test_logs_follow_until_the_container_ends(kubectl: Kubectl) -> None:
    script = "for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done"
    kubectl.apply(pod("counter", "sh", args=[script], restartPolicy="Never"))
    until("the first line", lambda: kubectl("logs", "counter", check=False).out)
    assert lines_of(kubectl, "-f", "counter") == [f"line {n}" for n in range(1, 6)]
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/counter")
    assert lines_of(kubectl, "-f", "counter", "--tail=1") == ["line 5"]


def test_logs_of_the_run_before(kubectl: Kubectl) -> None:
    script = "if [ -e /data/ran ]; then echo second; exec sleep 3600; fi; touch /data/ran; echo first; exit 4"
    kubectl.apply(
        pod(
            "crashing",
            "sh",
            args=[script],
            terminationGracePeriodSeconds=0,
            volumes=[{"name": "data", "emptyDir": {}}],
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
        )
    )
    kubectl.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/crashing")
    kubectl.wait("condition=Ready", "pod/crashing")
    until("the second run's line", lambda: lines_of(kubectl, "crashing") == ["second"])
    assert lines_of(kubectl, "crashing", "--previous") == ["first"]
    last = kubectl.get("pod", "crashing")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (4, "Error")
    kubectl.apply(pod("steady"))
    kubectl.wait("condition=Ready", "pod/steady")
    refused = kubectl("logs", "steady", "--previous", check=False)
    assert refused.code == 1
    assert 'previous terminated container "main" in pod "steady" not found' in refused.err


# wait


def test_wait_for_conditions_values_and_deletion(kubectl: Kubectl) -> None:
    kubectl.apply(pod("one"), deployment("web"))
    kubectl.rolled_out("deployment/web")
    assert kubectl.wait("condition=Ready", "pod/one").out == "pod/one condition met\n"
    assert kubectl.wait("jsonpath={.status.phase}=Running", "pod/one").out == "pod/one condition met\n"
    assert kubectl.wait("condition=Available", "deployment/web").out == "deployment.apps/web condition met\n"
    late = kubectl("wait", "--for=condition=Ready=False", "pod/one", "--timeout=1s", check=False)
    assert (late.code, late.err) == (1, "error: timed out waiting for the condition on pods/one\n")
    with following(kubectl.start("wait", "--for=delete", "pod/one", "--timeout=60s", "-v=6")) as process:
        # It says nothing of a pod that was gone before it looked.
        assert process.stderr is not None
        assert any("watch=true" in line for line in process.stderr)
        kubectl("delete", "pod", "one", "--wait=false")
        out, _ = process.communicate(timeout=90)
        assert (process.returncode, out) == (0, "pod/one condition met\n")
    created = kubectl.start("wait", "--for=create", "configmap/late", "--timeout=60s")
    with following(created):
        kubectl.apply(config_map("late"))
        assert created.wait(timeout=90) == 0


# The rest of what is read


def test_events_of_one_object_and_of_a_kind(kubectl: Kubectl) -> None:
    kubectl.apply(pod("unknown", "nobody/knows:1"))
    [event] = until(
        "the event",
        lambda: [
            row
            for row in kubectl("events", "--for", "pod/unknown", "--types=Warning").rows
            if "nobody/knows:1" in row["MESSAGE"] and row["REASON"] == "Failed" and "antei.yaml" in row["MESSAGE"]
        ],
    )
    assert (event["TYPE"], event["OBJECT"]) == ("Warning", "Pod/unknown")
    rows = kubectl("get", "events", "--field-selector=involvedObject.name=unknown,reason=Scheduled").rows
    assert [(row["TYPE"], row["REASON"], row["OBJECT"]) for row in rows] == [("Normal", "Scheduled", "pod/unknown")]
    kubectl.wait("jsonpath={.status.containerStatuses[0].state.waiting.reason}", "pod/unknown")
    [status] = kubectl("get", "pod", "unknown").rows
    assert status["STATUS"] in ("ErrImagePull", "ImagePullBackOff")


def test_api_resources_and_versions(antei: Antei) -> None:
    rows = {(row["NAME"], row["APIVERSION"]): row for row in antei.kubectl("api-resources").rows}
    for name, short, version, namespaced, kind in (
        ("pods", "po", "v1", "true", "Pod"),
        ("nodes", "no", "v1", "false", "Node"),
        ("deployments", "deploy", "apps/v1", "true", "Deployment"),
        ("statefulsets", "sts", "apps/v1", "true", "StatefulSet"),
        ("poddisruptionbudgets", "pdb", "policy/v1", "true", "PodDisruptionBudget"),
        ("ingresses", "ing", "networking.k8s.io/v1", "true", "Ingress"),
        ("horizontalpodautoscalers", "hpa", "autoscaling/v2", "true", "HorizontalPodAutoscaler"),
        ("cronjobs", "cj", "batch/v1", "true", "CronJob"),
        ("leases", "", "coordination.k8s.io/v1", "true", "Lease"),
    ):
        row = rows[name, version]
        assert (row["SHORTNAMES"], row["NAMESPACED"], row["KIND"]) == (short, namespaced, kind)
    deletable = antei.kubectl(
        "api-resources", "--verbs=deletecollection", "--namespaced=true", "-o", "name"
    ).out.split()
    assert "deployments.apps" in deletable
    assert "bindings" not in deletable
    versions = antei.kubectl("api-versions").out.split()
    assert {"v1", "apps/v1", "policy/v1", "batch/v1", "networking.k8s.io/v1", "autoscaling/v2"} <= set(versions)
    assert versions == sorted(versions)


def test_explain_knows_fields_types_and_descriptions(antei: Antei) -> None:
    said = antei.kubectl("explain", "pod.spec.containers.readinessProbe").out
    assert re.search(r"^KIND: +Pod\nVERSION: +v1\n", said)
    assert "FIELD: readinessProbe <Probe>" in said
    assert re.search(r"^  failureThreshold\t<integer>$", said, re.MULTILINE)
    every = antei.kubectl("explain", "deployment", "--recursive").out
    assert re.search(r"^GROUP: +apps\nKIND: +Deployment\nVERSION: +v1\n", every)
    for path in ("maxSurge\t<", "    terminationGracePeriodSeconds\t<integer>", "matchLabels\t<map[string]string>"):
        assert path in every
    assert "minAvailable" in antei.kubectl("explain", "pdb.spec").out
    wrong = antei.kubectl("explain", "pod.spec.colour", check=False)
    assert (wrong.code, wrong.err) == (1, 'error: field "colour" does not exist\n')


def test_the_cluster_says_what_it_is(antei: Antei) -> None:
    version = json.loads(antei.kubectl("version", "-o", "json").out)["serverVersion"]
    assert (version["major"], version["minor"]) == ("1", "37")
    assert version["gitVersion"].startswith("v1.37.0")
    assert "Kubernetes control plane" in antei.kubectl("cluster-info").out
    nodes = antei.kubectl("get", "nodes").rows
    assert [(node["NAME"], node["STATUS"].split(",")[0]) for node in nodes] == [
        (f"node-{n}", "Ready") for n in (1, 2, 3)
    ]
    assert antei.kubectl("auth", "can-i", "delete", "nodes").out == "yes\n"
    assert "kubernetes" in antei.kubectl("get", "services").out
    assert antei.kubectl("get", "--raw", "/readyz").out == "ok"
    assert antei.kubectl("get", "namespaces", "-o", "name").out.split()[:2] == [
        "namespace/default",
        "namespace/kube-node-lease",
    ]


def test_top_shows_what_nodes_and_pods_use(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.apply(deployment("used", replicas=1))
    kubectl.rolled_out("deployment/used")
    header, *nodes = antei.kubectl("top", "nodes").out.splitlines()
    assert header.split() == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert [row.split()[0] for row in nodes] == ["node-1", "node-2", "node-3"]
    [row] = kubectl("top", "pods", "--containers", "--no-headers", "-l", "app=used").out.splitlines()
    pod, _, cpu, memory = row.split()
    assert (pod.startswith("used-"), cpu.endswith("m"), memory.endswith("Mi")) == (True, True, True)
    assert int(memory.removesuffix("Mi")) > 0


def test_the_kubeconfig_that_antei_prints_is_one_for_kubectl(
    antei: Antei, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("config")
    printed = directory / "printed"
    printed.write_text(antei.cli("kubeconfig", "--data", str(antei.data)).out)
    path = antei.cli("kubeconfig", "--data", str(antei.data), "--path").out.strip()
    assert path == str(antei.kubeconfig)
    context = antei.kubectl("config", "current-context", KUBECONFIG=str(printed)).out.strip()
    assert antei.kubectl("get", "nodes", "-o", "name", KUBECONFIG=str(printed)).out.split()[0] == "node/node-1"
    merged = directory / "merged"
    merged.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "contexts": [], "clusters": [], "users": []})
    )
    antei.cli("kubeconfig", "--data", str(antei.data), "--merge", KUBECONFIG=str(merged))
    contexts = antei.kubectl("config", "get-contexts", "-o", "name", KUBECONFIG=str(merged)).out.split()
    assert context in contexts
    assert antei.kubectl("--context", context, "get", "ns", "default", "-o", "name", KUBECONFIG=str(merged)).out
