"""What a scenario works with: the cluster, one InferenceDeployment of the demo model, its pods, and a load on it.

All waiting is polling with a bound. `Lost` is the exception of a scenario that saw what it must not see.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("PATELLA_BIN") or ROOT / "build/release/bin")
# Not the folder of `make cluster`: a test would end that cluster.
os.environ["PATELLA_CLUSTER"] = os.environ.get("PATELLA_CLUSTER") or str(BIN.absolute().parent / "cluster")
sys.path[:0] = [str(ROOT / "tests/cluster"), str(ROOT / "tests/acceptance")]

import cluster  # noqa: E402
import control_plane  # noqa: E402
import install  # noqa: E402
import load_client  # noqa: E402
from servers import Failure  # noqa: E402

NAMESPACE, NAME, MODEL = "e2e", "smollm2", "SmolLM2-135M-Instruct"
TARGET_MS = 100
INPUT_TOKENS, OUTPUT_TOKENS = 64, 32
SIZES = [(INPUT_TOKENS, OUTPUT_TOKENS)]

# Pods that keep the strictest Pod Security Standard read the model from a claim; one compute thread each, so that two
# of them do not take each other's time on two cores.
SETTING = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "e2e-models"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": "models"},
            "hostPath": {"path": cluster.MODELS},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": "e2e-models",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    },
]
DEPLOYMENT = {
    "apiVersion": "patella.dev/v1alpha1",
    "kind": "InferenceDeployment",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "model": {"name": MODEL, "uri": "pvc://models/SmolLM2-135M-Instruct.Q4_1.gguf"},
        "engine": {"env": [{"name": "NUM_THREADS", "value": "1"}]},
        "workload": {"inputTokens": INPUT_TOKENS, "outputTokens": OUTPUT_TOKENS},
        "objectives": {"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": TARGET_MS}]},
        "tuning": {"maxCalibrationSeconds": 180},
        "scaling": {"mode": "External"},
        "pod": {"resources": {"requests": {"cpu": "500m", "memory": "400Mi"}, "limits": {"memory": "1Gi"}}},
    },
}


class Lost(AssertionError):
    """What happened instead."""


def check(good: bool, otherwise: str) -> None:
    if not good:
        raise Lost(otherwise)


@dataclasses.dataclass
class Load:
    """Clients that each send their next request when the last has ended, in a thread of their own."""

    records: list = dataclasses.field(default_factory=list)

    def completed(self) -> list:
        return [r for r in self.records if r.status == 200 and r.complete and r.tokens > 0]

    def refused(self) -> list:
        return [r for r in self.records if r.status in (429, 503) and r.retry_after.isdigit()]

    def lost(self) -> list:
        """Neither answered in full nor told when to come again."""
        good = {id(r) for r in self.completed() + self.refused()}
        return [r for r in self.records if id(r) not in good]

    def nothing_lost(self) -> None:
        if lost := self.lost():
            raise Lost(f"{len(lost)} of {len(self.records)} requests were lost, for example {lost[0]}")
        check(bool(self.completed()), f"none of {len(self.records)} requests was answered")


class World:
    def __init__(self):
        self.name, self.namespace = NAME, NAMESPACE
        self.loads: list[Load] = []  # for the evidence of a failure

    # The cluster.
    def kubectl(self, *arguments, stdin: str | None = None) -> str:
        return control_plane.kubectl(cluster.STATE, "-n", self.namespace, *arguments, stdin=stdin)

    def get(self, *arguments) -> dict:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *things: dict) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(things)}))

    def eventually(self, what, seconds: float, of: str):
        """Polls `what()` until it is true and returns it. A refusal of the API server counts as not yet."""
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                if last := what():
                    return last
            except (Failure, OSError, ValueError) as error:
                last = error
            time.sleep(0.2)
        raise Lost(f"{of}: not so after {seconds:g} s; last seen: {last}")

    # The deployment.
    def deployment(self) -> dict:
        return self.get("idep", self.name)

    def change(self, spec: dict) -> None:
        self.kubectl("patch", "idep", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def scale(self, replicas: int) -> None:
        self.kubectl("scale", "idep", self.name, f"--replicas={replicas}")

    def revision(self, role: str = "Serving") -> dict:
        return next((r for r in self.deployment().get("status", {}).get("revisions", []) if r.get("role") == role), {})

    def limit(self) -> int:
        return self.revision().get("limit") or 0

    def pods(self) -> list[dict]:
        """Those that are not on their way out."""
        pods = self.get("pods", "-l", f"patella.dev/deployment={self.name}")["items"]
        return [p for p in pods if "deletionTimestamp" not in p["metadata"]]

    def ready_pods(self) -> list[dict]:
        return [p for p in self.pods() if install.condition(p, "Ready").get("status") == "True"]

    def restarts(self) -> dict[str, int]:
        """By pod and container."""
        return {
            f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
            for pod in self.pods()
            for status in install.containers_of(pod)
        }

    def admin(self, pod: dict, path: str) -> str:
        return urllib.request.urlopen(f"http://{pod['status']['podIP']}:8081{path}", timeout=5).read().decode()

    def sidecar(self, pod: dict) -> dict:
        return json.loads(self.admin(pod, "/status.json"))

    def url(self) -> str:
        return install.service_url(self.namespace, self.name)

    def complete(self, prompt: str = "The capital of France is") -> str:
        return install.complete(self.url(), MODEL, prompt)

    def serving(self, replicas: int = 1, seconds: float = 400) -> None:
        """The state that scenarios begin in: tuned, `replicas` pods ready, nothing under way. Made if need be."""
        if not self.kubectl("get", "idep", self.name, "--ignore-not-found", "-o", "name"):
            self.apply(*SETTING)
            self.apply(DEPLOYMENT)
        self.change({"maxConcurrentRequests": None, "replicas": replicas})

        def calm():
            thing = self.deployment()
            status = thing.get("status", {})
            return (
                status.get("observedGeneration") == thing["metadata"]["generation"]
                and install.condition(thing, "Ready").get("status") == "True"
                and [r.get("role") for r in status.get("revisions", [])] == ["Serving"]
                and self.limit() > 0
                and len(self.ready_pods()) == len(self.get("pods")["items"]) == replicas
            )

        self.eventually(calm, seconds, f"{self.name} serves with {replicas} pods")

    def kill(self, pod: dict, container: str) -> None:
        """SIGKILL to the container's first process, as the kernel's out-of-memory killer does it."""
        status = next(s for s in install.containers_of(pod) if s["name"] == container)
        identity = status["containerID"].removeprefix("containerd://")
        cluster.run(*cluster.ctr("tasks", "kill", "--signal", "SIGKILL", identity))

    # Load.
    @contextlib.contextmanager
    def load(self, concurrency: int):
        """Requests through the ClusterIP until the block ends; the last ones are waited for."""
        host, ended, result = self.url().removeprefix("http://"), threading.Event(), Load()
        self.loads.append(result)

        async def client(index: int):
            source = load_client.LoadClient(host, 80, MODEL, seed=index)
            while not ended.is_set():
                began = time.monotonic()
                try:
                    record = await asyncio.wait_for(source.request(*SIZES[0]), 120)
                except asyncio.TimeoutError:
                    record = load_client.Record(started=began, status=-2)
                result.records.append(record)
                if record.status != 200:
                    await asyncio.sleep(0.2)

        async def clients():
            await asyncio.gather(*(client(i) for i in range(concurrency)))

        thread = threading.Thread(target=lambda: asyncio.run(clients()), daemon=True)
        thread.start()
        try:
            yield result
        finally:
            ended.set()
            thread.join(150)

    def some_requests(self, load: Load, count: int, seconds: float = 60) -> None:
        """Returns when `count` more of the load's requests have been answered in full."""
        before = len(load.completed())
        self.eventually(lambda: len(load.completed()) >= before + count, seconds, f"{count} more requests are answered")

    # The operator.
    def operators(self) -> list[dict]:
        selector = "app.kubernetes.io/name=patella,app.kubernetes.io/component=operator"
        text = control_plane.kubectl(
            cluster.STATE, "-n", install.NAMESPACE, "get", "pods", "-l", selector, "-o", "json"
        )
        return json.loads(text)["items"]


__all__ = ["BIN", "Failure", "Load", "Lost", "World", "check", "cluster", "control_plane", "install", "load_client"]
