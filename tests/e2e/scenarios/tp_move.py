"""The engine's arguments change: a new revision is tuned and takes over under load, and no request is lost."""

from world import World, check


def happens(it: World) -> None:
    it.serving()
    old = it.revision()["hash"]
    tokens = 256 if "256" not in it.deployment()["spec"]["engine"].get("args", []) else 384
    with it.load(2) as load:
        it.some_requests(load, 2)
        it.change({"engine": {"args": ["--max-batch-prefill-tokens", str(tokens)]}})
        it.eventually(
            lambda: len(it.get("deployments")["items"]) == 2, 60, "the new revision stands beside the old one"
        )
        it.eventually(lambda: it.revision().get("hash") not in ("", None, old), 300, "the new revision serves")
        it.eventually(
            lambda: all(p["metadata"]["labels"]["patella.dev/revision"] != old for p in it.get("pods")["items"]),
            240,
            "the old revision's pods are gone",
        )
        it.some_requests(load, 5)
    load.nothing_lost()
    it.serving()
    check(it.limit() > 0, "the new revision has no limit")
    args = it.ready_pods()[0]["spec"]["containers"][0]["args"]
    check(str(tokens) in args, f"the engine's arguments are {args}")
