"""What an ended cluster has left on this machine: there must be nothing."""

import pathlib

from world import cluster


def left() -> list[str]:
    """Whatever of a cluster is on this machine."""
    mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    routes = cluster.run("ip", "-o", "route", "show", "table", "all").splitlines()
    rules = cluster.run("iptables-save").splitlines()
    links = cluster.run("ip", "-o", "link", "show").splitlines()
    return [
        *(f"process {pid} ({name})" for pid, name in cluster.servers.running(cluster.STATE).items()),
        *(f"mount {m}" for m in mounts if str(cluster.STATE) in m or "/kubelet" in m),
        *(f"control group {g}" for g in cluster.control_groups()),
        *(f"route {r}" for r in routes if cluster.CABLE in r or r.startswith(("10.89.", "10.96.", "10.244."))),
        *(f"packet-filter rule {r}" for r in rules if "KUBE" in r),
        *(f"link {link}" for link in links if cluster.CABLE in link),
        *([f"folder {cluster.STATE}"] if cluster.STATE.exists() else []),
    ]
