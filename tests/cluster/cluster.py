#!/usr/bin/env python3
"""A whole Kubernetes with one real node on this machine, as root and without a registry.

    cluster.py up               starts it, or what of it is not running; ready in about 15 s
    cluster.py down             ends it and leaves nothing
    cluster.py load FILE ...    makes images in OCI archives known to the node
    cluster.py stop|start NAME  one server, for tests (kube-apiserver, kubelet, ...)

etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, containerd and CoreDNS run in
process, mount and network namespaces of their own (node/init.py says what that gives). A virtual cable joins the node
to the machine: 10.89.0.254 here, 10.89.0.1 there; Services (10.96.0.0/16) and pods (10.244.0.0/24) answer from this
machine and from nowhere else. Files: PATELLA_CLUSTER, default /srv/patella-cluster: admin.kubeconfig, bin/kubectl,
logs/. One cluster a machine, since the addresses are fixed; a second is refused.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import string
import subprocess
import sys
import time

import certificates
import control_plane
import servers
from control_plane import kubectl, programs
from servers import Failure

USUAL_STATE = pathlib.Path("/srv/patella-cluster")
STATE = pathlib.Path(os.environ.get("PATELLA_CLUSTER") or USUAL_STATE).absolute()
CACHE = pathlib.Path(os.environ.get("PATELLA_CACHE") or pathlib.Path.home() / ".cache/patella").absolute()
FOLDER = pathlib.Path(__file__).resolve().parent
LOCK = pathlib.Path("/run/lock/patella-cluster.lock")
MARK = "this-folder-belongs-to-a-test-cluster"
NODE = "patella-node"
MODELS = "/var/lib/patella/models"  # on the node: CACHE/models, read-only
CABLE = "patella0"
HERE, THERE = "10.89.0.254", "10.89.0.1"
POD_RANGE = "10.244.0.0/24"
PAUSE_IMAGE = "registry.patella.dev/test/pause:1"
SERVERS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "coredns",
    "kubelet",
    "kube-proxy",
)


def say(text: str) -> None:
    print(text, flush=True)


def run(*command, **options) -> str:
    result = subprocess.run([str(c) for c in command], text=True, capture_output=True, **options)
    if result.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def down_command(state: pathlib.Path = STATE) -> str:
    """What ends the cluster of that folder, for messages."""
    return "make cluster-down" if state == USUAL_STATE else f"PATELLA_CLUSTER={state} make cluster-down"


def node_init(state: pathlib.Path = STATE) -> int:
    """Process id of the node's first process, as seen from here; 0 when there is none."""
    for pid, name in servers.running(state).items():
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if name == "node" and len(ids) > 1 and ids[-1] == "1":
                return pid
    return 0


def in_node(*command) -> list:
    joined = ("--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd")
    return ["nsenter", f"--target={node_init()}", *joined, "--", *command]


def refuse_another_roots() -> None:
    """A node's state folder is there as long as it runs, unless that is below another root directory than ours."""
    if (init := node_init()) and not (STATE / MARK).exists():
        raise Failure(
            f"another cluster runs on this machine, in {STATE} of a container or chroot (process {init}): end it there "
            "first with `make cluster-down`"
        )


def refuse_a_second() -> None:
    """Fails when another cluster of this program runs, or when an address that this one needs is in use."""
    refuse_another_roots()
    mine = f"PATELLA_SERVER={STATE.resolve()}/node".encode()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for variable in pathlib.Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                if variable.startswith(b"PATELLA_SERVER=") and variable.endswith(b"/node") and variable != mine:
                    other = pathlib.Path(variable.split(b"=", 1)[1].decode()).parent
                    raise Failure(
                        f"another cluster runs on this machine, in {other} (process {entry}), with the same addresses: "
                        f"end it first with `{down_command(other)}`"
                    )
    for prefix in (f"{THERE}/24", control_plane.SERVICE_RANGE, POD_RANGE):
        for line in run("ip", "-4", "route", "show", "root", prefix.replace(THERE, "10.89.0.0")).splitlines():
            if f"dev {CABLE}" not in line:
                raise Failure(f"this machine already routes into {prefix}, which the cluster needs: {line.strip()}")


