"""Under load a second replica comes and goes again: it takes requests, and none is lost when it drains."""

from world import World, check


def happens(it: World) -> None:
    it.serving(1)
    first = it.ready_pods()[0]["metadata"]["name"]
    with it.load(it.limit()) as load:
        it.scale(2)
        it.eventually(lambda: len(it.ready_pods()) == 2, 240, "two replicas are ready")
        second = next(p for p in it.ready_pods() if p["metadata"]["name"] != first)
        admitted = it.sidecar(second)["admitted_total"]
        it.eventually(lambda: it.sidecar(second)["admitted_total"] > admitted + 5, 60, "the second replica serves")
        it.scale(1)
        it.eventually(lambda: len(it.pods()) == 1, 60, "one replica is told to end")
        it.eventually(lambda: len(it.get("pods")["items"]) == 1, 180, "it has drained and is gone")
        it.some_requests(load, 10)
    load.nothing_lost()
    check(it.deployment()["status"]["replicas"] == 1, f"status.replicas: {it.deployment()['status']['replicas']}")
