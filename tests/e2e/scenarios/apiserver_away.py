"""The API server is away for a minute: serving goes on at the learned limit, and everybody catches up afterwards."""

import time

from world import World, check, cluster, install

SECONDS = 60


def happens(it: World) -> None:
    it.serving()
    pod, limit, before, url = it.ready_pods()[0], it.limit(), it.restarts(), it.url()
    with it.load(2) as load:
        it.some_requests(load, 2)
        try:
            cluster.servers.stop(cluster.STATE, "kube-apiserver")
            gone = time.monotonic()
            while time.monotonic() < gone + SECONDS:
                check(it.sidecar(pod)["limit"] > 0, "the limiter has lost its limit")
                it.some_requests(load, 2)
        finally:
            cluster.start_server("kube-apiserver")
        it.some_requests(load, 2)
        it.change({"maxConcurrentRequests": 1})
        # Who has long been refused asks again after 30 to 60 s.
        it.eventually(lambda: it.sidecar(pod)["limit"] == 1, 100, "a ceiling set afterwards reaches the limiter")
        it.change({"maxConcurrentRequests": None})
        it.eventually(lambda: it.sidecar(pod)["limit"] > 1 or limit == 1, 30, "and so does its end")
        it.eventually(
            lambda: install.condition(it.deployment(), "Ready").get("status") == "True", 60, "the object is Ready"
        )
    load.nothing_lost()
    check(it.restarts() == before, f"containers were restarted: {it.restarts()}, before: {before}")
    check(it.url() == url, "the Service changed")
