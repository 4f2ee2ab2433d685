#!/usr/bin/env python3
"""End-to-end scenarios on a real one-node Kubernetes.

    run.py up                  a fresh cluster with Patella installed
    run.py SCENARIO [...]      on that cluster; each may be run alone and again
    run.py down                ends the cluster, and fails if it left anything

A scenario is a file of scenarios/, named after what happens. One that fails leaves a folder with objects, events,
logs, metrics and the requests that were sent, and names it. Without root exit 77, which CTest takes as skipped; in CI
that is a failure.
"""

import importlib
import os
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import evidence  # noqa: E402
import leftovers  # noqa: E402
from world import BIN, Failure, World, cluster, install  # noqa: E402

OUT = pathlib.Path(os.environ.get("PATELLA_E2E_OUT") or BIN.parent / "e2e")


def up() -> int:
    cluster.check_machine()
    with cluster.locked():
        cluster.down(quiet=True)
        cluster.up()
    install.install_chart(install.load_images(BIN), [])
    return 0


def down() -> int:
    with cluster.locked():
        cluster.down()
    if remains := leftovers.left():
        raise Failure("\n  ".join(["its end left on this machine:", *remains]))
    return 0


def play(name: str) -> int:
    it, began = World(), time.monotonic()
    try:
        importlib.import_module(f"scenarios.{name}").happens(it)
    except Exception:
        traceback.print_exc()
        folder = evidence.collect(OUT / name, it)
        print(
            f"{name}: failed after {time.monotonic() - began:.0f} s; objects, events, logs and metrics: {folder}",
            flush=True,
        )
        return 1
    print(f"{name}: held, {time.monotonic() - began:.0f} s", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    known = sorted(p.stem for p in (pathlib.Path(__file__).parent / "scenarios").glob("*.py"))
    if not arguments or set(arguments) - {"up", "down", *known}:
        print(__doc__, f"Scenarios: {', '.join(known)}", sep="\n", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("a Kubernetes node needs root: run these tests as root", file=sys.stderr)
        return 1 if os.environ.get("CI") else 77
    try:
        return max({"up": up, "down": down}.get(a, lambda a=a: play(a))() for a in arguments)
    except Failure as failure:
        print(f"cluster: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
