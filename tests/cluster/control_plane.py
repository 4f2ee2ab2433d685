#!/usr/bin/env python3
"""A Kubernetes control plane without a node, for tests: etcd, kube-apiserver, controllers on free loopback ports.

    control_plane.py start [--fresh] STATE    starts what is not running; --fresh first wipes what an earlier run left
    control_plane.py stop STATE [SERVER]      ends all servers (or one: it is back on its port after `start`)
    control_plane.py run STATE COMMAND...     starts a fresh one, runs the command with its environment, stops it

Below STATE: admin.kubeconfig (client certificate, group system:masters), user.kubeconfig (token of the user
test-user, who may do nothing until a Role says so), bin/kubectl, audit.log (one JSON line a request: who, what, which
answer), metrics/NAMESPACE/METRIC (a file's text is the value that a HorizontalPodAutoscaler reads as external
metric), logs/, environment (NAME=value lines for shells). deploy/crds are loaded. Node and RBAC authorisation as on a
real cluster; owner references need the right to update finalizers. Ready in about 6 s, 0.5 GB.
"""

import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import certificates
import servers
from servers import Failure

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE_RANGE = "10.96.0.0/16"
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]}
- {level: None, nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/openapi/*"]}
- {level: Metadata}
"""


def programs() -> pathlib.Path:
    """The folder of Kubernetes' programs, which tools/setup/kubernetes.sh fills."""
    where = subprocess.run(
        [ROOT / "tools/setup/kubernetes.sh", "--where"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return pathlib.Path(where)


def etcd_program() -> str | None:
    assets = pathlib.Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
    return str(assets / "etcd") if (assets / "etcd").exists() else shutil.which("etcd")


def check_programs() -> None:
    missing = [
        name for name in ("kube-apiserver", "kube-controller-manager", "kubectl") if not (programs() / name).exists()
    ]
    if not etcd_program():
        missing.append("etcd")
    if missing:
        raise Failure(
            f"{', '.join(missing)} not found: run `make kubernetes` first (about 6 minutes the first time), "
            "or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl"
        )


def write_kubeconfig(path: pathlib.Path, server: str, authority: pathlib.Path, user: dict) -> None:
    """JSON is YAML: no library needed."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
                "users": [{"name": "user", "user": user}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            },
            indent=1,
        )
    )
    path.chmod(0o600)


def client_certificate(folder: pathlib.Path, name: str) -> dict:
    return {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")}


def etcd_command(state: pathlib.Path, client_port: int, peer_port: int) -> list:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        etcd_program(),
        "--name=test",
        "--data-dir",
        state / "etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
    ]


def apiserver_command(state: pathlib.Path, bind: str, port: int, etcd_port: int, more: list[str] | None = None) -> list:
    pki = state / "pki"
    return [
        programs() / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={bind}",
        f"--secure-port={port}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--token-auth-file={state}/tokens.csv",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        # The aggregation layer, for metrics APIs: it calls them with this certificate.
        f"--requestheader-client-ca-file={pki}/ca.crt",
        f"--proxy-client-cert-file={pki}/aggregator.crt",
        f"--proxy-client-key-file={pki}/aggregator.key",
        "--requestheader-allowed-names=aggregator",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--audit-policy-file={state}/audit-policy.yaml",
        f"--audit-log-path={state}/audit.log",
        "--audit-log-mode=blocking",
        *(more or []),
    ]


def controller_manager_command(state: pathlib.Path, more: list[str]) -> list:
    return [
        programs() / "kube-controller-manager",
        f"--kubeconfig={state}/controller-manager.kubeconfig",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        f"--service-account-private-key-file={state}/pki/service-accounts.key",
        f"--root-ca-file={state}/pki/ca.crt",
        *more,
    ]


def make_credentials(state: pathlib.Path, host: str, port: int, more_names: str = "") -> None:
    """Certificates, tokens and kubeconfigs for a server that is reached at host:port."""
    pki = state / "pki"
    certificates.authority(pki)
    certificates.service_account_key(pki)
    certificates.issue(
        pki,
        "apiserver",
        "/CN=kube-apiserver",
        "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
        + more_names,
    )
    certificates.issue(pki, "admin", "/O=system:masters/CN=patella-admin")
    certificates.issue(pki, "controller-manager", "/CN=system:kube-controller-manager")
    certificates.issue(pki, "aggregator", "/CN=aggregator")
    (state / "tokens.csv").write_text("test-user-token,test-user,1000,test-users\n")
    (state / "audit-policy.yaml").write_text(AUDIT_POLICY)
    server = f"https://{host}:{port}"
    write_kubeconfig(state / "admin.kubeconfig", server, pki / "ca.crt", client_certificate(pki, "admin"))
    write_kubeconfig(
        state / "controller-manager.kubeconfig", server, pki / "ca.crt", client_certificate(pki, "controller-manager")
    )
    write_kubeconfig(state / "user.kubeconfig", server, pki / "ca.crt", {"token": "test-user-token"})


def api_ready(state: pathlib.Path) -> bool:
    """Asks /readyz as the admin."""
    config = json.loads((state / "admin.kubeconfig").read_text())
    context = ssl.create_default_context(cafile=state / "pki/ca.crt")
    context.load_cert_chain(state / "pki/admin.crt", state / "pki/admin.key")
    try:
        return (
            urllib.request.urlopen(
                config["clusters"][0]["cluster"]["server"] + "/readyz", context=context, timeout=2
            ).status
            == 200
        )
    except (urllib.error.URLError, OSError):
        return False


def kubectl(state: pathlib.Path, *arguments, stdin: str | None = None) -> str:
    result = subprocess.run(
        [programs() / "kubectl", "--kubeconfig", state / "admin.kubeconfig", *map(str, arguments)],
        input=stdin,
        text=True,
        capture_output=True,
    )
    if result.returncode:
        raise Failure(f"kubectl {' '.join(map(str, arguments))}: {result.stderr.strip()}")
    return result.stdout


def load_crds(state: pathlib.Path) -> None:
    folder = ROOT / "deploy/crds"
    if list(folder.glob("*.yaml")):
        kubectl(state, "apply", "--server-side", "-f", folder)
        kubectl(state, "wait", "--for=condition=Established", "--timeout=30s", "-f", folder)


def register_metrics_api(state: pathlib.Path, port: int) -> None:
    """A Service of type ExternalName is how the API server reaches an aggregated API outside the cluster."""
    kubectl(
        state,
        "apply",
        "--validate=false",  # which would fetch a megabyte of schemas first
        "-f",
        "-",
        stdin=json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {"name": "test-metrics", "namespace": "kube-system"},
                        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
                    },
                    {
                        "apiVersion": "apiregistration.k8s.io/v1",
                        "kind": "APIService",
                        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
                        "spec": {
                            "group": "external.metrics.k8s.io",
                            "version": "v1beta1",
                            "groupPriorityMinimum": 100,
                            "versionPriority": 100,
                            "insecureSkipTLSVerify": True,
                            "service": {"name": "test-metrics", "namespace": "kube-system", "port": port},
                        },
                    },
                ],
            }
        ),
    )


def environment(state: pathlib.Path) -> dict[str, str]:
    return {
        "PATELLA_CONTROL_PLANE": str(state),
        "PATELLA_KUBECONFIG": str(state / "admin.kubeconfig"),
        "PATELLA_KUBECTL": str(state / "bin/kubectl"),
        "PATELLA_USER_KUBECONFIG": str(state / "user.kubeconfig"),
        "PATELLA_AUDIT_LOG": str(state / "audit.log"),
        "PATELLA_EXTERNAL_METRICS": str(state / "metrics"),
    }


def start_servers(state: pathlib.Path) -> None:
    """What is running may still be starting: the `start` that began it may have been killed. So each step is waited for, or done again."""
    ports = json.loads((state / "ports.json").read_text())
    alive, process = set(servers.running(state).values()), None
    if "etcd" not in alive:
        servers.start(state, "etcd", etcd_command(state, ports["etcd"], ports["etcd_peer"]))
    if "kube-apiserver" not in alive:
        process = servers.start(
            state, "kube-apiserver", apiserver_command(state, "127.0.0.1", ports["api"], ports["etcd"])
        )
    try:
        servers.wait_for(lambda: api_ready(state), 60, "kube-apiserver is ready", process)
    except Failure as failure:
        raise Failure(
            f"{failure}\n{servers.log_tail(state, 'kube-apiserver')}\n{servers.log_tail(state, 'etcd')}"
        ) from None
    load_crds(state)  # before the controllers look which kinds there are: they look again after 30 s only
    if "metrics-api" not in alive:
        servers.start(
            state,
            "metrics-api",
            [
                sys.executable,
                ROOT / "tests/cluster/metrics_api.py",
                ports["metrics"],
                state / "pki/apiserver.crt",
                state / "pki/apiserver.key",
                state / "metrics",
            ],
        )
    register_metrics_api(state, ports["metrics"])
    if "kube-controller-manager" not in alive:
        servers.start(
            state,
            "kube-controller-manager",
            controller_manager_command(
                state,
                [
                    "--horizontal-pod-autoscaler-sync-period=1s",
                    "--horizontal-pod-autoscaler-downscale-stabilization=1s",
                ],
            ),
        )
    servers.wait_for(
        lambda: "default" in kubectl(state, "get", "serviceaccounts", "-n", "default", "-o", "name"),
        30,
        "kube-controller-manager has made the default service account",
    )


def start(state: pathlib.Path, fresh: bool) -> None:
    check_programs()
    if fresh:
        stop(state)
        shutil.rmtree(state, ignore_errors=True)
    for attempt in range(3):
        if not (state / "ports.json").exists():
            for folder in (state / "bin", state / "metrics"):
                folder.mkdir(parents=True, exist_ok=True)
            (state / "bin/kubectl").unlink(missing_ok=True)
            (state / "bin/kubectl").symlink_to(programs() / "kubectl")
            ports = dict(zip(("etcd", "etcd_peer", "api", "metrics"), servers.free_ports(4)))
            make_credentials(state, "127.0.0.1", ports["api"])
            (state / "environment").write_text(
                "".join(f"{name}={value}\n" for name, value in environment(state).items())
            )
            (state / "ports.json").write_text(json.dumps(ports))
        try:
            return start_servers(state)
        except Failure:
            if (
                not fresh
                or attempt == 2
                or "address already in use"
                not in servers.log_tail(state, "kube-apiserver") + servers.log_tail(state, "etcd")
            ):
                raise
            stop(state)  # someone else took a port between the choice and the start: choose again
            shutil.rmtree(state)


def stop(state: pathlib.Path, name: str = "") -> None:
    # Nothing here is worth an orderly end (kube-apiserver would wait for its watches), but for one server that a test
    # takes away.
    servers.stop(state, name, grace_seconds=5 if name else 0.2)


def main(arguments: list[str]) -> int:
    fresh = "--fresh" in arguments
    arguments = [a for a in arguments if a != "--fresh"]
    if len(arguments) < 2 or arguments[0] not in ("start", "stop", "run"):
        print(__doc__, file=sys.stderr)
        return 2
    action, state, rest = arguments[0], pathlib.Path(arguments[1]).resolve(), arguments[2:]
    began = time.monotonic()
    try:
        if action == "stop":
            stop(state, *rest[:1])
            return 0
        start(state, fresh or action == "run")
        print(
            f"control plane ready in {time.monotonic() - began:.1f} s: kubectl --kubeconfig {state}/admin.kubeconfig",
            flush=True,
        )
        if action == "run":
            try:
                return subprocess.run(rest, env={**os.environ, **environment(state)}).returncode
            finally:
                stop(state)
        return 0
    except Failure as failure:
        print(f"control plane: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
