"""Certificates of a scratch cluster: one authority and what it issues. Made by the openssl program.

Elliptic curve P-256, ten years, 10 ms each. Files are NAME.crt and NAME.key below one folder; what exists is kept.
"""

import pathlib
import subprocess

DAYS = "3650"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def authority(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ca.crt").exists():
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            DAYS,
            "-subj",
            "/CN=patella-test-ca",
            "-keyout",
            str(folder / "ca.key"),
            "-out",
            str(folder / "ca.crt"),
        )


def issue(folder: pathlib.Path, name: str, subject: str, alternative_names: str = "") -> None:
    """`subject` as openssl writes it: /O=system:masters/CN=admin; alternative names as IP:127.0.0.1,DNS:localhost."""
    if (folder / f"{name}.crt").exists():
        return
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        subject,
        "-keyout",
        str(folder / f"{name}.key"),
        "-out",
        str(request),
    )
    extensions.write_text(
        "extendedKeyUsage=serverAuth,clientAuth\n"
        + (f"subjectAltName={alternative_names}\n" if alternative_names else "")
    )
    openssl(
        "x509",
        "-req",
        "-in",
        str(request),
        "-CA",
        str(folder / "ca.crt"),
        "-CAkey",
        str(folder / "ca.key"),
        "-CAcreateserial",
        "-days",
        DAYS,
        "-extfile",
        str(extensions),
        "-out",
        str(folder / f"{name}.crt"),
    )


def service_account_key(folder: pathlib.Path) -> None:
    if not (folder / "service-accounts.pub").exists():
        openssl("genrsa", "-out", str(folder / "service-accounts.key"), "2048")
        openssl(
            "rsa", "-in", str(folder / "service-accounts.key"), "-pubout", "-out", str(folder / "service-accounts.pub")
        )
