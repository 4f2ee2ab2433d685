"""cluster.py leaves nothing behind, whenever it is killed, and refuses a second cluster."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from leftovers import left
from world import cluster, control_plane

PROGRAM = [sys.executable, str(pathlib.Path(cluster.__file__))]


def run(action: str, state: pathlib.Path = cluster.STATE) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATELLA_CLUSTER": str(state)}
    return subprocess.run([*PROGRAM, action], capture_output=True, text=True, env=environment, timeout=240)


def kill_after(action: str, line: str) -> None:
    """SIGKILL to the program as soon as it has printed a line with that text."""
    process = subprocess.Popen([*PROGRAM, action], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen = []
    for text in process.stdout:
        seen.append(text)
        if line in text:
            process.kill()
            break
    process.wait(240)
    process.stdout.close()
    assert any(line in text for text in seen), f"{action} never said {line!r}: {seen}"


def kill_when(action: str, happens) -> None:
    """SIGKILL to the program as soon as `happens()`."""
    process = subprocess.Popen([*PROGRAM, action], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (seen := happens()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert seen, f"{action} ended, or 30 s went by, before it could be killed"


class Cluster(unittest.TestCase):
    def setUp(self):
        self.assertEqual(run("down").returncode, 0)

    def tearDown(self):
        self.assertEqual(run("down").returncode, 0)
        self.assertEqual(left(), [])

    def up(self):
        result = run("up")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        node = control_plane.kubectl(cluster.STATE, "get", "node", cluster.NODE)
        self.assertIn(" Ready ", node)

    def test_it_starts_after_it_was_killed_at_any_point(self):
        for line in ("starting a one-node", "containerd"):
            with self.subTest(line):
                kill_after("up", line)
                self.up()
                self.assertEqual(run("down").returncode, 0)
                self.assertEqual(left(), [])

    def test_it_waits_for_what_was_starting_when_it_was_killed(self):
        for name in ("node", "kube-apiserver", "containerd"):
            with self.subTest(name):
                self.setUp()

                def parts() -> list[int]:
                    return [pid for pid, of in cluster.servers.running(cluster.STATE).items() if of == name]

                kill_when("up", cluster.node_init if name == "node" else parts)
                halted = parts()
                for pid in halted:
                    cluster.servers.send(pid, signal.SIGSTOP)  # a machine so busy that it is still starting
                again = subprocess.Popen([*PROGRAM, "up"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                with self.assertRaises(subprocess.TimeoutExpired):
                    again.communicate(timeout=2)
                for pid in halted:
                    cluster.servers.send(pid, signal.SIGCONT)
                self.assertEqual((again.communicate(timeout=90)[1], again.returncode), ("", 0))
                self.up()

    def test_a_half_started_one_is_ended_whole(self):
        kill_after("up", "kubelet")

    def test_ending_may_be_killed_too(self):
        self.up()
        kill_when("down", lambda: not cluster.node_init())  # the node's processes begin to end

    def test_its_folder_is_known_as_its_own_however_little_a_killed_end_left_of_it(self):
        class Killed(BaseException):
            pass

        for survivors in range(1, 10):
            with self.subTest(survivors), tempfile.TemporaryDirectory() as parent:
                folder = pathlib.Path(parent) / "state"
                (folder / "logs").mkdir(parents=True)
                for name in (cluster.MARK, "Corefile", "kubelet.yaml", *(f"logs/{i}.log" for i in range(8))):
                    (folder / name).touch()
                unlink = os.unlink

                def until_killed(path, **options):
                    if sum(p.is_file() for p in folder.rglob("*")) == survivors:
                        raise Killed
                    unlink(path, **options)

                with mock.patch.object(cluster, "STATE", folder):
                    with mock.patch("os.unlink", until_killed), self.assertRaises(Killed):
                        cluster.down(quiet=True)
                    cluster.down(quiet=True)
                self.assertFalse(folder.exists())

    def test_a_second_one_is_refused(self):
        self.up()
        with tempfile.TemporaryDirectory() as folder:
            result = run("up", pathlib.Path(folder) / "second")
        self.assertEqual(result.returncode, 1)
        self.assertIn("another cluster runs on this machine", result.stderr)
        self.assertIn("make cluster-down", result.stderr)
        self.up()  # the first is as well as before

    def test_a_folder_that_is_somebody_elses_is_not_removed(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "letter").write_text("dear")
            result = run("up", pathlib.Path(folder))
            self.assertEqual(result.returncode, 1)
            self.assertIn("is not a cluster's folder", result.stderr)
            self.assertTrue((pathlib.Path(folder) / "letter").exists())


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("a Kubernetes node needs root: run this test as root", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 77)
    unittest.main(verbosity=2)
