"""Classes ask for nvidia.com/gpu: one pod goes to the node that has one, the next waits, and the object says why."""

import copy
import json

from world import DEPLOYMENT, World, check, cluster, control_plane, install

NAME, CLASS = "on-gpu", "a10g-x1"
RESOURCE = "nvidia.com/gpu"
LABEL = "node.kubernetes.io/instance-type"


def set_capacity(count: int | None) -> None:
    """What a device plugin would report."""
    patch = {"status": {part: {RESOURCE: count and str(count)} for part in ("capacity", "allocatable")}}
    arguments = ("patch", "node", cluster.NODE, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    control_plane.kubectl(cluster.STATE, *arguments)


def happens(it: World) -> None:
    it.serving()
    selector = json.loads(control_plane.kubectl(cluster.STATE, "get", "acceleratorclass", CLASS, "-o", "json"))
    value = selector["spec"]["nodeSelector"][LABEL]
    control_plane.kubectl(cluster.STATE, "label", "node", cluster.NODE, f"{LABEL}={value}", "--overwrite")
    set_capacity(1)
    thing = copy.deepcopy(DEPLOYMENT)
    thing["metadata"]["name"] = NAME
    thing["spec"] |= {"hardware": {"acceleratorClasses": [CLASS]}, "replicas": 2}
    thing["spec"] |= {"tuning": {"mode": "Off"}, "maxConcurrentRequests": 1}
    try:
        it.apply(thing)

        def pods() -> list[dict]:
            return it.get("pods", "-l", f"patella.dev/deployment={NAME}")["items"]

        def scheduled() -> list[str]:
            return sorted(install.condition(pod, "PodScheduled").get("status", "") for pod in pods())

        it.eventually(lambda: scheduled() == ["False", "True"], 60, "one pod has the accelerator, one waits for it")
        for pod in pods():
            engine = next(c for c in pod["spec"]["containers"] if c["name"] == "engine")
            check(engine["resources"]["limits"].get(RESOURCE) == "1", f"the engine asks for {engine['resources']}")
        it.eventually(
            lambda: install.condition(it.get("idep", NAME), "CapacityAvailable").get("status") == "False",
            60,
            "the object says that an accelerator is missing",
        )
        check(it.limit() > 0 and it.complete() != "", "the deployment beside it does not serve")
    finally:
        it.kubectl("delete", "idep", NAME, "--ignore-not-found")
        set_capacity(None)
        control_plane.kubectl(cluster.STATE, "label", "node", cluster.NODE, f"{LABEL}-")
    it.eventually(lambda: not it.get("pods", "-l", f"patella.dev/deployment={NAME}")["items"], 200, "its pods are gone")