def start_node() -> subprocess.Popen:
    """The namespaces and their first process."""
    (STATE / "node-is-up").unlink(missing_ok=True)
    return servers.start(
        STATE,
        "node",
        [
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--propagation",
            "unchanged",  # init.py makes it private
            sys.executable,
            FOLDER / "node/init.py",
            STATE,
            CACHE,
            MODELS,
        ],
    )


def wait_for_node(process: subprocess.Popen | None) -> None:
    """`process`: the node's, if this run has started it."""
    try:
        servers.wait_for((STATE / "node-is-up").exists, 10, "the node's namespaces are made", process)
    except Failure as failure:
        raise Failure(f"{failure}\n{servers.log_tail(STATE, 'node')}") from None


def lay_cable() -> None:
    init = node_init()
    if subprocess.run(["ip", "link", "show", CABLE], capture_output=True).returncode:
        run("ip", "link", "add", CABLE, "type", "veth", "peer", "name", "eth0", "netns", init)
    run(*in_node("ip", "address", "replace", f"{THERE}/24", "dev", "eth0"))
    run(*in_node("ip", "link", "set", "eth0", "up"))
    run("ip", "address", "replace", f"{HERE}/24", "dev", CABLE)
    run("ip", "link", "set", CABLE, "up")
    for prefix in (control_plane.SERVICE_RANGE, POD_RANGE):
        run("ip", "route", "replace", prefix, "via", THERE, "dev", CABLE)


def write_files() -> None:
    """Credentials and configuration of every server. All paths are below STATE."""
    control_plane.make_credentials(STATE, THERE, 6443, f",IP:{THERE}")
    pki = STATE / "pki"
    for name, subject in (
        ("scheduler", "/CN=system:kube-scheduler"),
        ("kube-proxy", "/CN=system:kube-proxy"),
        ("coredns", "/CN=coredns"),
        ("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"),
    ):
        certificates.issue(pki, name, subject, f"IP:{THERE},DNS:{NODE}" if name == "kubelet" else "")
        user = control_plane.client_certificate(pki, name)
        control_plane.write_kubeconfig(STATE / f"{name}.kubeconfig", f"https://{THERE}:6443", pki / "ca.crt", user)
    for folder in ("bin", "cni", "kubelet"):
        (STATE / folder).mkdir(parents=True, exist_ok=True)
    for name in ("kubectl", "helm"):
        (STATE / "bin" / name).unlink(missing_ok=True)
        (STATE / "bin" / name).symlink_to(programs() / name)
    values = {"STATE": STATE, "NODE": NODE, "NODE_ADDRESS": THERE, "POD_RANGE": POD_RANGE, "PAUSE_IMAGE": PAUSE_IMAGE}
    for name in ("containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "Corefile", "pods.conflist"):
        text = string.Template((FOLDER / "node" / name).read_text()).substitute(values)
        (STATE / ("cni" if name.endswith("conflist") else "") / name).write_text(text)


def command_of(name: str) -> list:
    match name:
        case "etcd":
            return control_plane.etcd_command(STATE, 2379, 2380)
        case "kube-apiserver":
            to_kubelet = (
                f"--kubelet-client-certificate={STATE}/pki/admin.crt --kubelet-client-key={STATE}/pki/admin.key"
            )
            more = f"--advertise-address={THERE} --kubelet-preferred-address-types=InternalIP {to_kubelet}"
            authority = f"--kubelet-certificate-authority={STATE}/pki/ca.crt"
            return control_plane.apiserver_command(STATE, "0.0.0.0", 6443, 2379, [*more.split(), authority])
        case "kube-controller-manager":
            # One node and one API server: that the server was away says nothing about the node and its pods.
            more = "--horizontal-pod-autoscaler-sync-period=5s --node-monitor-grace-period=5m"
            return control_plane.controller_manager_command(STATE, more.split())
        case "kube-scheduler":
            flags = f"--kubeconfig={STATE}/scheduler.kubeconfig --leader-elect=false --secure-port=0"
        case "containerd":
            return ["containerd", f"--config={STATE}/containerd.toml"]
        case "coredns":
            flags = f"-conf={STATE}/Corefile"
        case "kubelet":
            flags = f"--config={STATE}/kubelet.yaml --kubeconfig={STATE}/kubelet.kubeconfig --root-dir={STATE}/kubelet"
            flags += f" --node-ip={THERE} --hostname-override={NODE}"
        case "kube-proxy":
            flags = f"--config={STATE}/kube-proxy.yaml"
    return [programs() / name, *flags.split()]


def start_server(name: str) -> None:
    process = None
    if name not in servers.running(STATE).values():
        process = servers.start(STATE, name, in_node(*command_of(name)))
    if ready := READY.get(name):  # one that runs too: the `up` that started it may have been killed before it was ready
        try:
            servers.wait_for(ready, 60, f"{name} is ready", process)
        except Failure as failure:
            raise Failure(f"{failure}\n{servers.log_tail(STATE, name)}") from None


def node_is_ready() -> bool:
    try:
        node = json.loads(kubectl(STATE, "get", "node", NODE, "-o", "json"))
    except Failure:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))


