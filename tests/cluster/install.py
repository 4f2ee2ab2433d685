#!/usr/bin/env python3
"""Patella on the running one-node cluster: images built and loaded, chart installed, sample applied until it serves.

    install.py [--sample deploy/samples/smollm2.yaml] [--bin build/release/bin]

Every step may be repeated, also after a kill at any point: images are tagged by their content, so what has not changed
is not rolled out again. One at a time, until the sample is applied. Ends with `kubectl get idep`, a completion from the
URL that answers, and the next commands; else exit 1 with what is wrong.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cluster
import control_plane
from cluster import STATE, say
from control_plane import ROOT, kubectl
from servers import TIED, Failure

RELEASE, NAMESPACE = "patella", "patella-system"
IMAGES = ("operator", "sidecar", "engine")
READY_SECONDS = 600


def helm(*arguments) -> str:
    program = control_plane.programs() / "helm"
    result = subprocess.run(
        [*TIED, program, f"--kubeconfig={STATE}/admin.kubeconfig", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise Failure(f"helm {' '.join(map(str, arguments))}: {result.stderr.strip()}")
    return result.stdout


def load_images(programs: pathlib.Path) -> dict[str, str]:
    """Builds the images and loads those that the node does not have; their tags by name."""
    build = [*TIED, sys.executable, ROOT / "deploy/images/build.py", "--tag-by-content", "--bin", programs, *IMAGES]
    lines = cluster.run(*build).splitlines()
    present = cluster.run(*cluster.ctr("images", "ls", "-q")).split()
    tags = {}
    for line in lines:
        reference, archive = line.split()[0], line.split()[-1]
        name, tags[name] = reference.rsplit("/", 1)[1].split(":")
        fresh = reference not in present
        shown = re.sub(r"  +", ": ", line.replace(f"{ROOT}/", ""), count=1)
        say(f"  image {shown}{'' if fresh else '  (there already)'}")
        if fresh:
            cluster.run(*cluster.ctr("images", "import", archive))
    return tags


def install_chart(tags: dict[str, str], values: list[str]) -> None:
    """`values`: further --set's of Helm. A release that a killed run left half-way is rolled over."""
    if namespace_exists():
        pending = "status in (pending-install,pending-upgrade,pending-rollback)"
        kubectl(STATE, "delete", "secrets", "-n", NAMESPACE, "-l", f"owner=helm,name={RELEASE},{pending}")
    sets = [
        f"image.tag={tags['operator']}",
        f"sidecar.image.tag={tags['sidecar']}",
        f"engine.image.tag={tags['engine']}",
    ]
    sets += [f"hostModelDir={cluster.MODELS}", *values]
    helm(
        "upgrade", "--install", RELEASE, ROOT / "charts/patella", "-n", NAMESPACE, "--create-namespace", "--wait",
        "--timeout=180s", *(part for s in sets for part in ("--set", s)),
    )  # fmt: skip


def tags_of_release() -> dict[str, str]:
    """The images' tags that the installed release has, as load_images returned them."""
    values = json.loads(helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "json"))
    return {"operator": values["image"]["tag"]} | {n: values[n]["image"]["tag"] for n in ("sidecar", "engine")}


def namespace_exists() -> bool:
    return bool(kubectl(STATE, "get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"))


def status_of(pod: dict) -> dict:
    """What the pod's sidecar says of itself at /status.json; {} while it does not."""
    address = pod.get("status", {}).get("podIP")
    if not address:
        return {}
    try:
        return json.loads(urllib.request.urlopen(f"http://{address}:8081/status.json", timeout=2).read())
    except (OSError, ValueError):
        return {}


