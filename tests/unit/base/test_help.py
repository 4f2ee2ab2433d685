"""PROGRAM --help ends with 0 and names, as variable and as flag, every setting that its sources (FOLDER) read.

test_help.py PROGRAM FOLDER
"""
import os
import pathlib
import re
import subprocess
import sys

READ = re.compile(r'settings(?:\.|->)(?:String|Int|Double|Bool|Has|IsExplicit)\(\s*"([A-Z0-9_]+)"\s*\)')
PLAIN = re.compile(r'getenv\(\s*"([A-Z0-9_]+)"\s*\)')

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
name = os.path.basename(program)
source = "\n".join(path.read_text() for path in sorted(folder.rglob("*.cc")))
read = set(READ.findall(source)) | set(PLAIN.findall(source))
assert len(read) >= 10 and {"ADMIN", "KUBECONFIG", "POD_NAME"} <= read, f"{folder}: only {sorted(read)} found"

run = subprocess.run([program, "--help"], env={}, capture_output=True, text=True, timeout=30)
assert run.returncode == 0, f"{name} --help ended with {run.returncode}: {run.stderr}"
assert run.stderr == "", run.stderr
words = set(re.findall(r"[\w-]+", run.stdout))
missing = [w for s in sorted(read) for w in (s, "--" + s.lower().replace("_", "-")) if w not in words]
assert not missing, f"{name} --help does not name {missing}:\n{run.stdout}"

unknown = subprocess.run([program, "--no-such-flag"], env={}, capture_output=True, text=True, timeout=30)
assert unknown.returncode == 2 and "--help" in unknown.stderr, unknown
