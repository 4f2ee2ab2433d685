#!/usr/bin/env python3
"""Fails when an #include crosses a module border that the architecture does not draw.

A module is the longest prefix of a file's folder that ALLOWED names. Each line says what a module may include besides
itself. The same arrows stand in the CMake link lists; headers alone would still be found without linking, hence this
check.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

ALLOWED = {
    "lib/base": [],
    "lib/http": ["lib/base"],
    "lib/metrics": ["lib/base"],
    "lib/kube": ["lib/base", "lib/metrics"],
    "lib/science": [],
    "lib/api": ["lib/base", "lib/science"],
    "lib/wire": ["lib/base", "lib/http"],
    "lib/adapters": ["lib/base", "lib/http", "lib/wire"],
    "lib/loadgen": ["lib/base", "lib/http", "lib/science", "lib/adapters"],
    "engine/formats": ["lib/base"],
    "engine/text": ["lib/base", "engine/formats"],
    "engine/backend": ["lib/base", "engine/formats"],
    "engine/model": ["lib/base", "engine/formats", "engine/backend"],
    "engine/schedule": ["lib/base", "engine/backend"],
    "engine/serve": ["lib", "engine", "patella"],
    "sidecar/tuner": ["lib/base", "lib/science"],
    "sidecar": ["lib", "sidecar", "patella"],
    "operator/reconcile": ["lib/base", "lib/api", "lib/science"],
    "operator/render": ["lib/base", "lib/kube", "operator/reconcile"],
    "operator": ["lib", "operator", "patella"],
    "cli": ["lib", "operator/reconcile", "operator/apply", "sidecar/tuner", "cli", "patella"],
}
FOLDERS = ("lib", "engine", "sidecar", "operator", "cli")
BEAST = re.compile(r"#\s*include\s*<boost/(asio|beast)")
MAX_BEAST_FILES = 4
CPPREST = re.compile(r"#\s*include\s*<(cpprest|pplx)/")
CPPREST_FILE = "lib/kube/cpprest_transport.cc"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def module_of(path: str) -> str | None:
    return max((m for m in ALLOWED if path == m or path.startswith(m + "/")), key=len, default=None)


def main() -> int:
    problems, beast_files = [], []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".h", ".cc", ".cuh", ".cu"):
                continue
            name = path.relative_to(ROOT).as_posix()
            text = path.read_text()
            if BEAST.search(text) and name != CPPREST_FILE:
                beast_files.append(name)
            if CPPREST.search(text) and name != CPPREST_FILE:
                problems.append(f"{name}: cpprestsdk belongs in {CPPREST_FILE} alone")
            module = module_of(name)
            if module is None:
                problems.append(f"{name}: belongs to no module in tools/check_includes.py")
                continue
            for included in INCLUDE.findall(text):
                if module_of(included) == module or included.split("/")[0] not in (*FOLDERS, "patella"):
                    continue
                if not any(included.startswith(allowed + "/") for allowed in ALLOWED[module]):
                    problems.append(f"{name}: {module} may not include {included}")
    if any(not f.startswith("lib/http/") for f in beast_files):
        problems.append(f"Boost.Asio and Beast belong in lib/http alone: {beast_files}")
    if len([f for f in beast_files if f.endswith(".cc")]) > MAX_BEAST_FILES:
        problems.append(f"more than {MAX_BEAST_FILES} sources include Beast or Asio (slow to compile): {beast_files}")
    print("\n".join(problems) or "includes follow the architecture")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
