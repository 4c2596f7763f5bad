"""Keys, the administrator's token and the kubeconfig of a cluster: made on the machine, readable by its owner only."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
from pathlib import Path

import yaml

from .errors import ClusterError


def ensure_token(directory: Path) -> str:
    """The administrator's bearer token, and `tokens.csv` for kube-apiserver with it; made once."""
    place = directory / "token"
    if not place.exists():
        write_private(place, secrets.token_hex(24))
    token = place.read_text()
    write_private(directory / "tokens.csv", f'{token},taskjobs-admin,taskjobs-admin,"system:masters"\n')
    return token


def ensure_key(place: Path) -> None:
    """A private key (P-256, PEM) that signs service account tokens; made once."""
    if not place.exists():
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(place))


def ensure_certificate(certificate: Path, key: Path, *, common_name: str, organization: str = "") -> None:
    """A self-signed certificate for 127.0.0.1 that is its own authority, and its key; made once."""
    if certificate.exists() and key.exists():
        return
    subject = f"/O={organization}/CN={common_name}" if organization else f"/CN={common_name}"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"),
        *("-subj", subject, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        *("-keyout", str(key), "-out", str(certificate)),
    )


def write_kubeconfig(place: Path, *, name: str, server: str, token: str, ca_file: Path) -> None:
    """A kubeconfig that stands on its own: the CA's certificate is inlined, so the file can be copied away."""
    authority = base64.b64encode(ca_file.read_bytes()).decode()
    cluster = {"server": server, "certificate-authority-data": authority}
    context = f"taskjobs-{name}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }
    write_private(place, yaml.safe_dump(document, sort_keys=False))


def write_private(place: Path, text: str) -> None:
    """Write a file of mode 0600 in one step."""
    scratch = place.with_name(f".{place.name}.tmp")
    scratch.touch(0o600)
    scratch.chmod(0o600)
    scratch.write_text(text)
    scratch.replace(place)


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ClusterError("openssl is not installed, and the cluster's keys are made with it: apt-get install openssl")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"openssl {arguments[0]} failed:\n{done.stderr.strip()}")
