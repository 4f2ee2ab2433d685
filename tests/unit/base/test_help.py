"""PROGRAM --help ends with 0 and says what is so: it names, as variable and as flag, every setting that the sources in
FOLDER read and no other, the parser takes each of its flags, and it tells the exit codes of main.cc and of the file CODES.

test_help.py PROGRAM FOLDER CODES
"""
import os
import pathlib
import re
import subprocess
import sys

READ = re.compile(r'settings_?(?:\.|->)(?:String|Int|Bool|Has)\(\s*"([A-Z0-9_]+)"\s*\)')
PLAIN = re.compile(r'getenv\(\s*"([A-Z0-9_]+)"\s*\)')
# An entry of the help: its flags, its variables, what it is for, what it may be.
ENTRY = re.compile(r"^  (--[\w-]+(?:, --[\w-]+)*)  ([A-Z0-9_]+(?:, [A-Z0-9_]+)*)\n      .+\n      (.+)$", re.M)
ONE_VALUE = re.compile(r"one of \w+(?:;|$)|from (\d+) to \1(?!\d)")  # it is checked, and nobody need read it
# Of main, of a constant, of an enum's list and of the table of error kinds.
CODES = re.compile(r'return (?:\w+ \? )?(\d+)(?: : (\d+))?;|\bkExit\w+ = (\d+)|"\w+", (\d+),\s*StatusCode')

program, folder, codes = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
name = os.path.basename(program)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([program, *arguments], env={}, capture_output=True, text=True, timeout=30)


def flag_of(setting: str) -> str:
    return "--" + setting.lower().replace("_", "-")


source = "\n".join(path.read_text() for path in sorted(folder.rglob("*.cc")))
read = set(READ.findall(source)) | set(PLAIN.findall(source))
assert len(read) >= 10, f"{folder}: only {sorted(read)} found"

told = run("--help")
assert told.returncode == 0, f"{name} --help ended with {told.returncode}: {told.stderr}"
assert told.stderr == "", told.stderr
entries = [(flags.split(", "), names.split(", "), value) for flags, names, value in ENTRY.findall(told.stdout)]
assert told.stdout.count("\n  --") == len(entries) + 1, f"an entry, besides --help, has another form:\n{told.stdout}"
for flags, names, value in entries:
    assert flags == [flag_of(n) for n in names], f"{names}: the flags are {flags}"
    assert read & set(names) or ONE_VALUE.search(value), f"{names[0]} is in the help of {name}, but nobody reads it"
missing = sorted(read - {n for _, names, _ in entries for n in names})
assert not missing, f"{name} --help does not name {missing}:\n{told.stdout}"

for flag in [f for flags, _, _ in entries for f in flags] + ["--help"]:
    taken = run(flag, "--help")
    assert "is not a flag" not in taken.stderr, f"{flag} is in the help of {name}, but: {taken.stderr}"
unknown = run("--no-such-flag")
assert unknown.returncode == 2 and "--help" in unknown.stderr, unknown

main = next(folder.rglob("main.cc")).read_text()
ends = {int(code) for found in CODES.findall(main + codes.read_text()) for code in found if code}
line = re.search(r"Exit codes: ([^.]*)\.", told.stdout)
assert line, f"{name} --help tells no exit codes"
said = {int(code) for code in re.findall(r"\b\d+\b", line[1])}
assert said == ends | {0}, f"{name} --help tells the exit codes {sorted(said)}, but it ends with {sorted(ends | {0})}"
