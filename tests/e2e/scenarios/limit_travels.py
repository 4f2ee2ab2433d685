"""The user lowers the ceiling: every pod enforces it within seconds and without a restart, and lifts it again."""

import concurrent.futures
import json
import urllib.error
import urllib.request

from world import MODEL, World, check

CEILING = 2


def statuses(address: str, count: int) -> list[int]:
    """HTTP statuses of `count` completions that are sent at once."""
    body = json.dumps({"model": MODEL, "prompt": "Tell me", "max_tokens": 64, "ignore_eos": True}).encode()

    def send(_) -> int:
        request = urllib.request.Request(
            f"http://{address}:8080/v1/completions", body, {"Content-Type": "application/json"}
        )
        try:
            return urllib.request.urlopen(request, timeout=120).status
        except urllib.error.HTTPError as error:
            return error.code

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(send, range(count)))


def happens(it: World) -> None:
    it.serving(2)
    before, names = it.restarts(), {p["metadata"]["name"] for p in it.pods()}
    it.change({"maxConcurrentRequests": CEILING})
    it.eventually(
        lambda: [it.sidecar(p)["limit"] for p in it.ready_pods()] == [CEILING] * 2, 30, "both pods limit to the ceiling"
    )
    for pod in it.ready_pods():
        answers = statuses(pod["status"]["podIP"], CEILING + 3)
        check(answers == [200] * CEILING + [429] * 3, f"{pod['metadata']['name']} at ceiling {CEILING}: {answers}")
    it.change({"maxConcurrentRequests": None})
    with it.load(8) as load:  # a limit rises where there is something to serve
        it.eventually(
            lambda: all(it.sidecar(p)["limit"] > CEILING for p in it.ready_pods()),
            60,
            "both pods rise above the ceiling",
        )
    load.nothing_lost()
    check({p["metadata"]["name"] for p in it.pods()} == names, "pods were replaced")
    check(it.restarts() == before, f"containers were restarted: {it.restarts()}, before: {before}")
