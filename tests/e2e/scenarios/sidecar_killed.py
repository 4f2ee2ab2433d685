"""The sidecar dies: it is back within seconds with the limit it had learned, and the engine never noticed."""

from world import World, check


def happens(it: World) -> None:
    it.serving()
    pod, limit, calibrated = it.ready_pods()[0], it.limit(), it.revision()["calibratedAt"]
    name = pod["metadata"]["name"]
    before = it.restarts()[f"{name}/sidecar"], it.restarts()[f"{name}/engine"]
    it.kill(pod, "sidecar")
    it.eventually(
        lambda: it.restarts()[f"{name}/sidecar"] == before[0] + 1, 30, "kubelet has started the sidecar again"
    )
    it.eventually(it.ready_pods, 30, "the pod is ready again, without a calibration")
    check(it.complete() != "", "no answer")
    check(it.restarts()[f"{name}/engine"] == before[1], "the engine was restarted too")
    check(it.revision()["calibratedAt"] == calibrated, "it was calibrated again")
    check(it.sidecar(pod)["limit"] > 0 and it.limit() > 0, f"the limit is gone; it was {limit}")
    it.serving()
