"""Both Helms, the other programs of tools.sh, and what the chart renders to, for its tests."""

import functools
import os
import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/patella"
NAMESPACE = "patella-system"
VALUES = ROOT / "tests/chart/values"
CASES = sorted(path.stem for path in VALUES.glob("*.yaml"))
MONITORING = [f"monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")]


@functools.cache
def tools() -> pathlib.Path:
    where = [ROOT / "tests/chart/tools.sh", "--where"]
    folder = pathlib.Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    if not (folder / ".complete").exists():
        raise SystemExit("helm and the others are missing: run `make chart-tools`")
    return folder


def helm(major: int, *arguments, ok: bool = True) -> subprocess.CompletedProcess:
    """Helm with a home of its own: no plugin, no repository and no cluster of the user's."""
    command = [str(part) for part in (tools() / ("helm3" if major == 3 else "helm"), *arguments)]
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ok and done.returncode:
        raise AssertionError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done


def template(major: int, *arguments, ok: bool = True) -> subprocess.CompletedProcess:
    return helm(major, "template", "patella", CHART, "-n", NAMESPACE, "--kube-version", "1.35.0", *arguments, ok=ok)


@functools.cache
def rendered(major: int, case: str) -> str:
    served = [part for api in MONITORING for part in ("--api-versions", api)]
    return template(major, "-f", VALUES / f"{case}.yaml", *served).stdout


def objects(text: str) -> list[dict]:
    return [item for item in yaml.safe_load_all(text) if item]


def of_kind(text: str, *kinds: str) -> list[dict]:
    return [item for item in objects(text) if item["kind"] in kinds]
