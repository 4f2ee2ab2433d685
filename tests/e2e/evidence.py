"""What a failed scenario leaves for the person who looks into it. Secrets are not among it, nor what is in them."""

import contextlib
import json
import pathlib
import shutil
import subprocess

from world import World, cluster, control_plane, install

MISSING = "could not be had: "


def write(path: pathlib.Path, what) -> None:
    """`what()`'s text, or why there is none: evidence comes from a broken system, so each piece may fail by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = what()
    except Exception as error:
        text = f"{MISSING}{error}"
    path.write_text(text)


def collect(folder: pathlib.Path, it: World) -> pathlib.Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def kubectl(*arguments) -> str:
        return control_plane.kubectl(cluster.STATE, *arguments)

    kinds = (
        "pods,deployments,replicasets,services,endpointslices,configmaps,leases,poddisruptionbudgets,roles,rolebindings"
    )
    for namespace in (it.namespace, install.NAMESPACE):
        write(folder / f"objects-{namespace}.yaml", lambda: kubectl("get", kinds, "-n", namespace, "-o", "yaml"))
        write(folder / f"pods-{namespace}.txt", lambda: kubectl("describe", "pods", "-n", namespace))
        with contextlib.suppress(Exception):
            pods = json.loads(kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
            for pod in pods:
                collect_pod(folder, pod, kubectl)
    write(folder / "deployment.yaml", lambda: kubectl("get", "idep", "-A", "-o", "yaml"))
    write(folder / "deployment.txt", lambda: kubectl("describe", "idep", "-A"))
    write(folder / "events.txt", lambda: kubectl("get", "events", "-A", "--sort-by=.lastTimestamp"))
    write(folder / "nodes.yaml", lambda: kubectl("get", "nodes", "-o", "yaml"))
    write(folder / "processes.txt", lambda: subprocess.run(["top", "-bn1", "-w160"], capture_output=True, text=True).stdout)
    for name in cluster.SERVERS:
        write(folder / "node" / f"{name}.log", lambda: cluster.servers.log_tail(cluster.STATE, name, 400))
    for index, load in enumerate(it.loads):
        write(folder / f"requests-{index}.txt", lambda: "\n".join(map(str, load.records)))
    return folder


def collect_pod(folder: pathlib.Path, pod: dict, kubectl) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for status in install.containers_of(pod):
        log = ("logs", "-n", namespace, name, "-c", status["name"])
        write(folder / "logs" / f"{name}-{status['name']}.log", lambda: kubectl(*log))
        if status["restartCount"]:
            write(folder / "logs" / f"{name}-{status['name']}-before.log", lambda: kubectl(*log, "--previous"))
    if pod["status"]["phase"] in ("Succeeded", "Failed"):
        return
    serves_a_model = "patella.dev/deployment" in pod["metadata"].get("labels", {})
    for path in ("/metrics", "/status.json", "/engine/metrics") if serves_a_model else ("/metrics",):
        file = f"{name}{path.replace('/', '-')}"
        write(folder / "metrics" / file, lambda: World().admin(pod, path))
