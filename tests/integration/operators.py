"""patella-operator as a test runs it: under a ServiceAccount of its own, with the rules of deploy/rbac alone.

with kube.namespace() as ns, operators.account(ns) as account:
    with account.operator() as operator:
        operator.wait_ready()
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import kube
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "deploy/rbac/operator-rules.yaml").read_text())
SAMPLES = ROOT / "tests/unit/operator/testdata"
LEASE = "patella-operator"


def all_rules() -> list[tuple[str, int]]:
    return [(section, i) for section, rules in RULES.items() for i in range(len(rules))]


def without(section: str, index: int) -> dict:
    return {s: [r for i, r in enumerate(rules) if (s, i) != (section, index)] for s, rules in RULES.items()}


class Operator:
    def __init__(self, process: subprocess.Popen, log: pathlib.Path, identity: str):
        self.process, self.log, self.identity = process, log, identity

    def text(self) -> str:
        return self.log.read_text()

    def address(self) -> str:
        return kube.eventually(lambda: re.search(r"listening admin=(\S+)", self.text()), of="the admin port")[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def wait_ready(self) -> None:
        kube.eventually(lambda: self.get("/readyz")[0] == 200, of=f"ready; log:\n{self.text()}")

    def rss_mib(self) -> float:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the operator did not end; log:\n{self.text()}")


@contextlib.contextmanager
def run_operator(kubeconfig: pathlib.Path, **settings):
    """One process; `settings` are its environment. Ended at the end, however."""
    with tempfile.NamedTemporaryFile(prefix="patella-operator-", suffix=".log") as log:
        environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), "ADMIN": "127.0.0.1:0"}
        environment |= {"ENGINE_IMAGE": "patella-engine:test", "SIDECAR_IMAGE": "patella-sidecar:test"}
        environment |= {name: str(value) for name, value in settings.items()}
        process = subprocess.Popen(
            [f"{kube.setting('PATELLA_BIN')}/patella-operator"], env=environment, stdout=log, stderr=log
        )
        operator = Operator(process, pathlib.Path(log.name), environment.get("POD_NAME", ""))
        try:
            yield operator
        except BaseException:
            print(f"log of {operator.identity}:\n{operator.text()}", file=sys.stderr)
            raise
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


class Account:
    """A ServiceAccount with rules, in namespace `own`; it works in namespace `ns`."""

    def __init__(self, ns: kube.Namespace, own: kube.Namespace, folder: pathlib.Path):
        self.ns, self.own, self.folder = ns, own, folder
        self.user = f"system:serviceaccount:{own.name}:patella-operator"
        self.kubeconfig = folder / "kubeconfig"

    def grant(self, rules: dict) -> None:
        name, subject = self.own.name, {"kind": "ServiceAccount", "name": "patella-operator", "namespace": self.own.name}
        group = "rbac.authorization.k8s.io"

        def role(kind: str, namespace: str | None, role_name: str, role_rules: list) -> list[dict]:
            where = {"namespace": namespace} if namespace else {}
            return [
                {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": role_name} | where, "rules": role_rules},
                {
                    "apiVersion": f"{group}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": {"name": role_name} | where,
                    "roleRef": {"apiGroup": group, "kind": kind, "name": role_name},
                    "subjects": [subject],
                },
            ]

        objects = role("ClusterRole", None, name, rules["cluster"])
        objects += role("Role", self.ns.name, name, rules["namespaced"])  # several accounts may work there
        objects += role("Role", self.own.name, "patella-operator-release", rules["release"])
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "patella-operator", "namespace": self.own.name},
            }
        )
        kube.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def write_kubeconfig(self) -> None:
        admin = json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())
        token = self.own.kubectl("create", "token", "patella-operator").strip()
        admin["users"] = [{"name": user["name"], "user": {"token": token}} for user in admin["users"]]
        self.kubeconfig.write_text(json.dumps(admin))

    def operator(self, name: str = "operator-1", **settings):
        settings = {"WATCH_NAMESPACES": self.ns.name, "POD_NAMESPACE": self.own.name, "POD_NAME": name} | settings
        return run_operator(self.kubeconfig, **settings)

    def requests(self) -> list[dict]:
        """This account's part of the audit log."""
        lines = pathlib.Path(kube.setting("PATELLA_AUDIT_LOG")).read_text().splitlines()
        return [event for line in lines if self.user in line and (event := json.loads(line))["user"]["username"] == self.user]

    def forbidden(self) -> list[str]:
        refused = [e for e in self.requests() if e["responseStatus"].get("code") == 403]
        return sorted({f"{e['verb']} {e['requestURI'].split('?')[0]}" for e in refused})

    def leader(self) -> str:
        try:
            return self.own.get("lease", LEASE)["spec"].get("holderIdentity", "")
        except kube.Refused:
            return ""


