"""What a Python test needs of the control plane that CTest started for it.

with kube.namespace() as ns:
    ns.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}})
    kube.eventually(lambda: ns.get("configmap", "a")["data"] == {"x": "1"})
"""

import contextlib
import json
import os
import pathlib
import subprocess
import time


def setting(name: str) -> str:
    if not os.environ.get(name):
        raise SystemExit(
            f"{name} is not set: run this test through ctest, or `tests/cluster/control_plane.py run DIR TEST`"
        )
    return os.environ[name]


class Refused(Exception):
    """kubectl's message."""


def kubectl(*arguments, stdin: str | None = None, kubeconfig: str = "PATELLA_KUBECONFIG") -> str:
    command = [setting("PATELLA_KUBECTL"), "--kubeconfig", setting(kubeconfig), *map(str, arguments)]
    result = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if result.returncode:
        raise Refused(f"kubectl {' '.join(map(str, arguments))}: {result.stderr.strip()}")
    return result.stdout


def eventually(what, seconds: float = 30, of: str = ""):
    """Polls `what()`, which may raise Refused, until it is true and returns it; AssertionError after the bound."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if last := what():
                return last
        except Refused as refused:
            last = refused
        time.sleep(0.05)
    raise AssertionError(f"{of or 'it'} did not become true within {seconds:g} s; last: {last}")


def settled(what, still_s: float, seconds: float = 30):
    """The value of `what()` once it has not changed for `still_s`; AssertionError after the bound."""
    deadline, value, since = time.monotonic() + seconds, what(), time.monotonic()
    while time.monotonic() < deadline:
        if (now := what()) != value:
            value, since = now, time.monotonic()
        elif time.monotonic() - since >= still_s:
            return value
        time.sleep(0.1)
    raise AssertionError(f"still changing after {seconds:g} s; last: {value}")


class Namespace:
    def __init__(self, name: str):
        self.name = name

    def kubectl(self, *arguments, **options) -> str:
        return kubectl("--namespace", self.name, *arguments, **options)

    def apply(self, *objects: dict) -> str:
        return self.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        )

    def get(self, *arguments) -> dict:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def set_external_metric(self, metric: str, quantity: str) -> None:
        """What a HorizontalPodAutoscaler of this namespace reads as external metric `metric` from now on."""
        folder = pathlib.Path(setting("PATELLA_EXTERNAL_METRICS")) / self.name
        folder.mkdir(exist_ok=True)
        (folder / ".new").write_text(quantity)
        (folder / ".new").rename(folder / metric)

    def requests(self) -> list[dict]:
        """This namespace's part of the audit log: user.username, verb, objectRef, responseStatus.code of each request."""
        lines = pathlib.Path(setting("PATELLA_AUDIT_LOG")).read_text().splitlines()
        return [
            event for line in lines if (event := json.loads(line)).get("objectRef", {}).get("namespace") == self.name
        ]


_count = 0


@contextlib.contextmanager
def namespace():
    global _count
    _count += 1
    ns = Namespace(f"test-{os.getpid()}-{_count}")
    kubectl("create", "namespace", ns.name)
    try:
        yield ns
    finally:
        kubectl("delete", "namespace", ns.name, "--wait=false")
