"""kubectl create, apply, patch, edit, replace, label, run, expose, delete and the like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import Antei, Kubectl, config_map, deployment, needs_namespaces, pod, until

pytestmark = [pytest.mark.live, needs_namespaces()]


def exists(kubectl: Kubectl, what: str) -> bool:
    return bool(kubectl("get", what, "--ignore-not-found", "-o", "name").out)


def image_of(kubectl: Kubectl, name: str = "web") -> str:
    return kubectl.get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]


# apply, diff, create, replace


def test_apply_creates_changes_prunes_fields_and_leaves_what_is_the_same(kubectl: Kubectl) -> None:
    assert kubectl.apply(config_map("a", x="1", z="2")).out == "configmap/a created\n"
    before = kubectl.get("configmap", "a")["metadata"]["resourceVersion"]
    assert kubectl.apply(config_map("a", x="1", z="2")).out == "configmap/a unchanged\n"
    assert kubectl.get("configmap", "a")["metadata"]["resourceVersion"] == before
    kubectl("patch", "configmap", "a", "-p", '{"data": {"others": "kept"}}')
    assert kubectl.apply(config_map("a", x="3")).out == "configmap/a configured\n"
    assert kubectl.get("configmap", "a")["data"] == {"x": "3", "others": "kept"}


def test_apply_of_a_workload_merges_lists_by_name_and_removes_what_is_no_longer_written(kubectl: Kubectl) -> None:
    written = deployment("web", 0, env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    kubectl.apply(written)
    kubectl("set", "env", "deployment/web", "C=3")
    kubectl("scale", "deployment/web", "--replicas=1")
    container = written["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "changed"}]
    del written["spec"]["replicas"]
    kubectl.apply(written)
    found = kubectl.get("deployment", "web")["spec"]
    env = {entry["name"]: entry["value"] for entry in found["template"]["spec"]["containers"][0]["env"]}
    assert env == {"A": "changed", "C": "3"}
    # Written before and no longer: the field is removed, and the default takes its place.
    assert found["replicas"] == 1


def test_apply_of_several_documents_goes_on_after_one_that_is_wrong(kubectl: Kubectl) -> None:
    wrong = deployment("Wrong_Name")
    output = kubectl(
        "apply", "-f", "-", stdin=yaml.safe_dump_all([config_map("a"), wrong, config_map("b")]), check=False
    )
    assert output.code == 1
    assert output.out == "configmap/a created\nconfigmap/b created\n"
    assert 'The Deployment "Wrong_Name" is invalid' in output.err
    assert "metadata.name" in output.err


def test_apply_refuses_unknown_fields_and_warns_when_asked_to(kubectl: Kubectl) -> None:
    odd = {**config_map("odd", x="1"), "colour": "red"}
    refused = kubectl("apply", "-f", "-", stdin=yaml.safe_dump(odd), check=False)
    assert refused.code == 1
    assert 'strict decoding error: unknown field "colour"' in refused.err
    warned = kubectl("apply", "--validate=warn", "-f", "-", stdin=yaml.safe_dump(odd))
    assert warned.err == 'Warning: unknown field "colour"\n'
    assert warned.out == "configmap/odd created\n"


def test_dry_runs_change_nothing(kubectl: Kubectl) -> None:
    for mode in ("client", "server"):
        said = kubectl("apply", f"--dry-run={mode}", "-f", "-", stdin=yaml.safe_dump(config_map("a"))).out
        assert said == f"configmap/a created ({'dry run' if mode == 'client' else 'server dry run'})\n"
    assert not exists(kubectl, "configmap/a")


def test_diff_shows_what_an_apply_would_change(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("a", x="1"))
    same = kubectl("diff", "-f", "-", stdin=yaml.safe_dump(config_map("a", x="1")))
    assert same.out == ""
    differs = kubectl("diff", "-f", "-", stdin=yaml.safe_dump(config_map("a", x="2")), check=False)
    assert differs.code == 1
    changed = [line for line in differs.out.splitlines() if re.match(r"[-+] ", line)]
    assert changed == ['-  x: "1"', '+  x: "2"']
    assert kubectl.get("configmap", "a")["data"] == {"x": "1"}


def test_create_and_replace(kubectl: Kubectl) -> None:
    text = yaml.safe_dump(config_map("a", x="1"))
    assert kubectl("create", "-f", "-", stdin=text).out == "configmap/a created\n"
    again = kubectl("create", "-f", "-", stdin=text, check=False)
    assert (again.code, again.err) == (
        1,
        'Error from server (AlreadyExists): error when creating "STDIN": configmaps "a" already exists\n',
    )
    assert kubectl("replace", "-f", "-", stdin=yaml.safe_dump(config_map("a", z="2"))).out == "configmap/a replaced\n"
    assert kubectl.get("configmap", "a")["data"] == {"z": "2"}
    uid = kubectl.get("configmap", "a")["metadata"]["uid"]
    kubectl("replace", "--force", "-f", "-", stdin=text)
    assert kubectl.get("configmap", "a")["metadata"]["uid"] != uid
    stale = {**kubectl.get("configmap", "a")}
    kubectl("label", "configmap", "a", "moved=on")
    conflict = kubectl("replace", "-f", "-", stdin=json.dumps(stale), check=False)
    assert conflict.code == 1
    assert 'Error from server (Conflict): error when replacing "STDIN"' in conflict.err
    assert "the object has been modified; please apply your changes to the latest version and try again" in conflict.err
    missing = kubectl("replace", "-f", "-", stdin=yaml.safe_dump(config_map("b")), check=False)
    assert 'configmaps "b" not found' in missing.err


def test_create_makes_objects_from_arguments(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "settings", "--from-literal=color=red")
    kubectl("create", "secret", "generic", "keys", "--from-literal=password=geheim")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "deployment", "web", "--image=pause", "--replicas=2")
    kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=50%")
    kubectl("create", "ingress", "web", "--rule=web.localhost/api*=web:80")
    kubectl("create", "quota", "limits", "--hard=pods=100")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl.namespace}:robot")
    assert kubectl.get("configmap", "settings")["data"] == {"color": "red"}
    assert kubectl.get("secret", "keys")["data"] == {"password": "Z2VoZWlt"}
    assert kubectl.get("pdb", "web")["spec"] == {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}
    assert kubectl.get("ingress", "web")["spec"]["rules"][0]["http"]["paths"][0]["pathType"] == "Prefix"
    assert kubectl.get("service", "web")["spec"]["ports"][0]["targetPort"] == 8080
    assert kubectl.get("rolebinding", "reader")["subjects"][0]["name"] == "robot"
    kubectl.rolled_out("deployment/web")


def test_a_job_is_made_from_a_cronjob(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "backup", "--image=sh", "--schedule=0 * * * *", "--", "/bin/sh", "-c", "echo saved")
    assert kubectl("get", "cronjob", "backup").rows[0]["SCHEDULE"] == "0 * * * *"
    assert kubectl("create", "job", "now", "--from=cronjob/backup").out == "job.batch/now created\n"
    kubectl.wait("condition=Complete", "job/now")
    assert kubectl("logs", "job/now").out == "saved\n"
    job = kubectl.get("job", "now")
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    [row] = kubectl("get", "job", "now").rows
    assert (row["STATUS"], row["COMPLETIONS"]) == ("Complete", "1/1")


# patch, edit, set, label, annotate


def test_patch_in_all_three_types(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 0, env=[{"name": "A", "value": "1"}]))

    def env() -> list[dict[str, Any]]:
        return kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0].get("env", [])

    def body(*entries: dict[str, str]) -> str:
        container = {"name": "main", "image": "pause", "env": list(entries)}
        return json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})

    said = kubectl("patch", "deployment", "web", "--type=strategic", "-p", body({"name": "B", "value": "2"})).out
    assert said == "deployment.apps/web patched\n"
    assert sorted(entry["name"] for entry in env()) == ["A", "B"]
    kubectl("patch", "deployment", "web", "--type=merge", "-p", body({"name": "C", "value": "3"}))
    assert [entry["name"] for entry in env()] == ["C"]
    path = "/spec/template/spec/containers/0/env/0/value"
    operations = [
        {"op": "test", "path": path, "value": "3"},
        {"op": "replace", "path": path, "value": "4"},
        {"op": "add", "path": "/metadata/labels/via", "value": "json"},
    ]
    kubectl("patch", "deployment", "web", "--type=json", "-p", json.dumps(operations))
    assert env() == [{"name": "C", "value": "4"}]
    refused = kubectl("patch", "deployment", "web", "--type=json", "-p", json.dumps(operations[:1]), check=False)
    assert refused.code == 1
    same = kubectl("patch", "deployment", "web", "-p", '{"metadata": {"labels": {"via": "json"}}}').out
    assert same == "deployment.apps/web patched (no change)\n"
    removed = json.dumps({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": None}]}}}})
    kubectl("patch", "deployment", "web", "-p", removed)
    assert env() == []
    kubectl("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec": {"replicas": 1}}')
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 1


def test_patch_refuses_what_is_invalid(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 0))
    refused = kubectl("patch", "deployment", "web", "-p", '{"spec": {"replicas": -1}}', check=False)
    assert refused.code == 1
    assert refused.err == (
        'The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0\n'
    )
    selector = '{"spec": {"selector": {"matchLabels": {"app": "other"}}}}'
    assert "field is immutable" in kubectl("patch", "deployment", "web", "-p", selector, check=False).err
    assert kubectl.get("deployment", "web")["spec"]["selector"] == {"matchLabels": {"app": "web"}}


def test_edit_with_an_editor(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(config_map("a", x="before"))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nexec sed -i "s/x: before/x: after/" "$1"\n')
    editor.chmod(0o755)
    assert kubectl("edit", "configmap", "a", EDITOR=str(editor)).out == "configmap/a edited\n"
    assert kubectl.get("configmap", "a")["data"] == {"x": "after"}
    unchanged = kubectl("edit", "configmap", "a", EDITOR="true")
    assert "Edit cancelled, no changes made." in unchanged.out + unchanged.err
    # What is refused is shown in the file that is opened again; an editor that leaves it so ends the edit.
    kubectl.apply(deployment("web", 0))
    editor.write_text('#!/bin/sh\nsed -i "s/replicas: 0/replicas: -5/" "$1"; cat "$1" >>"$0.seen"\n')
    refused = kubectl("edit", "deployment", "web", EDITOR=str(editor), check=False)
    assert refused.code == 1
    assert "must be greater than or equal to 0" in (tmp_path / "editor.seen").read_text()
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 0


def test_set_image_env_resources_selector_and_serviceaccount(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 0))
    assert kubectl("set", "image", "deployment/web", "main=ticker").out == "deployment.apps/web image updated\n"
    assert image_of(kubectl) == "ticker"
    kubectl("set", "env", "deployment/web", "COLOR=red", "SHAPE=round")
    kubectl("set", "env", "deployment/web", "SHAPE-")
    assert "COLOR=red" in kubectl("set", "env", "deployment/web", "--list").out
    kubectl("set", "resources", "deployment/web", "--requests=cpu=10m,memory=16Mi")
    kubectl("set", "serviceaccount", "deployment/web", "default")
    spec = kubectl.get("deployment", "web")["spec"]["template"]["spec"]
    assert spec["containers"][0]["env"] == [{"name": "COLOR", "value": "red"}]
    assert spec["containers"][0]["resources"] == {"requests": {"cpu": "10m", "memory": "16Mi"}}
    unknown = kubectl("set", "image", "deployment/web", "nobody=ticker", check=False)
    assert 'error: unable to find container named "nobody"' in unknown.err


def test_label_and_annotate(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("a"), config_map("b"))
    assert kubectl("label", "configmap", "a", "color=red").out == "configmap/a labeled\n"
    taken = kubectl("label", "configmap", "a", "color=blue", check=False)
    assert (taken.code, taken.err) == (1, "error: 'color' already has a value (red), and --overwrite is false\n")
    kubectl("label", "configmap", "a", "color=blue", "--overwrite")
    assert kubectl("get", "configmaps", "-l", "color=blue", "-o", "name").out == "configmap/a\n"
    assert kubectl("label", "configmap", "a", "color-").out == "configmap/a unlabeled\n"
    assert "labels" not in kubectl.get("configmap", "a")["metadata"]
    kubectl("label", "configmaps", "--all", "seen=yes")
    assert len(kubectl.items("configmaps", "-l", "seen=yes")) >= 2
    kubectl("annotate", "configmap", "a", "why=because it is so")
    assert kubectl.get("configmap", "a")["metadata"]["annotations"]["why"] == "because it is so"
    assert kubectl("annotate", "configmap", "a", "why-").out == "configmap/a annotated\n"
    assert "why" not in kubectl.get("configmap", "a")["metadata"].get("annotations", {})
    wrong = kubectl("label", "configmap", "a", "color=not allowed", check=False)
    assert wrong.code == 1
    assert "a valid label must be" in wrong.err


# run and expose


def test_run_and_expose(antei: Antei, kubectl: Kubectl) -> None:
    assert (
        kubectl("run", "web", "--image=web", "--port=8080", "--env=A=1", "--labels=app=web").out == "pod/web created\n"
    )
    kubectl.wait("condition=Ready", "pod/web")
    assert kubectl.get("pod", "web")["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert kubectl("expose", "pod", "web", "--type=NodePort", "--port=80", "--target-port=8080").out == (
        "service/web exposed\n"
    )
    service = kubectl.get("service", "web")["spec"]
    assert service["selector"] == {"app": "web"}
    [port] = service["ports"]
    assert 30000 <= port["nodePort"] <= 32767
    [row] = kubectl("get", "service", "web").rows
    assert (row["TYPE"], row["CLUSTER-IP"], row["PORT(S)"]) == (
        "NodePort",
        service["clusterIP"],
        f"80:{port['nodePort']}/TCP",
    )
    asked = pod(
        "asking",
        "sh",
        args=["python3 -c 'import urllib.request as u; print(u.urlopen(\"http://web\").read().decode())'"],
    )
    asked["spec"]["restartPolicy"] = "OnFailure"
    kubectl.apply(asked)
    kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/asking")
    assert kubectl("logs", "asking").out.split()[-1] == "web"
    said = kubectl("run", "once", "--image=sh", "--restart=Never", "--dry-run=client", "-o", "yaml").out
    assert yaml.safe_load(said)["spec"]["restartPolicy"] == "Never"


# delete


def test_delete_waits_for_a_graceful_end(kubectl: Kubectl) -> None:
    script = "trap 'echo bye; sleep 0.3; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    kubectl.apply(pod("polite", "sh", args=[script]))
    until("it listens", lambda: "ready" in kubectl("logs", "polite", check=False).out)
    log = kubectl.start("logs", "-f", "polite")
    until("the log is followed", lambda: log.stdout is not None and "ready" in log.stdout.readline())
    said = kubectl("delete", "pod", "polite").out
    assert said == f'pod "polite" deleted from {kubectl.namespace} namespace\n'
    assert not exists(kubectl, "pod/polite")
    assert log.communicate(timeout=60)[0] == "bye\n"


def test_delete_may_shorten_the_grace_period_and_skip_it(kubectl: Kubectl) -> None:
    deaf: dict[str, Any] = {"image": "sh", "args": ["trap '' TERM; while :; do sleep 0.05; done"]}
    kubectl.apply(pod("deaf", **deaf, terminationGracePeriodSeconds=3600), pod("gone", **deaf))
    kubectl.wait("condition=Ready", "pod/deaf", "pod/gone")
    kubectl("delete", "pod", "deaf", "--wait=false")
    metadata = kubectl.get("pod", "deaf")["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 3600
    assert kubectl("get", "pod", "deaf").rows[0]["STATUS"] == "Terminating"
    kubectl("delete", "pod", "deaf", "--grace-period=1")
    assert not exists(kubectl, "pod/deaf")
    forced = kubectl("delete", "pod", "gone", "--grace-period=0", "--force")
    assert "Immediate deletion does not wait for confirmation" in forced.err
    assert not exists(kubectl, "pod/gone")


def test_delete_leaves_orphans_or_takes_dependents_first(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("orphaning"), deployment("whole"), deployment("background"))
    for name in ("orphaning", "whole", "background"):
        kubectl.rolled_out(f"deployment/{name}")
    kubectl("delete", "deployment", "orphaning", "--cascade=orphan")
    [left] = kubectl.items("replicasets", "-l", "app=orphaning")
    assert left["metadata"].get("ownerReferences") is None
    assert len(kubectl.items("pods", "-l", "app=orphaning")) == 1
    kubectl("delete", "deployment", "whole", "--cascade=foreground")
    # It waited for what it owned.
    assert kubectl.items("replicasets,pods", "-l", "app=whole") == []
    kubectl("delete", "deployment", "background")
    until("dependents are collected", lambda: kubectl.items("replicasets,pods", "-l", "app=background") == [])


def test_delete_by_label_by_file_and_all(kubectl: Kubectl) -> None:
    objects = [config_map(name) for name in ("a", "b", "c", "d")]
    kubectl.apply(*objects)
    kubectl("label", "configmap", "a", "b", "round=1")
    kubectl("delete", "configmaps", "-l", "round=1")
    assert not exists(kubectl, "configmap/a")
    kubectl("delete", "-f", "-", stdin=yaml.safe_dump(objects[2]))
    assert not exists(kubectl, "configmap/c")
    missing = kubectl("delete", "configmap", "c", check=False)
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): configmaps "c" not found\n')
    assert kubectl("delete", "configmap", "c", "--ignore-not-found").code == 0
    kubectl("delete", "configmaps", "--all")
    assert not exists(kubectl, "configmap/d")
    # The controller that gives every namespace its root certificates brings this one back.
    until("kube-root-ca.crt is back", lambda: exists(kubectl, "configmap/kube-root-ca.crt"))


def test_a_finalizer_keeps_what_is_deleted(kubectl: Kubectl) -> None:
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    kubectl.apply(held)
    kubectl("delete", "configmap", "held", "--wait=false")
    assert kubectl.get("configmap", "held")["metadata"]["deletionTimestamp"]
    kubectl("patch", "configmap", "held", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    until("it is gone", lambda: not exists(kubectl, "configmap/held"))


def test_a_namespace_goes_with_everything_in_it(antei: Antei) -> None:
    antei.kubectl("create", "namespace", "short-lived")
    inside = antei.in_namespace("short-lived")
    inside.apply(deployment("web", 2), config_map("a"))
    inside.rolled_out("deployment/web")
    antei.kubectl("delete", "namespace", "short-lived")
    assert antei.kubectl("get", "namespace", "short-lived", "--ignore-not-found").out == ""
    assert antei.kubectl("get", "pods,configmaps", "-n", "short-lived").out == ""
    refused = inside("create", "configmap", "late", check=False)
    assert 'namespaces "short-lived" not found' in refused.err