@contextlib.contextmanager
def account(ns: kube.Namespace, rules: dict = RULES, may_be_refused: bool = False):
    """Whatever is done with the account, a refused (403) call fails the test, but where the test is about that."""
    with kube.namespace() as own, tempfile.TemporaryDirectory(prefix="patella-operator-") as folder:
        made = Account(ns, own, pathlib.Path(folder))
        made.grant(rules)
        made.write_kubeconfig()
        try:
            yield made
            if not may_be_refused and (refused := made.forbidden()):
                raise AssertionError(f"refused: {refused}")
        finally:
            kube.kubectl("delete", "clusterrole,clusterrolebinding", own.name, "--wait=false")


def sample(name: str = "smollm2", **spec) -> dict:
    """A small deployment that needs no accelerator."""
    base = {
        "model": {"name": "SmolLM2-135M-Instruct", "uri": "pvc://models/SmolLM2-135M-Instruct.Q4_1.gguf"},
        "objectives": {"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 50}]},
    }
    return {
        "apiVersion": "patella.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name},
        "spec": base | spec,
    }


CHILD_KINDS = "deployments,configmaps,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets,leases,secrets"


def children(ns: kube.Namespace) -> list[str]:
    """Kind/name of everything that belongs to Patella in this namespace."""
    items = ns.get(CHILD_KINDS, "-l", "app.kubernetes.io/managed-by=patella")["items"]
    return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in items)


def golden_children(sample_name: str, ns: kube.Namespace, owner_uid: str) -> dict[str, dict]:
    """deployments.apps/NAME and so on: what render makes of a sample of the unit tests, in this namespace and of this owner."""
    text = (SAMPLES / f"{sample_name}.children").read_text()
    text = text.replace('"namespace": "demo"', f'"namespace": "{ns.name}"')
    text = re.sub(r'"uid": "[^"]+"', f'"uid": "{owner_uid}"', text)
    parts = (part.split("\n", 1) for part in text.split("--- ")[1:])
    return {name: json.loads(body) for name, body in parts if name != "status"}


def differences(wanted, live, path: str = "") -> list[str]:
    """Every value of `wanted` that is not in `live` at the same place. A map may have more; a list has the same items in the same order."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        missing = [f"{path}/{key} is missing" for key in wanted if key not in live]
        return missing + [d for key in wanted if key in live for d in differences(wanted[key], live[key], f"{path}/{key}")]
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        return [d for i, (a, b) in enumerate(zip(wanted, live)) for d in differences(a, b, f"{path}/{i}")]
    return [] if wanted == live else [f"{path} is {live!r} instead of {wanted!r}"]


def leaves(value, path: tuple = ()) -> list[tuple]:
    """The path of every value in it that is no map and no list, or an empty one."""
    if not isinstance(value, (dict, list)) or not value:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for key, item in items for leaf in leaves(item, (*path, key))]


def deployments(ns: kube.Namespace) -> list[dict]:
    return ns.get("deployments", "-l", "app.kubernetes.io/managed-by=patella")["items"]


def pods_are_ready(ns: kube.Namespace) -> None:
    """What kubelet would report, for every Deployment: all pods there and ready. The Deployment controller, which has no pods that are
    ready, sets it back when it looks next; so this is called until what depends on it has happened."""
    for deployment in deployments(ns):
        replicas = deployment["spec"]["replicas"]
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
        }
        name = deployment["metadata"]["name"]
        ns.kubectl("patch", "deployment", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def condition(ns: kube.Namespace, kind: str, name: str = "smollm2") -> dict:
    found = ns.get("inferencedeployment", name).get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {})


def decode(secret: dict, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()
