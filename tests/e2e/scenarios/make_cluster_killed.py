"""`make cluster` is killed while Helm installs; run again it gets to its end, and all that it prints there is true.

It plays the recipe of the Makefile's `cluster` on the node that runs already, with this build's programs.
"""

import os
import pathlib
import re
import shlex
import subprocess

from world import BIN, ROOT, World, check, cluster, control_plane, install

NAMESPACE, NAME = "default", "smollm2"  # of deploy/samples/smollm2.yaml


def recipe() -> list[list[str]]:
    """The two commands of `make cluster` that work on the cluster; those before them make programs and a model."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-n", "cluster", f"BUILD={BIN.parent}"]
    text = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    commands = [shlex.split(line) for line in text.splitlines() if " tests/cluster/" in line]
    check(len(commands) == 2, f"`make cluster` is no longer cluster.py and install.py: {commands}")
    return commands


def output(command: list[str]) -> str:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    print(result.stdout, flush=True)
    check(result.returncode == 0, f"{shlex.join(command)} ended with {result.returncode}: {result.stderr}")
    return result.stdout


def make_cluster() -> str:
    return "".join(output(command) for command in recipe())


def release() -> str:
    """Helm's word for how far the release is; empty when there is none."""
    selector = f"owner=helm,name={install.RELEASE}"
    columns = "custom-columns=:.metadata.labels.status"
    arguments = ("get", "secrets", "-n", install.NAMESPACE, "-l", selector, "-o", columns, "--no-headers")
    return control_plane.kubectl(cluster.STATE, *arguments).strip()


def helms() -> list[str]:
    """Process ids of Helm at work on this release."""
    chart = str(ROOT / "charts/patella").encode()

    def arguments(pid: str) -> list[bytes]:
        try:
            return pathlib.Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            return []

    return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if {b"upgrade", chart} <= set(arguments(pid))]


def kill_while_helm_installs(it: World) -> None:
    start, install_it = recipe()
    output(start)
    process = subprocess.Popen(install_it, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        first = process.stdout.readline()
        check("image " in first, f"it began with {first!r}")
        second = subprocess.run(start, cwd=ROOT, capture_output=True, text=True)
        check(second.returncode == 1 and "wait for it to end" in second.stderr, f"beside it one could start: {second}")
        it.eventually(lambda: release() == "pending-install" and helms(), 180, "Helm installs")
    finally:
        process.kill()
        process.communicate()
    it.eventually(lambda: not helms(), 10, "Helm has ended with what started it")
    check(release() == "pending-install", f"it was not killed in the middle: the release is {release()}")


def check_progress(text: str) -> None:
    steps = (
        *(f"  {name} (" for name in cluster.SERVERS),
        "ready in ",
        *(f"  image registry.patella.dev/patella/{name}:" for name in install.IMAGES),
        "installing charts/patella",
        "applied deploy/samples/smollm2.yaml",
        "ramp",
        ", limit ",
        "NAME ",
        "answers:",
        "What to do next:",
    )
    at = 0
    for step in steps:
        found = text.find(step, at)
        check(found >= 0, f"no {step!r} after what came before, in:\n{text}")
        at = found


def check_end(it: World, text: str) -> None:
    """The table, the URL and the commands."""
    limit = it.limit()
    header, row = re.search(r"^(NAME .*)\n(smollm2 .*)$", text, re.M).groups()
    check("LIMIT" in header and str(limit) in row.split(), f"the limit is {limit}, the table says:\n{header}\n{row}")
    url, answer = re.search(r'^(http://\S+) answers: "The capital of France is (.+)"$', text, re.M).groups()
    said = " ".join(install.complete(url, it.deployment()["spec"]["model"]["name"], "The capital of France is").split())
    check(said == answer and url == it.url(), f"{url} says {said!r}, and `make cluster` said {answer!r}; {it.url()}")

    commands = [line.strip() for line in text.split("What to do next:\n", 1)[1].splitlines()]
    check(commands[-1].startswith(cluster.down_command()), f"the last command ends it not: {commands[-1]}")
    script = "\n".join(commands[:-1])
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "PATELLA"))}
    shell = ["bash", "-euc", script]
    result = subprocess.run(shell, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=200)
    check(result.returncode == 0, f"{script}\nended with {result.returncode}:\n{result.stdout}{result.stderr}")
    for part in ("Kind:         InferenceDeployment", "Events:", "at once", "<html"):
        check(part in result.stdout, f"no {part!r} in what these print:\n{script}\n{result.stdout}")


def happens(it: World) -> None:
    remove_patella()
    it.namespace, it.name = NAMESPACE, NAME
    try:
        kill_while_helm_installs(it)
        text = make_cluster()
        check_progress(text)
        check_end(it, text)
        names, before = {p["metadata"]["name"] for p in it.pods()}, it.restarts()
        again = make_cluster()
        check(again.count("(there already)") == len(install.IMAGES), f"images were loaded again:\n{again}")
        check({p["metadata"]["name"] for p in it.pods()} == names, "the second run replaced the pods")
        check(it.restarts() == before, f"the second run restarted containers: {it.restarts()}, before: {before}")
    finally:
        it.kubectl("delete", "idep", NAME, "--ignore-not-found")
    it.eventually(lambda: not it.get("pods", "-l", f"patella.dev/deployment={NAME}")["items"], 60, "its pods are gone")


def remove_patella() -> None:
    """Whether or not a scenario before left it installed."""
    install.helm("uninstall", install.RELEASE, "-n", install.NAMESPACE, "--ignore-not-found", "--wait")
