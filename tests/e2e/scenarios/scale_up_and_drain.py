"""Two replicas serve, then under load one of them is taken away: both took requests; none is lost when it drains."""

from world import World


def happens(it: World) -> None:
    it.serving(2)
    with it.load(4) as load:
        admitted = {p["metadata"]["name"]: it.sidecar(p)["admitted_total"] for p in it.ready_pods()}
        it.eventually(
            lambda: all(it.sidecar(p)["admitted_total"] > admitted[p["metadata"]["name"]] + 2 for p in it.ready_pods()),
            60,
            "both replicas serve",
        )
        it.scale(1)
        it.eventually(lambda: len(it.pods()) == 1, 60, "one replica is told to end")
        it.eventually(lambda: len(it.get("pods")["items"]) == 1, 180, "it has drained and is gone")
        it.some_requests(load, 10)
    load.nothing_lost()
    it.eventually(lambda: it.deployment()["status"]["replicas"] == 1, 30, "status counts one replica")
