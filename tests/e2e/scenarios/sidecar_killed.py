"""The sidecar dies: it is back within seconds with the limit it had learned, and the engine never noticed.

It begins with 80 % of that limit, and live traffic raises it again (sidecar/tuner: what is remembered is not measured).
"""

import json

from world import World, check, cluster

RESUMES_WITH = 0.8


def learned(pod: dict) -> int:
    """The limit that the sidecar keeps over a restart, in its volume."""
    volumes = cluster.STATE / "kubelet/pods" / pod["metadata"]["uid"] / "volumes"
    return json.loads((volumes / "kubernetes.io~empty-dir/state/patella-limit.json").read_text())["limit"]


def happens(it: World) -> None:
    it.serving()
    pod, limit, calibrated = it.ready_pods()[0], it.limit(), it.revision()["calibratedAt"]
    name, known = pod["metadata"]["name"], learned(pod)
    before = it.restarts()[f"{name}/sidecar"], it.restarts()[f"{name}/engine"]
    it.kill(pod, "sidecar")
    it.eventually(
        lambda: it.restarts()[f"{name}/sidecar"] == before[0] + 1, 30, "kubelet has started the sidecar again"
    )
    it.eventually(it.ready_pods, 30, "the pod is ready again, without a calibration")
    check(it.complete() != "", "no answer")
    check(it.restarts()[f"{name}/engine"] == before[1], "the engine was restarted too")
    check(it.revision()["calibratedAt"] == calibrated, "it was calibrated again")
    view = it.sidecar(pod)
    first = view["decisions"][0]
    check(first["reason"] == "resumed", f"its first limit is not the one it had learned: {first}")
    expected = max(1, int(RESUMES_WITH * known))
    check(first["to"] == expected, f"it had learned {known} and begins with {first['to']}, not {expected}: {first}")
    check(view["limit"] > 0 and it.limit() > 0, f"the limit is gone; it was {limit}")
    it.serving()
