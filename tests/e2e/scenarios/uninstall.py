"""Deleting the object leaves nothing of it; uninstalling keeps the kinds and their objects if the values say so."""

import json

from world import DEPLOYMENT, World, check, cluster, control_plane, install

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
    def of_release() -> list[str]:
        return [t for t in everything(f"app.kubernetes.io/instance={install.RELEASE}") if not t.startswith(besides)]

    # Helm does not wait for pods that are ending.
    it.eventually(lambda: not of_release(), 45, f"helm uninstall leaves nothing but {besides}; it left {of_release()}")


def happens(it: World) -> None:
    it.serving()
    it.kubectl("delete", "idep", it.name, "--wait=false")
    it.eventually(lambda: not everything(f"patella.dev/deployment={it.name}"), 200, "the children are gone")
    check(not it.get("pods")["items"], "pods are left")

    tags = install.tags_of_release()
    it.apply({**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "paused": True}})
    install.helm("uninstall", install.RELEASE, "-n", install.NAMESPACE, "--wait")
    check(kept() and it.deployment(), "crds.keep is true, but the kind or its object is gone")
    nothing_left(it, besides=("CustomResourceDefinition/", "AcceleratorClass/"))

    install.install_chart(tags, ["crds.keep=false"])
    it.kubectl("delete", "idep", it.name)
    it.eventually(
        lambda: not everything(f"patella.dev/deployment={it.name}"), 60, "the second object's children are gone"
    )
    install.helm("uninstall", install.RELEASE, "-n", install.NAMESPACE, "--wait")
    it.eventually(lambda: not kept(), 30, "the kinds are gone, as crds.keep=false says")
    nothing_left(it)
