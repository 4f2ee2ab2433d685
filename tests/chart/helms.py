"""Both Helms and the other programs of tools.sh, for the chart's tests."""

import functools
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/patella"


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
