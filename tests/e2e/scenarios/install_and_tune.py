"""Helm installs Patella, an InferenceDeployment is applied, and it serves with a limit that was learned."""

from world import World, check, install


def happens(it: World) -> None:
    install.helm("test", install.RELEASE, "-n", install.NAMESPACE)
    it.serving()
    thing = it.deployment()
    revision = it.revision()
    check(revision["limit"] >= 1, f"the limit in status is {revision['limit']}")
    for field in ("boundBy", "confidence", "calibratedAt"):
        check(revision.get(field), f"status.revisions has no {field}: {revision}")
    tuned = install.condition(thing, "Tuned")
    check(tuned.get("status") == "True", f"condition Tuned: {tuned}")
    late = [c for c in thing["status"]["conditions"] if c.get("observedGeneration") != thing["metadata"]["generation"]]
    check(not late, f"conditions of an older generation: {late}")
    pod = it.ready_pods()[0]
    check(it.sidecar(pod)["limit"] == revision["limit"], "the limiter's limit is not the one in status")
    check(it.complete().strip() != "", "a completion through the ClusterIP is empty")
    row = it.kubectl("get", "idep", it.name)
    check(str(revision["limit"]) in row.splitlines()[1].split(), f"kubectl get idep does not show the limit:\n{row}")
    story = it.kubectl("describe", "idep", it.name)
    check("Events:" in story and "<none>" not in story.rsplit("Events:", 1)[1], f"no events in:\n{story}")
    token = [
        mount["mountPath"]
        for container in pod["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
        if "serviceaccount" in mount["mountPath"]
    ]
    check(not token, "the engine has the service account's token")
