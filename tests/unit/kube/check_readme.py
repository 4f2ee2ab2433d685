"""lib/kube/README.md shows the controller of example.cc as it is compiled and run, not as it once was."""
import difflib
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[3]
README = ROOT / "lib/kube/README.md"
EXAMPLE = ROOT / "tests/unit/kube/example.cc"


def only(pattern, path):
    found = re.findall(pattern, path.read_text(), re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        sys.exit(f"{path.relative_to(ROOT)}: {len(found)} places like {pattern!r}, expected one")
    return found[0]


shown = only(r"^```cpp\n(.*?)^```$", README)
compiled = textwrap.dedent(only(r"^  // README begins\n(.*?)^  // README ends$", EXAMPLE))
if not compiled.strip():
    sys.exit("example.cc has nothing between its marks")
if shown != compiled:
    sys.stdout.writelines(
        difflib.unified_diff(shown.splitlines(True), compiled.splitlines(True), "README.md", "example.cc"))
    sys.exit("the block of lib/kube/README.md is not what example.cc compiles")