READY = {
    "kube-apiserver": lambda: control_plane.api_ready(STATE),
    "containerd": lambda: subprocess.run(ctr("version"), capture_output=True).returncode == 0,
    "kubelet": node_is_ready,
}


def ctr(*arguments) -> list:
    return [*in_node("ctr"), f"--address={STATE}/containerd.sock", "--namespace=k8s.io", *map(str, arguments)]


def load(archives: list[pathlib.Path]) -> None:
    for archive in archives:
        for line in run(*ctr("images", "import", archive.absolute())).splitlines():
            say(f"  {line.strip()}")


def load_pause() -> None:
    sys.path.insert(0, str(control_plane.ROOT / "deploy/images"))
    import build

    folder = STATE / "images"
    folder.mkdir(exist_ok=True)
    run("gcc", "-static", "-Os", "-o", folder / "pause", FOLDER / "node/pause.c")
    build.write_archive(folder / "pause.tar", PAUSE_IMAGE, folder / "pause", {})
    run(*ctr("images", "import", folder / "pause.tar"))


def allow_coredns() -> None:
    kubectl(
        STATE,
        "apply",
        "-f",
        "-",
        stdin=json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [
                    {
                        "apiVersion": "rbac.authorization.k8s.io/v1",
                        "kind": "ClusterRole",
                        "metadata": {"name": "test-coredns"},
                        "rules": [
                            {
                                "apiGroups": [""],
                                "resources": ["services", "pods", "namespaces", "endpoints"],
                                "verbs": ["list", "watch"],
                            },
                            {
                                "apiGroups": ["discovery.k8s.io"],
                                "resources": ["endpointslices"],
                                "verbs": ["list", "watch"],
                            },
                        ],
                    },
                    {
                        "apiVersion": "rbac.authorization.k8s.io/v1",
                        "kind": "ClusterRoleBinding",
                        "metadata": {"name": "test-coredns"},
                        "roleRef": {
                            "apiGroup": "rbac.authorization.k8s.io",
                            "kind": "ClusterRole",
                            "name": "test-coredns",
                        },
                        "subjects": [{"kind": "User", "name": "coredns"}],
                    },
                ],
            }
        ),
    )


def up() -> None:
    began = time.monotonic()
    refuse_a_second()
    process = None
    if not node_init():
        down(quiet=True)
        STATE.mkdir(parents=True)
        (STATE / MARK).touch()
        say(f"starting a one-node Kubernetes in {STATE}")
        write_files()
        process = start_node()
    wait_for_node(process)
    lay_cable()
    for name in SERVERS:
        start_server(name)
        if name == "kube-apiserver":
            allow_coredns()
        if name == "containerd":
            load_pause()
        say(f"  {name} ({time.monotonic() - began:.1f} s)")
    servers.wait_for(
        lambda: "default" in kubectl(STATE, "get", "serviceaccounts", "-n", "default", "-o", "name"),
        30,
        "the default service account exists",
    )
    say(f"ready in {time.monotonic() - began:.1f} s: export KUBECONFIG={STATE}/admin.kubeconfig PATH={STATE}/bin:$PATH")


