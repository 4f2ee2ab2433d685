"""The real operator in the place of the pod that the chart made: its settings, its account, its rights, `helm test`."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import yaml

import helms
import kube
from installs import Release, release, start_control_plane

setUpModule = start_control_plane
PROGRAM = pathlib.Path(kube.setting("PATELLA_BIN")) / "patella-operator"
SAMPLE = yaml.safe_load((helms.ROOT / "deploy/samples/cpu.yaml").read_text())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pod:
    """A process with the arguments, the environment and the service account's token that the pod would have."""

    def __init__(self, patella: Release, spec: dict, folder: str):
        (container,) = spec["containers"]
        self.port = free_port()
        fields = {"metadata.name": "in-its-place", "metadata.namespace": patella.namespace}
        environment = {"PATH": os.environ["PATH"], "KUBECONFIG": self._kubeconfig(patella, folder)}
        for item in container["env"]:
            where = item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            environment[item["name"]] = fields[where] if where else item.get("value", "")
        environment["ADMIN"] = f"127.0.0.1:{self.port}"
        self.log = open(pathlib.Path(folder) / "log", "a+")
        command = [PROGRAM, *container.get("args", [])]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)

    @staticmethod
    def _kubeconfig(patella: Release, folder: str) -> str:
        config = json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())
        authority = pathlib.Path(config["clusters"][0]["cluster"].pop("certificate-authority")).read_bytes()
        config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        token = kube.kubectl("create", "token", "patella", "-n", patella.namespace).strip()
        config["users"][0]["user"] = {"token": token}
        path = pathlib.Path(folder) / "kubeconfig"
        path.write_text(json.dumps(config))
        return str(path)

    def said(self) -> str:
        return pathlib.Path(self.log.name).read_text()[-4000:]

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the operator ended with {self.process.returncode}:\n{self.said()}")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self.log.close()
        return code


@contextlib.contextmanager
def operator(patella: Release):
    with tempfile.TemporaryDirectory() as folder:
        pod = Pod(patella, patella.deployment()["spec"]["template"]["spec"], folder)
        try:
            kube.eventually(pod.ready, of="the operator's readiness")
            yield pod
        finally:
            code = pod.stop()
        assert code == 0, code


def refused(account: str) -> list[tuple[str, str, str]]:
    """What the API server has refused to the account, by its audit log."""
    events = map(json.loads, pathlib.Path(kube.setting("PATELLA_AUDIT_LOG")).read_text().splitlines())
    return [
        (event["verb"], event["objectRef"].get("resource", ""), event["objectRef"].get("namespace", ""))
        for event in events
        if event["user"]["username"] == account and event["responseStatus"].get("code") == 403
    ]


class AtWork(unittest.TestCase):
    def serves(self, patella: Release, models: kube.Namespace):
        with operator(patella) as pod:
            models.apply(SAMPLE)
            kinds = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets,leases"
            label = ("-l", f"patella.dev/deployment={SAMPLE['metadata']['name']}")
            made = lambda: {item["kind"] for item in models.get(kinds, *label)["items"]}  # noqa: E731
            try:
                kube.eventually(lambda: pod.ready() and len(made()) == len(kinds.split(",")))
            except AssertionError:
                self.fail(f"of {kinds} only {made()}; refused: {refused(patella.account())}; its log:\n{pod.said()}")
            (deployment,) = models.get("deployments", *label)["items"]
            spec = deployment["spec"]["template"]["spec"]
            images = [container["image"] for container in spec["initContainers"] + spec["containers"]]
            for name in ("sidecar", "engine"):
                self.assertIn(f"registry.patella.dev/patella/{name}:0.1.0", images)
        self.assertEqual(refused(patella.account()), [])

    def test_with_the_charts_rights_it_makes_what_serves_a_model(self):
        with release() as patella, kube.namespace() as models:
            patella.install(4)
            self.serves(patella, models)

    def test_so_it_does_with_rights_in_one_namespace_alone(self):
        with release() as patella, kube.namespace() as models:
            patella.install(4, "--set", f"watchNamespaces={{{models.name}}}")
            self.serves(patella, models)

    def test_helm_test_finds_an_operator_at_work(self):
        with release() as patella, ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
            patella.install(4)
            with operator(patella):
                testing = pool.submit(patella.helm, 4, "test", "--timeout=90s")
                here = ("pod", "patella-test", "-n", patella.namespace)
                spec = kube.eventually(lambda: json.loads(kube.kubectl("get", *here, "-o", "json")))["spec"]
                check = Pod(patella, spec, folder)
                phase = "Succeeded" if check.process.wait(70) == 0 else "Failed"
                said, _ = check.said(), check.stop()
                status = json.dumps({"status": {"phase": phase}})
                kube.kubectl("patch", *here, "--subresource=status", "--type=merge", "-p", status)
                self.assertIn("Succeeded", testing.result().stdout, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
