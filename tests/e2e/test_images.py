"""The container images as archives: the same bytes from two places at two times, small, and without root's rights."""

import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_MB = {"operator": 60, "sidecar": 60, "engine": 100}


def build(folder: pathlib.Path, **environment) -> dict[str, bytes]:
    program = [sys.executable, str(ROOT / "deploy/images/build.py")]
    command = [*program, "--bin", os.environ["PATELLA_BIN"], "--out", str(folder)]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    return {file.stem: file.read_bytes() for file in sorted(folder.glob("*.tar"))}


class ImagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="patella-images-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.first = pathlib.Path(cls.folder.name) / "first"
        cls.first.mkdir()
        cls.images = build(cls.first)

    def parts(self, name: str):
        """The image's configuration, and its one layer's entries."""
        with tarfile.open(self.first / f"{name}.tar") as archive:
            blob = lambda digest: archive.extractfile("blobs/sha256/" + digest.removeprefix("sha256:"))
            index = json.load(archive.extractfile("index.json"))
            manifest = json.load(blob(index["manifests"][0]["digest"]))
            config = json.load(blob(manifest["config"]["digest"]))
            with tarfile.open(fileobj=blob(manifest["layers"][0]["digest"]), mode="r:gz") as layer:
                return config, layer.getmembers()

    def test_all_three_are_there(self):
        self.assertEqual(set(self.images), set(MOST_MB))

    def test_the_same_programs_give_the_same_bytes(self):
        again = pathlib.Path(self.folder.name) / "again"
        again.mkdir()
        before = os.umask(0o077)
        try:
            self.assertEqual(build(again, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7"), self.images)
        finally:
            os.umask(before)

    def test_each_is_small_and_runs_without_rights(self):
        for name, most in MOST_MB.items():
            with self.subTest(name):
                config, members = self.parts(name)
                self.assertLessEqual(sum(m.size for m in members), most * 1e6)
                self.assertEqual(config["config"]["User"], "65532:65532")
                files = [m.name for m in members if m.isfile()]
                self.assertIn(config["config"]["Entrypoint"][0].lstrip("/"), files)
                self.assertEqual([m.name for m in members if m.mode & 0o6000], [], "no set-uid, no set-gid")
                writable = [m.name for m in members if m.isfile() and m.mode & 0o022]
                self.assertEqual(writable, [], "nothing others may write")
                tools = ("/sh", "/bash", "/dash", "/busybox", "/apt", "/dpkg")
                self.assertEqual([f for f in files if f.endswith(tools)], [])


if __name__ == "__main__":
    unittest.main()
