"""`patella --help` and that of each command against the sources: the flags that are told are those that are parsed, the
examples are of flags that their command has, and every exit code of cli/exit_code.h is told everywhere.

test_help.py PROGRAM FOLDER
"""
import pathlib
import re
import subprocess
import sys

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
ADDED = re.compile(r'add_(?:option|flag)\(\s*"([^"]+)"')
FLAG = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


def told_by(*command: str) -> str:
    done = subprocess.run([program, *command, "--help"], env={}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stderr == "", f"{command} --help: {done.returncode}, {done.stderr}"
    return done.stdout


def parsed_by(text: str) -> set[str]:
    """The flags that CLI11 lists: it lists what it parses."""
    listed = re.findall(r"^  (-[\w,-]+)(?: |$)", text, re.M)
    return {flag for flags in listed for flag in flags.split(",")}


def check_examples(flags: dict[str, set[str]], text: str, where: str) -> None:
    """Each line that calls a command, up to its comment."""
    for line in re.findall(r"^  patella (.+)$", text, re.M):
        command, given = line.split()[0], set(FLAG.findall(re.split(r" {3,}|#", line)[0]))
        assert command in flags, f"{where} has an example of {command}: {line}"
        assert given <= flags[command], f"{where} calls {command} with {given - flags[command]}: {line}"


root = told_by()
commands = re.findall(r"^  (\w+) {2,}\w", root.split("Subcommands:\n")[1], re.M)
added = set(re.findall(r'add_subcommand\(\s*"(\w+)"', "".join(p.read_text() for p in folder.rglob("*.cc"))))
assert set(commands) == added and len(added) >= 5, f"{commands} are told, {added} are there"
texts = {command: told_by(command) for command in commands}
flags = {command: parsed_by(text) for command, text in texts.items()}

sources = "".join(path.read_text() for path in folder.rglob("*.cc"))
given = {name for names in ADDED.findall(sources) for name in names.split(",") if name.startswith("-")}
told = set().union(*flags.values()) - {"-h", "--help"}
assert given == told, f"parsed but not told: {given - told}; told but not parsed: {told - given}"

check_examples(flags, root, "patella --help")
called = set(re.findall(r"^  patella (\w+) ", root, re.M))
assert called == set(commands), f"patella --help has no example of {set(commands) - called}"
for command, text in texts.items():
    where = f"patella {command} --help"
    check_examples(flags, text, where)
    assert re.search(rf"^  patella {command} ", text, re.M), f"{where} has no example"
    prose = re.sub(r"^  patella .*$", "", text, flags=re.M)
    unknown = {flag for flag in FLAG.findall(prose) if flag.startswith("--")} - flags[command]
    assert not unknown, f"{where} speaks of {unknown}, which it does not take"

codes = {int(code) for code in re.findall(r"^  k\w+ = (\d+),", (folder / "exit_code.h").read_text(), re.M)}
assert len(codes) >= 10, codes
for where, text in [("", root), *texts.items()]:
    line = re.search(r"Exit codes: ([^.]*)\.", text)
    assert line, f"patella {where} --help tells no exit codes"
    said = {int(code) for code in re.findall(r"\b\d+\b", line[1])}
    assert said == codes, f"patella {where} --help tells the exit codes {sorted(said)}, there are {sorted(codes)}"
