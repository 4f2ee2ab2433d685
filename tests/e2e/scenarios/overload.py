"""Three times as many clients as the limit: the surplus is told to come again, the rest are served as if it were not there.

What must hold always: 429 with Retry-After for the surplus, none lost, never more in flight or in the engine than the
limit, and all of its places used. And the admitted requests take about as long a token as those of exactly as many
clients as the limit, who are served just before and just after: without a limiter it would be nearly three times as
long. That is a ratio, and it counts where the two calm loads agree with each other; on a machine too noisy for that,
three times in a row, it is left open. The ceiling is set to the learned limit meanwhile, so that it does not rise
between the loads. Whether the target itself is held is asked by tests/acceptance, of a machine that does nothing else.
"""

import json
import socket
import time
import urllib.error
import urllib.request

from world import MODEL, Load, World, check, load_client

SECONDS = 15
ATTEMPTS = 3
MOST_NOISE = 1.4  # the slower of the two calm loads over the other
MOST_SLOWER = 1.5  # the crowded load over the slower calm one


def refusal(url: str) -> tuple[int, str, dict]:
    """Status, Retry-After and body of a request that meets a full limiter; (200, "", {}) if it met a free place."""
    body = json.dumps({"model": MODEL, "prompt": "One more", "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=60).read()
        return 200, "", {}
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After", ""), json.loads(error.read())


def ms_per_token(load: Load, since: float) -> float:
    """The median of the answered requests that began after `since`."""
    return load_client.quantile([r.tpot_ms for r in load.completed() if r.started > since], 0.5)


def calm(it: World, limit: int) -> float:
    """Milliseconds a token with just as many clients as may be served."""
    with it.load(limit) as load:
        it.some_requests(load, limit)  # the first ones start together, as no later ones do
        settled = time.monotonic()
        it.some_requests(load, 3 * limit)
    load.nothing_lost()
    return ms_per_token(load, settled)


def crowded(it: World, pod: dict, limit: int) -> float:
    """The same with three times as many, and what must hold meanwhile."""
    with it.load(3 * limit) as load:
        it.some_requests(load, limit)
        settled, most = time.monotonic(), 0
        status, retry_after, body = it.eventually(
            lambda: (answer := refusal(it.url()))[0] != 200 and answer, 30, "a request too many is refused"
        )
        limits = {limit}  # it follows the load
        while time.monotonic() < settled + SECONDS:
            view = it.sidecar(pod)
            limits.add(view["limit"])
            engine = view["engine"]["running"] + view["engine"]["waiting"]
            check(view["inflight"] <= max(limits), f"{view['inflight']} in flight at limits {sorted(limits)}")
            check(engine <= max(limits), f"{engine} in the engine at limits {sorted(limits)}")
            most = max(most, view["inflight"])
            time.sleep(0.2)
    check(status == 429 and int(retry_after) >= 1, f"a request too many got {status}, Retry-After {retry_after!r}")
    check(body["error"]["message"] != "", f"not an error in OpenAI's form: {body}")
    load.nothing_lost()
    check({r.status for r in load.refused()} == {429}, f"refused with {[r.status for r in load.refused()]}")
    check(most >= min(limits), f"only {most} places were used under three times the load, at limits {sorted(limits)}")
    return ms_per_token(load, settled)


def happens(it: World) -> None:
    it.serving()
    pod, limit = it.ready_pods()[0], it.limit()
    try:
        socket.create_connection((pod["status"]["podIP"], 3000), timeout=5).close()
        check(False, "the engine's own port answers beside the limiter")
    except ConnectionRefusedError:
        pass
    it.change({"maxConcurrentRequests": limit})
    it.eventually(lambda: it.sidecar(pod)["ceiling"] == limit, 30, f"the sidecar has the ceiling of {limit}")
    told = []
    for _ in range(ATTEMPTS):
        before, under, after = calm(it, limit), crowded(it, pod, limit), calm(it, limit)
        print(f"{before:.0f}, {after:.0f} ms a token at {limit} clients, {under:.0f} at {3 * limit}", flush=True)
        if max(before, after) > MOST_NOISE * min(before, after):
            continue
        told.append(f"{under:.0f} instead of {max(before, after):.0f}")
        if under <= MOST_SLOWER * max(before, after):
            return
    check(not told, f"three times the load made the admitted requests slower: {', '.join(told)} ms a token")
    print("the calm loads disagree each time: this machine is too noisy to compare them with the crowded one", flush=True)
