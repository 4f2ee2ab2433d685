"""The engine dies under load: clients are told to come again, it is started anew, and the limit is still there."""

from world import World, check


def happens(it: World) -> None:
    it.serving()
    pod, limit, calibrated = it.ready_pods()[0], it.limit(), it.revision()["calibratedAt"]
    name, before = pod["metadata"]["name"], it.restarts()
    with it.load(2) as load:
        it.some_requests(load, 2)
        it.kill(pod, "engine")
        it.eventually(
            lambda: it.restarts().get(f"{name}/engine", 0) > before[f"{name}/engine"],
            60,
            "kubelet has started the engine again",
        )
        it.eventually(it.ready_pods, 120, "the pod is ready again")
        it.some_requests(load, 5, 120)
    # While no pod is ready the Service refuses connections (-1); whatever is answered is answered in full, or with
    # when to come again, but for what the engine was at work on.
    lost = [r for r in load.lost() if r.status != -1]
    broken = [r for r in lost if r.status in (200, 502, 504)]
    check(len(broken) <= 2, f"{len(broken)} requests broke, though two were running: {broken[:3]}")
    wrong = [r for r in lost if r not in broken]
    check(not wrong, f"{len(wrong)} requests got neither an answer nor 503 with Retry-After: {wrong[:3]}")
    check(it.restarts()[f"{name}/sidecar"] == before[f"{name}/sidecar"], "the sidecar was restarted too")
    check(it.revision()["calibratedAt"] == calibrated, "it was calibrated again")
    check(it.limit() > 0 and it.sidecar(pod)["limit"] > 0, f"the limit is gone; it was {limit}")
    it.serving()
