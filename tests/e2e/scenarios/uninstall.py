"""Uninstalling keeps the kinds, their objects and what serves, if the values say so; else nothing of them is left, though an object was
serving. Deleting an object leaves nothing of it."""

import json

from world import DEPLOYMENT, Failure, World, check, cluster, control_plane, install

CRD = "inferencedeployments.patella.dev"


def everything(selector: str) -> list[str]:
    """Objects of any kind, in all namespaces, with that label."""
    listed = control_plane.kubectl(cluster.STATE, "api-resources", "--verbs=list", "-o", "name").split()
    kinds = ",".join(k for k in listed if not k.startswith("events"))
    text = control_plane.kubectl(cluster.STATE, "get", kinds, "-A", "-l", selector, "-o", "json")
    return [f"{thing['kind']}/{thing['metadata']['name']}" for thing in json.loads(text)["items"]]


def kept() -> bool:
    text = control_plane.kubectl(cluster.STATE, "get", "crd", CRD, "--ignore-not-found", "-o", "name")
    return text.strip() != ""


def nothing_left(it: World, besides: tuple[str, ...] = ()) -> None:
    def gone() -> bool:
        of_release = everything(f"app.kubernetes.io/instance={install.RELEASE}")
        if left := [thing for thing in of_release if not thing.startswith(besides)]:
            raise Failure(f"it left {left}")
        return True

    # Helm does not wait for pods that are ending.
    it.eventually(gone, 45, f"helm uninstall leaves nothing but {besides}")


def childless(it: World) -> bool:
    return not everything(f"patella.dev/deployment={it.name}") and not it.pods()


def happens(it: World) -> None:
    it.serving()
    tags = install.tags_of_release()
    pod = it.ready_pods()[0]["metadata"]["uid"]
    install.helm("uninstall", install.RELEASE, "-n", install.NAMESPACE, "--wait")
    check(kept() and it.deployment(), "crds.keep is true, but the kind or its object is gone")
    nothing_left(it, besides=("CustomResourceDefinition/", "AcceleratorClass/"))
    check(it.ready_pods()[0]["metadata"]["uid"] == pod, "the pod that served is another")
    check("Paris" in it.complete(), "what served before the uninstallation serves no longer")

    install.install_chart(tags, ["crds.keep=false"])
    it.serving()
    it.kubectl("delete", "idep", it.name, "--wait=false")
    it.eventually(lambda: childless(it), 200, "the object's children are gone")

    it.apply(DEPLOYMENT)
    it.eventually(it.pods, 60, "another object has a pod")
    install.helm("uninstall", install.RELEASE, "-n", install.NAMESPACE, "--wait")
    it.eventually(lambda: not kept(), 30, "the kinds are gone, as crds.keep=false says")
    it.eventually(lambda: childless(it), 200, "the object that was there has left no children")
    nothing_left(it)
