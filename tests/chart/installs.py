"""Releases of the chart on a control plane of their own, for its tests.

The custom resource definitions belong to the whole cluster, and the chart is to bring them: so these tests start a
control plane (6 s) beside the one that CTest's other tests share.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import unittest

import helms
import kube

BARE = ("--set", "acceleratorClasses.install=false")  # fewer objects, where they do not matter
KINDS = ("inferencedeployments", "acceleratorclasses", "servingcurves")
CRDS = [f"crd/{kind}.patella.dev" for kind in KINDS]
CONTROL_PLANE = [sys.executable, helms.ROOT / "tests/cluster/control_plane.py"]
MODEL = {
    "apiVersion": "patella.dev/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"name": "llama-2-7b", "uri": "pvc://models/llama-2-7b"},
        "objectives": {"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 50}]},
    },
}


def start_control_plane():
    """One that has none of Patella's kinds; it ends with the test's module."""
    state = pathlib.Path(kube.setting("PATELLA_CONTROL_PLANE") + "-chart")
    subprocess.run([*CONTROL_PLANE, "start", "--fresh", state], check=True)
    unittest.addModuleCleanup(lambda: subprocess.run([*CONTROL_PLANE, "stop", state], check=True))
    lines = (state / "environment").read_text().splitlines()
    os.environ.update(line.split("=", 1) for line in lines)
    # The chart is to bring them.
    kube.kubectl("delete", "-f", helms.ROOT / "deploy/crds", "--ignore-not-found")


def names(*arguments) -> set[str]:
    return set(kube.kubectl("get", *arguments, "-o", "name").split())


class Release:
    """One release in a namespace that admits only what satisfies the restricted Pod Security Standard."""

    def __init__(self, namespace: str):
        self.namespace = namespace

    def helm(self, major: int, action: str, *arguments, ok: bool = True) -> subprocess.CompletedProcess:
        config = ("--kubeconfig", kube.setting("PATELLA_KUBECONFIG"), "-n", self.namespace)
        return helms.helm(major, action, "patella", *arguments, *config, ok=ok)

    def install(self, major: int, *arguments, **options):
        return self.helm(major, "install", helms.CHART, *arguments, **options)

    def upgrade(self, major: int, *arguments, **options):
        return self.helm(major, "upgrade", helms.CHART, *arguments, **options)

    def deployment(self) -> dict:
        return json.loads(kube.kubectl("get", "deployment", "patella", "-n", self.namespace, "-o", "json"))

    def environment(self) -> dict[str, str]:
        (container,) = self.deployment()["spec"]["template"]["spec"]["containers"]
        return {item["name"]: item.get("value") for item in container["env"]}

    def account(self) -> str:
        return f"system:serviceaccount:{self.namespace}:patella"

    def objects(self) -> set[str]:
        """All that carries the release's label, custom resource definitions and what is made by controllers aside."""
        kinds = (
            "deployments,services,serviceaccounts,configmaps,roles,rolebindings,poddisruptionbudgets,networkpolicies"
        )
        label = ("-l", "app.kubernetes.io/managed-by=Helm,app.kubernetes.io/instance=patella")
        cluster = names("clusterroles,clusterrolebindings,flowschemas", *label)
        return names(kinds, "-A", *label) | cluster


_count = 0


@contextlib.contextmanager
def release():
    global _count
    _count += 1
    patella = Release(f"patella-system-{_count}")
    kube.kubectl("create", "namespace", patella.namespace)
    kube.kubectl("label", "namespace", patella.namespace, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield patella
    finally:
        patella.helm(4, "uninstall", "--ignore-not-found")
        kube.kubectl("delete", "namespace", patella.namespace, "--wait=false")
        kube.kubectl("delete", "--ignore-not-found", *CRDS)


def allowed(user: str, verb: str, resource: str, namespace: str = "", subresource: str = "") -> bool:
    """Asks the API server's authorizer; `resource` is written as in inferencedeployments.patella.dev."""
    name, _, group = resource.partition(".")
    attributes = {"verb": verb, "resource": name, "group": group, "namespace": namespace, "subresource": subresource}
    groups = ["system:authenticated"] + (
        ["system:serviceaccounts"] if user.startswith("system:serviceaccount:") else []
    )
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return json.loads(kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(review)))["status"]["allowed"]
