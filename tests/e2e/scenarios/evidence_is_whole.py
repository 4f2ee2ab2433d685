"""A failure would leave objects, events, logs, metrics and requests for whoever looks into it, and nobody's secrets."""

import base64
import json
import pathlib
import tempfile

import evidence
from world import World, check, cluster, control_plane, install

SHORTEST = 12  # a shorter value, such as a word, may stand anywhere


def secrets() -> dict[str, str]:
    """What must not be found, with its name: each Secret's values as they are and as the API shows them, and keys."""
    texts = {"a private key": "PRIVATE KEY-----", "a service account's token": "eyJhbGciOi"}
    for secret in json.loads(control_plane.kubectl(cluster.STATE, "get", "secrets", "-A", "-o", "json"))["items"]:
        for key, value in secret.get("data", {}).items():
            name = f"{secret['metadata']['namespace']}/{secret['metadata']['name']} {key}"
            plain = base64.b64decode(value).decode(errors="replace")
            texts |= {f"{name} in base64": value} | {f"{name} line {i}": t for i, t in enumerate(plain.splitlines())}
    for line in (cluster.STATE / "tokens.csv").read_text().splitlines():
        texts[f"the token of {line.split(',')[1]}"] = line.split(",")[0]
    ordinary = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    return {n: t for n, t in texts.items() if len(t.strip()) >= SHORTEST and t.strip() not in ordinary}


def happens(it: World) -> None:
    it.serving()
    with it.load(1) as load:
        it.some_requests(load, 1)
    with tempfile.TemporaryDirectory() as folder:
        files = {
            str(path.relative_to(folder)): path.read_text(errors="replace")
            for path in evidence.collect(pathlib.Path(folder) / "it", it).rglob("*")
            if path.is_file()
        }
    files = {name.removeprefix("it/"): text for name, text in files.items()}
    pod, operator = it.ready_pods()[0]["metadata"]["name"], it.operators()[0]["metadata"]["name"]
    for name, part in {
        f"objects-{it.namespace}.yaml": "kind: Deployment",
        f"objects-{install.NAMESPACE}.yaml": "kind: Deployment",
        "deployment.yaml": "kind: InferenceDeployment",
        "deployment.txt": "Events:",
        "events.txt": f"inferencedeployment/{it.name}",
        f"pods-{it.namespace}.txt": pod,
        "nodes.yaml": cluster.NODE,
        "processes.txt": "patella-engine",
        f"logs/{pod}-sidecar.log": " info ready limit=",
        f"logs/{pod}-engine.log": " info ",
        f"logs/{operator}-operator.log": " info ",
        f"metrics/{pod}-metrics": "# TYPE patella_",
        f"metrics/{pod}-status.json": '"limit"',
        f"metrics/{pod}-engine-metrics": "# TYPE ",
        f"metrics/{operator}-metrics": "# TYPE patella_",
        f"requests-{len(it.loads) - 1}.txt": "status=200",
        **{f"node/{name}.log": "\n" for name in cluster.SERVERS},
    }.items():
        check(name in files, f"no {name} among {sorted(files)}")
        check(part in files[name], f"no {part!r} in {name}: {files[name][:500]}")
    missing = {name: text for name, text in files.items() if text.startswith(evidence.MISSING)}
    check(not missing, f"not all could be had: {missing}")
    found = secrets()
    check(any("-peers" in name for name in found), "there is no Secret of the sidecars that could be found")
    for name, secret in found.items():
        holders = [file for file, text in files.items() if secret in text]
        check(not holders, f"{holders} hold {name}")
