"""Every operator pod is gone: serving goes on, and what was asked for meanwhile is done when the operator is back."""

from world import World, check, cluster, control_plane, install


def operators(it: World, replicas: int) -> None:
    arguments = ("-n", install.NAMESPACE, "scale", f"deployment/{install.RELEASE}", f"--replicas={replicas}")
    control_plane.kubectl(cluster.STATE, *arguments)


def happens(it: World) -> None:
    it.serving()
    count = len(it.operators())
    check(count > 0, "no operator runs")
    with it.load(2) as load:
        try:
            operators(it, 0)
            for pod in it.operators():
                name = pod["metadata"]["name"]
                delete = ("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
                control_plane.kubectl(cluster.STATE, "-n", install.NAMESPACE, *delete)
            it.eventually(lambda: not it.operators(), 30, "no operator runs")
            it.some_requests(load, 10)
            it.scale(2)
            generation = it.deployment()["metadata"]["generation"]
            it.some_requests(load, 5)
            check(len(it.pods()) == 1, "somebody acted without an operator")
        finally:
            operators(it, count)
        # The Lease of the killed ones has to run out first.
        it.eventually(
            lambda: it.deployment()["status"]["observedGeneration"] >= generation and len(it.pods()) == 2,
            90,
            "the operator is back and does what was asked for meanwhile",
        )
        it.some_requests(load, 5)
    load.nothing_lost()
    it.serving(1)
