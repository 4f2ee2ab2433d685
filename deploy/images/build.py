#!/usr/bin/env python3
"""Builds Patella's container images as OCI archives, without a container engine, a registry or root.

    deploy/images/build.py [--bin build/release/bin] [--out build/images] [--version 0.1.0] [--tag-by-content] [NAME]

An image is one layer: the stripped program, the shared objects that it is linked with (and theirs), the dynamic
loader, /etc/passwd and /tmp. No shell, no package manager, no set-uid file; it runs as user 65532 on a read-only
root. The same inputs give the same bytes: names are sorted, times are zero, owner is root. Load one with `ctr -n
k8s.io images import FILE`, `docker load -i FILE`, `skopeo copy oci-archive:FILE ...`. Prints a line for each image:
reference, size on disk, size packed, digest, file.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import platform
import re
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPOSITORY = "registry.patella.dev/patella/"
USER = 65532

# name -> the program it starts, what it is. Programs come from --bin.
IMAGES = {
    "operator": ("patella-operator", "Turns InferenceDeployments into tuned pods"),
    "sidecar": ("patella-sidecar", "Finds and holds the concurrency limit of one inference engine"),
    "engine": ("patella-engine", "Serves a model on CPUs"),
}
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def shared_objects(program: pathlib.Path) -> list[pathlib.Path]:
    """All that the dynamic loader would load, the loader itself included; under the paths that it looks in."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not a dynamic executable" in listed.stdout + listed.stderr or "statically linked" in listed.stdout:
        return []
    if listed.returncode or "not found" in listed.stdout:
        raise SystemExit(f"{program}: ldd finds not all of its shared objects:\n{listed.stdout}{listed.stderr}")
    return [pathlib.Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.stdout, re.M)]


def stripped(file: pathlib.Path) -> bytes:
    with tempfile.NamedTemporaryFile() as copy:
        result = subprocess.run(
            ["strip", "--strip-unneeded", "-o", copy.name, file.resolve()], capture_output=True, text=True
        )
        if result.returncode:
            raise SystemExit(f"{file}: {result.stderr.strip()}")
        return pathlib.Path(copy.name).read_bytes()


def layer(program: pathlib.Path) -> bytes:
    files = {
        "etc/passwd": (
            f"root:x:0:0:root:/:/sbin/nologin\npatella:x:{USER}:{USER}:patella:/tmp:/sbin/nologin\n".encode(),
            0o644,
        ),
        "etc/group": (f"root:x:0:\npatella:x:{USER}:\n".encode(), 0o644),
        "etc/nsswitch.conf": (b"hosts: files dns\n", 0o644),
    }
    for name, file in {f"usr/bin/{program.name}": program, **{str(p)[1:]: p for p in shared_objects(program)}}.items():
        files[name] = (stripped(file), 0o755)
    folders = {"tmp": 0o1777}
    for name in files:
        for parent in pathlib.PurePosixPath(name).parents:
            if str(parent) != ".":
                folders.setdefault(str(parent), 0o755)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted([*files, *folders]):
            entry = tarfile.TarInfo(name)  # time, user and group are 0
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, folders[name]
                tar.addfile(entry)
            else:
                content, entry.mode = files[name]
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def write_archive(
    path: pathlib.Path, reference: str, program: pathlib.Path, labels: dict, by_content: bool = False
) -> tuple[int, int, str, str]:
    """Writes an OCI archive of one image that starts `program`.

    Returns its unpacked size, the archive's size, the manifest's digest and the reference; by_content: the tag ends in
    the digest.
    """
    blobs = {}

    def add(content: bytes, media_type: str) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    unpacked = layer(program)
    packed = gzip.compress(unpacked, compresslevel=6, mtime=0)
    config = add(
        json.dumps(
            {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {
                    "Entrypoint": [f"/usr/bin/{program.name}"],
                    "User": f"{USER}:{USER}",
                    "WorkingDir": "/tmp",
                    "Env": ["PATH=/usr/bin"],
                    "Labels": labels,
                },
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(unpacked).hexdigest()]},
                "history": [{"created_by": "deploy/images/build.py"}],
            },
            sort_keys=True,
        ).encode(),
        "config.v1+json",
    )
    manifest = add(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [add(packed, "layer.v1.tar+gzip")],
            },
            sort_keys=True,
        ).encode(),
        "manifest.v1+json",
    )
    if by_content:
        reference += "-" + manifest["digest"].removeprefix("sha256:")[:12]
    tag = reference.rsplit(":", 1)[1]
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **manifest,
                "platform": {"architecture": ARCHITECTURE, "os": "linux"},
                "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag},
            }
        ],
    }
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    blobs["index.json"] = json.dumps(index, sort_keys=True).encode()
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(blobs):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(blobs[name]), 0o644
            tar.addfile(entry, io.BytesIO(blobs[name]))
    partial.rename(path)
    return len(unpacked), path.stat().st_size, manifest["digest"], reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="folder of the programs")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/images", help="folder of the archives")
    parser.add_argument("--version", help="tag; default: the version in CMakeLists.txt")
    parser.add_argument(
        "--tag-by-content", action="store_true", help="the tag ends in the digest: other bytes, other tag"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: all")
    options = parser.parse_args()
    version = options.version or re.search(r"project\(patella VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    if unknown := set(options.names) - set(IMAGES):
        raise SystemExit(f"no image is named {', '.join(sorted(unknown))}: there are {', '.join(IMAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or IMAGES:
        program, description = IMAGES[name]
        if not (options.bin / program).exists():
            raise SystemExit(
                f"{options.bin / program} not found: build it first (ninja -C {options.bin.parent} {program})"
            )
        reference = f"{REPOSITORY}{name}:{version}"
        labels = {
            "org.opencontainers.image.title": f"patella-{name}",
            "org.opencontainers.image.description": description,
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        }
        path = options.out / f"{name}.tar"
        unpacked, packed, digest, reference = write_archive(
            path, reference, options.bin / program, labels, options.tag_by_content
        )
        print(f"{reference}  {unpacked / 1e6:.0f} MB, {packed / 1e6:.0f} MB packed, {digest[:19]}  {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