def pods_of(namespace: str, name: str) -> list[dict]:
    selector = f"patella.dev/deployment={name}"
    return json.loads(kubectl(STATE, "get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]


def condition(thing: dict, kind: str) -> dict:
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def operator_trouble() -> str:
    """What ended the operators, if none of them runs as it should; else an empty text."""
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
    pods = json.loads(kubectl(STATE, "get", "pods", "-n", NAMESPACE, "-l", selector, "-o", "json"))["items"]
    if any(s.get("ready") and not s["restartCount"] for pod in pods for s in containers_of(pod)):
        return ""
    for pod in pods:
        if any(s["restartCount"] for s in containers_of(pod)):
            name = pod["metadata"]["name"]
            log = kubectl(STATE, "logs", "-n", NAMESPACE, name, "--tail=1", "--previous").strip()
            return f"the operator ended and was started again; its last line: {log}"
    return ""


def progress(namespace: str, name: str) -> tuple[dict, str]:
    """The InferenceDeployment and one sentence on how far it is."""
    thing = json.loads(kubectl(STATE, "get", "idep", name, "-n", namespace, "-o", "json"))
    pods = pods_of(namespace, name)
    for pod in pods:
        pod_name = pod["metadata"]["name"]
        for s in containers_of(pod):
            waiting = s["state"].get("waiting", {})
            if ended := s.get("lastState", {}).get("terminated"):
                code = ended["exitCode"]
                return thing, f"{pod_name}: container {s['name']} ended with {code} and was started again"
            if waiting.get("reason", "PodInitializing") not in ("PodInitializing", "ContainerCreating"):
                return thing, f"{pod_name}: {waiting['reason']} {waiting.get('message', '')}"
        if (view := status_of(pod)).get("state"):
            at = view["progress"]
            level = f", level {at['concurrency']}" if at["concurrency"] else ""
            phase = f": {at['phase']}{level}" if at["phase"] and not view["limit"] else ""
            return thing, f"{view['state']}{phase}" + (f", limit {view['limit']}" if view["limit"] else "")
    if pods:
        return thing, f"{pods[0]['metadata']['name']}: {pods[0]['status']['phase']}"
    ready = condition(thing, "Ready")
    if trouble := operator_trouble():
        return thing, trouble
    return thing, ready.get("message") or "the operator has not looked at it yet"


def containers_of(pod: dict) -> list[dict]:
    status = pod.get("status", {})
    return status.get("initContainerStatuses", []) + status.get("containerStatuses", [])


def serving_limit(thing: dict) -> int:
    """The limit in status of the revision that serves; 0: none yet."""
    revisions = thing.get("status", {}).get("revisions", [])
    return next((r.get("limit", 0) for r in revisions if r.get("role") == "Serving"), 0)


def wait_until_ready(namespace: str, name: str, seconds: float = READY_SECONDS) -> dict:
    """Prints each new step; returns the object once it is Ready, as it is specified now, with its limit in status."""
    began, said = time.monotonic(), ""
    while time.monotonic() - began < seconds:
        thing, sentence = progress(namespace, name)
        if sentence != said:
            say(f"  {time.monotonic() - began:4.0f} s  {sentence}")
            said = sentence
        if thing.get("status", {}).get("observedGeneration") == thing["metadata"]["generation"]:  # else of the last one
            stalled = condition(thing, "Stalled")
            if stalled.get("status") == "True":
                raise Failure(f"{name}: {stalled.get('message')}")
            if condition(thing, "Ready").get("status") == "True" and serving_limit(thing):
                return thing
        time.sleep(0.5)
    raise Failure(
        f"{name} is not ready after {seconds:g} s ({said}); look with: kubectl describe idep/{name} -n {namespace}"
    )


def complete(url: str, model: str, prompt: str, seconds: float = 30) -> str:
    """A completion's text. Refused because all places are taken it comes again as Retry-After says, for `seconds`."""
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 16, "temperature": 0}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + seconds
    while True:
        try:
            return json.loads(urllib.request.urlopen(request, timeout=60).read())["choices"][0]["text"]
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            pause = max(1, int(error.headers.get("Retry-After", "1")))
        if time.monotonic() + pause > deadline:
            raise Failure(f"{url} had no free place for a request within {seconds:g} s: others use it")
        time.sleep(pause)


def service_url(namespace: str, name: str) -> str:
    service = json.loads(kubectl(STATE, "get", "service", name, "-n", namespace, "-o", "json"))
    return f"http://{service['spec']['clusterIP']}"


def sidecar_page(namespace: str, name: str) -> str:
    """URL of the page of a pod that is there to stay; empty if there is none."""
    for pod in pods_of(namespace, name):
        address = pod["status"].get("podIP")
        if address and pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]:
            return f"http://{address}:8081/"
    return ""


def summary(thing: dict, programs: pathlib.Path) -> None:
    """Ends with lines that a shell can run: commands, each with what it shows."""
    name, namespace = thing["metadata"]["name"], thing["metadata"]["namespace"]
    url, model = service_url(namespace, name), thing["spec"]["model"]["name"]
    limit = serving_limit(thing)
    bench = f"bench {url} --concurrency {limit},{2 * limit} --requests-per-level {2 * limit}"
    prompt = "The capital of France is"
    answer = " ".join(complete(url, model, prompt).split())
    say("")
    say(kubectl(STATE, "get", "idep", "-n", namespace).rstrip())
    say(f"""
{url} answers: "{prompt} {answer}"

What to do next:
  export KUBECONFIG={STATE}/admin.kubeconfig PATH={STATE}/bin:$PATH""")
    page = sidecar_page(namespace, name)
    for command, shows in (
        (f"kubectl describe idep/{name} -n {namespace}", "the story of the object"),
        (f"{shown(programs / 'patella')} {bench}", "at the limit, and a load that meets it"),
        *([(f"curl {page}", "the sidecar's own page, for a browser")] if page else []),
        (cluster.down_command(), "the end, which leaves nothing"),
    ):
        say(f"  {command}  # {shows}")


def shown(path: pathlib.Path) -> pathlib.Path:
    """As a person in the repository's folder would write it."""
    path = path.absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=pathlib.Path, default=ROOT / "deploy/samples/smollm2.yaml")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="folder of the programs")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        with cluster.locked():
            if not cluster.node_init():
                raise Failure("no cluster runs: start it with `make cluster`")
            tags = load_images(options.bin)
            say("installing charts/patella")
            install_chart(tags, [])
            applied = json.loads(kubectl(STATE, "apply", "-f", options.sample, "-o", "json"))
        say(f"applied {options.sample} ({time.monotonic() - began:.0f} s): now the limit is learned")
        summary(wait_until_ready(applied["metadata"]["namespace"], applied["metadata"]["name"]), options.bin)
        return 0
    except (Failure, OSError) as failure:  # URLError and HTTPError are OSErrors
        print(f"cluster: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
