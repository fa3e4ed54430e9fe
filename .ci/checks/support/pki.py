"""Certificates of one's own, made by openssl."""

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
CONFIGURATION = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""
LOCAL = "IP:127.0.0.1,DNS:localhost"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done


class Authority:
    """A private CA; `file` is its certificate."""

    def __init__(self, folder, name):
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True)
        self.file, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        subject = ["-subj", f"/CN={name}", "-days", "30", "-addext", "keyUsage=critical,keyCertSign"]
        openssl("req", "-x509", *CURVE, "-keyout", self.key, "-out", self.file, *subject)
        (self.folder / "index").write_text("")
        (self.folder / "ca.cnf").write_text(CONFIGURATION.format(folder=self.folder))

    def issue(self, name, names=LOCAL, days=30, begins_in=None, kind=CURVE):
        """A certificate and its key, valid for so many days from an hour ago, or until then from so many days on; negative
        days: it has expired so long ago."""
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        openssl("req", "-new", *kind, "-keyout", key, "-out", request, "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        now = datetime.now(timezone.utc)
        ends = now + timedelta(days=days)
        begins = now + timedelta(days=begins_in) if begins_in else min(now - timedelta(hours=1), ends - timedelta(days=1))
        stamps = ["-startdate", begins.strftime("%Y%m%d%H%M%SZ"), "-enddate", ends.strftime("%Y%m%d%H%M%SZ")]
        files = ["-cert", self.file, "-keyfile", self.key, "-in", request, "-out", certificate]
        openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", *stamps, *files)
        return certificate, key


def curl(url, *arguments, ca=None, client=None):
    """Asks as curl does: the status (0 where there was no answer), the body, and what curl says."""
    trust = ["--cacert", ca] if ca else []
    shown = ["--cert", client[0], "--key", client[1]] if client else []
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--write-out", "\n%{http_code}", *trust, *shown]
    done = subprocess.run([*map(str, command), *map(str, arguments), url], capture_output=True, text=True, timeout=30)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body, done.stderr
