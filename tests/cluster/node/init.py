#!/usr/bin/env python3
"""The first process of the node's own process, mount and network namespaces: `cluster.py` starts it by unshare(1).

    init.py STATE CACHE MODELS

It gives the node mounts of its own, so that nothing of the machine is written outside STATE and nothing stays behind,
and then reaps orphans for ever. When it ends, the kernel ends every process of the node, its containers included, and
drops mounts, addresses and packet-filter rules with the namespaces. That is the whole of the cluster's clean-up, and
it works from any half-way state.
"""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys

# What the kubelet would set on the machine: it reads these instead and leaves the machine alone.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def mount(*arguments) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def keep_mounts_here() -> None:
    """No mount made from now on reaches the machine. In a chroot "/" can be told so only from outside of it."""
    new_mount_namespace, recursive_private = 0x00020000, 0x4000 | 0x40000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
    libc = ctypes.CDLL(None, use_errno=True)
    root, namespace = os.open("/", os.O_RDONLY), os.open("/proc/self/ns/mnt", os.O_RDONLY)
    if libc.setns(namespace, new_mount_namespace) or libc.mount(None, b"/", None, recursive_private, None):
        raise OSError(ctypes.get_errno(), "mounts cannot be made private")
    os.fchdir(root)
    os.chroot(".")
    os.close(root)
    os.close(namespace)


def own_root(state: pathlib.Path) -> None:
    """In a chroot "/" is no mount point, which containers need it to be: then a second view of it becomes the root."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    if any(line.split()[4] == "/" for line in mounts):
        return
    view = state / "root"
    view.mkdir()
    mount("--rbind", "/", view)
    os.chroot(view)
    os.chdir("/")


def private_mounts(state: pathlib.Path, kept: list[pathlib.Path]) -> None:
    """Covers /run, /var/lib and /var/log, where containerd and kubelet have fixed paths; `kept` folders stay."""
    mount("--make-rshared", "/")  # the kubelet wants to propagate mounts into containers
    mount("-t", "proc", "proc", "/proc")
    for name, value in SYSCTLS.items():
        file = state / "sysctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
        if pathlib.Path("/proc/sys", name).exists():
            mount("--bind", file, f"/proc/sys/{name}")
    handles = {folder: os.open(folder, os.O_PATH) for folder in kept}
    for covered in ("/run", "/var/lib", "/var/log"):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", covered)
        for folder, handle in handles.items():
            if folder.is_relative_to(covered):
                folder.mkdir(parents=True)
                subprocess.run(
                    ["mount", "--bind", f"/proc/self/fd/{handle}", str(folder)], check=True, pass_fds=[handle]
                )
    for handle in handles.values():
        os.close(handle)


def mount_models(source: pathlib.Path, target: pathlib.Path) -> None:
    """What a node pool with models on its disks has: pods mount the folder by hostPath."""
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True)
    mount("--bind", source, target)
    mount("-o", "remount,bind,ro", target)


def main() -> None:
    state, cache = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    keep_mounts_here()
    own_root(state)
    private_mounts(state, [state, cache])
    mount_models(cache / "models", pathlib.Path(sys.argv[3]))
    socket.sethostname("patella-node")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    (state / "node-is-up").touch()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.sigtimedwait({signal.SIGCHLD}, 1)


if __name__ == "__main__":
    main()
