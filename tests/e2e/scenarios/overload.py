"""Three times as many clients as the limit: the surplus is told to come again, and the rest hold the target.

What must hold always: 429 with Retry-After for the surplus, none lost, never more in flight than the limit, and all of
its places used. The target, 100 ms a token for 90 % of requests, counts as held when in one of three attempts of 20 s
the 90 % quantile of the admitted requests' mean time per token is at most 110 ms. That is looser than the target by a
tenth and two attempts, because the node shares two cores with a whole Kubernetes and with the load itself, none of
which the engine is protected from, and 20 s give some dozens of requests. tests/acceptance allows the same tenth, over
longer blocks of a machine that does nothing else.
"""

import json
import socket
import time
import urllib.error
import urllib.request

from world import MODEL, TARGET_MS, World, check, load_client

SECONDS = 20
ATTEMPTS = 3
MOST_MS = 1.1 * TARGET_MS


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
    quantiles = []
    for _ in range(ATTEMPTS):
        with it.load(3 * limit) as load:
            it.some_requests(load, limit)  # the first ones start together, as no later ones do
            settled, most = time.monotonic(), 0
            status, retry_after, body = it.eventually(
                lambda: (answer := refusal(it.url()))[0] != 200 and answer, 30, "a request too many is refused"
            )
            limits = {limit}  # it follows the load
            while time.monotonic() < settled + SECONDS:
                view = it.sidecar(pod)
                limits.add(view["limit"])
                check(view["inflight"] <= max(limits), f"{view['inflight']} in flight at limits {sorted(limits)}")
                most = max(most, view["inflight"])
                time.sleep(0.2)
        check(status == 429 and int(retry_after) >= 1, f"a request too many got {status}, Retry-After {retry_after!r}")
        check(body["error"]["message"] != "", f"not an error in OpenAI's form: {body}")
        load.nothing_lost()
        check({r.status for r in load.refused()} == {429}, f"refused with {[r.status for r in load.refused()]}")
        check(
            most >= min(limits), f"only {most} places were used under three times the load, at limits {sorted(limits)}"
        )
        admitted = [r.tpot_ms for r in load.completed() if r.started > settled]
        quantiles.append(load_client.quantile(admitted, 0.9))
        print(f"90 % of {len(admitted)} admitted requests took up to {quantiles[-1]:.0f} ms a token", flush=True)
        if quantiles[-1] <= MOST_MS:
            return
    shown = ", ".join(f"{q:.0f}" for q in quantiles)
    check(False, f"90 % of the admitted requests took up to {shown} ms a token, never {MOST_MS:.0f} or less")
