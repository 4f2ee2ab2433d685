"""Three times as many clients as the limit: the surplus is told to come again, and the rest hold the target."""

import json
import socket
import time
import urllib.error
import urllib.request

from world import MODEL, TARGET_MS, World, check, load_client

SECONDS = 20
ATTEMPTS = 3  # a shared machine may disturb one of them


def refusal(url: str) -> tuple[int, str, dict]:
    """Status, Retry-After and body of a request that meets a full limiter; (200, "", {}) if it met a free place."""
    body = json.dumps({"model": MODEL, "prompt": "One more", "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=60).read()
        return 200, "", {}
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After", ""), json.loads(error.read())


def happens(it: World) -> None:
    it.serving()
    pod, limit = it.ready_pods()[0], it.limit()
    try:
        socket.create_connection((pod["status"]["podIP"], 3000), timeout=5).close()
        check(False, "the engine's own port answers beside the limiter")
    except ConnectionRefusedError:
        pass
    worst = 0.0
    for _ in range(ATTEMPTS):
        with it.load(3 * limit) as load:
            it.some_requests(load, limit)  # the first ones start together, as no later ones do
            settled, most = time.monotonic(), 0
            status, retry_after, body = it.eventually(
                lambda: (answer := refusal(it.url()))[0] != 200 and answer, 30, "a request too many is refused"
            )
            while time.monotonic() < settled + SECONDS:
                view = it.sidecar(pod)
                check(
                    view["inflight"] <= max(view["limit"], limit),
                    f"{view['inflight']} in flight at limit {view['limit']}",
                )
                most = max(most, view["inflight"])
                time.sleep(0.2)
        check(status == 429 and int(retry_after) >= 1, f"a request too many got {status}, Retry-After {retry_after!r}")
        check(body["error"]["message"] != "", f"not an error in OpenAI's form: {body}")
        load.nothing_lost()
        check({r.status for r in load.refused()} == {429}, f"refused with {[r.status for r in load.refused()]}")
        check(most > limit // 2, f"only {most} of {limit} places were used under three times the load")
        admitted = [r.tpot_ms for r in load.completed() if r.started > settled]
        worst = load_client.quantile(admitted, 0.9)
        if worst <= 1.1 * TARGET_MS:
            return
    check(False, f"90 % of the admitted requests took up to {worst:.0f} ms a token; the target is {TARGET_MS}")
