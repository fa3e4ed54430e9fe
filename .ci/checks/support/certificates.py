"""Authorities and certificates, made by openssl, and the contexts of servers that show them."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

THIS_HOST = "DNS:localhost,IP:127.0.0.1"


@dataclass
class Signed:
    """A certificate, in files as the programs want them."""

    certificate: Path
    key: Path


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}:\n{done.stderr}"


class Authority:
    """An authority; what it signs is below one folder."""

    def __init__(self, folder, name="authority"):
        self.folder, self.name, self.signed = Path(folder), name, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key, self.certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        openssl("req", "-x509", *self._new_key(self.key), "-subj", f"/CN={name}", "-days", 2, "-out", self.certificate,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip

    @staticmethod
    def _new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]

    def sign(self, subject="localhost", names=THIS_HOST, days=1):
        """A certificate for `subject` and these alternative names, good for so many days; negative: until so long ago."""
        self.signed += 1
        place = self.folder / f"{self.name}-{self.signed}"
        signed = Signed(place.with_suffix(".pem"), place.with_suffix(".key"))
        request, extensions = place.with_suffix(".csr"), place.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        openssl("req", "-new", *self._new_key(signed.key), "-subj", f"/CN={subject}", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", signed.certificate)  # fmt: skip
        return signed


def server(signed, clients_of=None, version=None, resumes=False):
    """The context of a server with this certificate that wants clients to have one of `clients_of`. Unless it `resumes`
    sessions, each connection shows what it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    if not resumes:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if clients_of:
        context.load_verify_locations(clients_of.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    if version:
        if version < ssl.TLSVersion.TLSv1_2:
            # Debian's openssl speaks it with these alone.
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context