def control_groups() -> list[pathlib.Path]:
    """Those of Kubernetes' containers. The walk passes over what goes while it looks."""
    return [pathlib.Path(at, "k8s.io") for at, folders, _ in os.walk("/sys/fs/cgroup") if "k8s.io" in folders]


def remove_cgroups() -> None:
    """The kernel ended the containers; their empty control groups have to go by hand.

    Those that the state folder names, and those of a cluster whose folder went before it was ended: empty for longer
    than any container runtime takes to fill one.
    """
    known = {path.name for path in STATE.glob("containerd/io.containerd.grpc.v1.cri/*/*")}

    def ours(folder: pathlib.Path) -> bool:
        if folder.name in known:
            return True
        return bool(re.fullmatch("[0-9a-f]{64}", folder.name)) and time.time() - folder.stat().st_ctime > 60

    def gone() -> bool:
        left = False
        for root in control_groups():
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                for folder in [f for f in root.iterdir() if f.is_dir()]:
                    with contextlib.suppress(OSError):  # busy for a moment, or another container runtime's and in use
                        if ours(folder):
                            os.rmdir(folder)
                left = left or any(f.name in known for f in root.iterdir())
            with contextlib.suppress(OSError):
                os.rmdir(root)
        return not left

    servers.wait_for(gone, 10, "the containers' control groups are removed")


def remove_folder() -> None:
    """The mark goes last, so that what a killed run left of the folder is known as ours by the next."""
    for path in STATE.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (STATE / MARK).unlink(missing_ok=True)
    STATE.rmdir()


def down(quiet: bool = False) -> None:
    refuse_another_roots()
    if init := node_init():
        servers.send(init, signal.SIGKILL)
        servers.wait_for(lambda: not node_init(), 30, "the node's processes have ended")
    servers.stop(STATE, grace_seconds=0)
    subprocess.run(["ip", "link", "delete", CABLE], capture_output=True)  # gone with the namespace, as a rule
    remove_cgroups()
    if STATE.exists():
        if not (STATE / MARK).exists() and any(STATE.iterdir()):
            raise Failure(
                f"{STATE} is not a cluster's folder: PATELLA_CLUSTER must name one that is empty or does not exist"
            )
        remove_folder()
        if not quiet:
            say(f"ended the cluster and removed {STATE}")
    elif not quiet:
        say(f"no cluster runs in {STATE}")


@contextlib.contextmanager
def locked():
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(
                "another `make cluster` or `make cluster-down` works on this machine: wait for it to end"
            ) from None
        yield


def check_machine(ends: bool = False) -> None:
    """`ends`: for `down`, which needs little, so that a cluster can be ended whose programs have gone."""
    if os.geteuid() != 0:
        raise Failure(
            "a Kubernetes node makes namespaces, mounts and packet-filter rules, which needs root: sudo make cluster"
        )
    found = "etcd containerd runc iptables mount ip nsenter setpriv unshare gcc openssl".split()
    missing = [name for name in (["ip"] if ends else found) if not shutil.which(name)]
    if not ends:
        built = [name for name in (*SERVERS, "kubectl", "helm") if name not in ("etcd", "containerd")]
        missing = [name for name in built if not (programs() / name).exists()] + missing
    if missing:
        raise Failure(f"{', '.join(missing)} not found: `make cluster` installs and builds them")


def main(arguments: list[str]) -> int:
    try:
        check_machine(ends=arguments == ["down"])
        with locked():
            match arguments:
                case ["up"]:
                    up()
                case ["down"]:
                    down()
                case ["load", *files]:
                    load([pathlib.Path(f) for f in files])
                case ["stop", name]:
                    servers.stop(STATE, name)
                case ["start", name]:
                    start_server(name)
                case _:
                    print(__doc__, file=sys.stderr)
                    return 2
        return 0
    except Failure as failure:
        print(f"cluster: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
