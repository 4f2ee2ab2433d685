"""How tests/cluster/control_plane.py starts: after it was killed on the way, and with the programs of KUBEBUILDER_ASSETS."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cluster"))
import control_plane  # noqa: E402
import servers  # noqa: E402

PROGRAM = [sys.executable, str(ROOT / "tests/cluster/control_plane.py")]


class Start(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.state = self.folder / "state"
        self.addCleanup(control_plane.stop, self.state)

    def start(self, **environment) -> None:
        done = subprocess.run(
            [*PROGRAM, "start", str(self.state)], env=os.environ | environment, text=True, capture_output=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def kill_start_when(self, happens) -> None:
        process = subprocess.Popen([*PROGRAM, "start", str(self.state)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (seen := happens()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait()
        self.assertTrue(seen, "it ended, or two minutes went by, before it could be killed")

    def test_it_starts_after_it_was_killed_while_a_server_was_starting(self):
        for name in ("kube-apiserver", "metrics-api"):
            with self.subTest(name):
                self.kill_start_when(lambda: name in servers.running(self.state).values())
                self.start()
                self.assertEqual(
                    set(servers.running(self.state).values()),
                    {"etcd", "kube-apiserver", "metrics-api", "kube-controller-manager"},
                )
                self.assertIn("inferencedeployments.patella.dev", control_plane.kubectl(self.state, "get", "crds", "-o", "name"))
                self.assertIn("external.metrics", control_plane.kubectl(self.state, "get", "apiservices", "-o", "name"))
                control_plane.stop(self.state)
                shutil.rmtree(self.state)

    def test_programs_of_kubebuilder_assets_are_used_instead_of_built_ones(self):
        assets, cache = self.folder / "assets", self.folder / "cache"
        assets.mkdir()
        real = {name: str(control_plane.programs() / name) for name in ("kube-apiserver", "kubectl")}
        real["etcd"] = control_plane.etcd_program()
        for name, program in real.items():
            (assets / name).write_text(
                f'#!/bin/sh\ntouch {shlex.quote(str(self.folder / name))}.used\nexec {shlex.quote(program)} "$@"\n'
            )
            (assets / name).chmod(0o755)
        setup = [str(ROOT / "tools/setup/kubernetes.sh")]
        environment = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
        environment["PATELLA_CACHE"] = str(cache)
        built = subprocess.run([*setup, "--where"], env=environment, check=True, capture_output=True, text=True).stdout
        pathlib.Path(built.strip()).mkdir(parents=True)
        manager = "kube-controller-manager"  # is not among the assets: the one that was built serves
        (pathlib.Path(built.strip()) / manager).symlink_to(control_plane.programs() / manager)
        environment["KUBEBUILDER_ASSETS"] = str(assets)
        subprocess.run([*setup, "control-plane"], env=environment, check=True, capture_output=True)

        self.start(PATELLA_CACHE=str(cache), KUBEBUILDER_ASSETS=str(assets))
        self.assertEqual(sorted(p.name for p in self.folder.glob("*.used")), sorted(f"{name}.used" for name in real))
        self.assertIn(manager, servers.running(self.state).values())


if __name__ == "__main__":
    unittest.main()
