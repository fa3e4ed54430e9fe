"""TLS of both programs' listeners, judged by openssl and curl."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from support import metrics, pki, requests, waiting
from support.paths import SPOKE
from test_access import start
from test_commands import both, daemon  # noqa: F401 (a fixture)
from test_reload import WATCHED


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    return {name: pki.Authority(folder, name) for name in ("own", "other")}


class Shown:
    """A program that shows a certificate; its files lie beside its configuration and are replaced in one step."""

    def __init__(self, rig, program, authority, client_ca=None, **settings):
        self.authority, self.prefix = authority, "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"
        self.folder = rig.path / "shown"
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "tls.pem", self.folder / "tls.key"
        self.put(*authority.issue("first"))
        files = {"tls_certificate_file": str(self.certificate), "tls_key_file": str(self.key)}
        if client_ca:
            files["tls_client_ca_file"] = str(client_ca.file)
        self.client = None
        self.running = start(rig, program, **files, **settings)
        self.port = self.running.port

    def put(self, certificate, key):
        for source, target in ((key, self.key), (certificate, self.certificate)):
            shutil.copy(source, f"{target}.new")
            os.replace(f"{target}.new", target)

    def put_now(self, certificate, key):
        """It is read at once, and not only when the next look finds it."""
        self.put(certificate, key)
        self.running.send_signal(signal.SIGHUP)

    def curl(self, path="/livez", *arguments, ca=None, client=None, host="127.0.0.1"):
        return pki.curl(f"https://{host}:{self.port}{path}", *arguments, ca=ca or self.authority.file, client=client)

    def refused(self, reason):
        return self.metrics().sum(self.prefix + "http_refused_total", reason=reason)

    def metrics(self):
        return metrics.read(self.curl("/metrics", client=self.client)[1].encode())

    def said(self, *words):
        return [line for line in list(self.running.lines) if all(word in line for word in words)]

    def says(self, *words):
        waiting.until(lambda: self.said(*words), 10, lambda: f"{words}:\n{self.running.log()}")

    @contextlib.contextmanager
    def connected(self):
        """A connection that stays; what is yielded asks on it once more."""
        context = ssl.create_default_context(cafile=self.authority.file)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as stream:

                def ask():
                    stream.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
                    received = b""
                    while b"alive\n" not in received:
                        piece = stream.recv(4096)
                        assert piece, received
                        received += piece
                    return received.split(b"\r\n")[0]

                yield ask

    def serial(self):
        """The serial number of the certificate that a new connection is shown."""
        asked = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", "localhost"]
        shown = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).stdout
        return serial(shown)


def serial(pem):
    done = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, timeout=30)
    assert done.returncode == 0, (pem, done)
    return done.stdout.strip()


def times(certificate):
    """From when until when openssl says that it counts."""
    done = pki.openssl("x509", "-noout", "-startdate", "-enddate", "-in", certificate)
    return [ssl.cert_time_to_seconds(line.partition("=")[2]) for line in done.stdout.splitlines()]


@both
def test_a_certificate_is_judged_by_who_asks(rig, authorities, program):
    it = Shown(rig, program, authorities["own"])
    assert it.curl()[:2] == (200, "alive\n")
    status, _, said = it.curl(ca=authorities["other"].file)
    assert status == 0 and "unable to get local issuer certificate" in said, said
    it.says("reason=\"handshake\"", "the other side refuses: UnknownCA")
    # Another name than the certificate's, asked at the same address.
    status, _, said = it.curl("/livez", "--connect-to", "::127.0.0.1:", host="elsewhere.example.com")
    assert status == 0 and "no alternative certificate subject name matches" in said, said
    # Plain HTTP on a port that speaks TLS gets no answer, and the log says why.
    assert not requests.answers(it.port)
    it.says("what arrives is no TLS; is it plain HTTP?")
    assert it.refused("handshake") >= 2


@both
def test_tls_1_2_and_1_3_and_nothing_older(rig, authorities, program):
    it = Shown(rig, program, authorities["own"])
    for version, taken in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        # This machine's openssl offers old versions only when told to care little.
        asked = ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{it.port}", "-CAfile", it.authority.file]
        done = subprocess.run([*map(str, asked)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert ("Verify return code: 0 (ok)" in done.stdout and done.returncode == 0) == taken, (version, done)
        if not taken:
            assert "SSL alert number" in done.stderr, done
    it.says("the other side speaks neither TLS 1.2 nor 1.3")


@both
def test_a_client_shows_a_certificate_or_gets_health_alone(rig, authorities, program):
    own, other = authorities["own"], authorities["other"]
    it = Shown(rig, program, own, client_ca=own)
    it.client = own.issue("client", "DNS:client")
    assert it.curl("/metrics", client=it.client)[0] == 200
    assert [it.curl(path)[0] for path in ("/livez", "/readyz", "/healthz")] == [200] * 3
    for path in ("/", "/metrics", "/pattoo-agent-os/300", "/nothing", "/%6civez"):
        status, body, _ = it.curl(path)
        assert (status, body) == (403, "Refused: no client certificate was shown, and tls_client_ca_file wants one.\n"), path
    it.says("reason=\"certificate\"", "no client certificate was shown")
    for name, client, words in (
        ("other", other.issue("stranger", "DNS:stranger"), "is signed by no authority that is trusted here"),
        ("expired", own.issue("late", "DNS:late", days=-1), "has expired"),
        ("not valid yet", own.issue("early", "DNS:early", begins_in=1), "is not valid yet"),
    ):
        status, _, said = it.curl("/metrics", client=client)
        assert status == 0 and "alert" in said, (name, said)
        it.says("reason=\"handshake\"", words)
    assert it.refused("certificate") == 5


@both
def test_a_certificate_is_renewed_under_way(rig, authorities, program):
    it = Shown(rig, program, authorities["own"])
    first = it.serial()
    with it.connected() as ask:
        assert ask() == b"HTTP/1.1 200 OK"
        renewed = authorities["own"].issue("second")
        it.put(*renewed)
        waiting.until(lambda: it.serial() != first, WATCHED, it.running.log)
        assert it.serial() == serial(renewed[0].read_bytes())
        assert ask() == b"HTTP/1.1 200 OK", "who was connected stays"
        changed = it.said("the configuration has changed and is in force")
        assert "tls_certificate_file" in changed[-1] and "tls_key_file" in changed[-1], changed
    assert it.curl()[0] == 200


@both
def test_a_bad_file_changes_nothing(rig, authorities, program):
    it = Shown(rig, program, authorities["own"])
    first = it.serial()
    good = it.certificate.read_bytes(), it.key.read_bytes()
    stranger = authorities["own"].issue("stranger")
    for certificate, key, words in (
        (b"no certificate", good[1], ("tls_certificate_file", str(it.certificate), "holds no certificate")),
        (good[0], b"-----BEGIN PRIVATE KEY-----\nsecret\n", ("tls_key_file", str(it.key), "no private key in PEM form")),
        (good[0], stranger[1].read_bytes(), ("tls_key_file", "this is not the key of the certificate")),
    ):
        it.certificate.write_bytes(certificate)
        it.key.write_bytes(key)
        waiting.until(lambda: it.said("is not taken", words[-1]), WATCHED, it.running.log)
        (line,) = it.said("is not taken", words[-1])
        note = it.curl("/readyz")[1]
        for word in words:
            assert word in line and word in note, (word, line, note)
        assert "secret" not in line + note
        assert it.serial() == first and it.curl()[0] == 200
        assert it.metrics().sum(it.prefix + "config_last_reload_success") == 0
    it.certificate.write_bytes(good[0])
    it.key.write_bytes(good[1])
    waiting.until(lambda: it.metrics().sum(it.prefix + "config_last_reload_success") == 1, WATCHED, it.running.log)
    assert it.curl("/readyz")[1] == "ready\n" and it.serial() == first


@both
def test_a_certificate_of_another_time_is_shown_and_told_of(rig, daemon, authorities, program):  # noqa: F811
    """A clock that is wrong must not keep a program from starting; whoever asks says at most that the certificate is bad."""
    own = authorities["own"]
    early, late = own.issue("early", begins_in=1), own.issue("late", days=-1)
    ending = own.issue("ending", days=4.5, begins_in=-300)
    it = Shown(rig, program, own)

    def told(signed, words, curls=None):
        it.put_now(*signed)
        warning = f"tls_certificate_file: the certificate {words}"
        waiting.until(lambda: it.said(warning), WATCHED, it.running.log)
        status, _, said = it.curl()
        if curls:
            assert status == 0 and curls in said, said
            it.says("the other side refuses: ")
        else:
            assert status == 200, said
            shown = it.metrics()
            for end, when in zip(("before", "after"), times(signed[0])):
                assert shown.sum(f"{it.prefix}certificate_not_{end}_timestamp_seconds", key="tls_certificate_file") == when
        # One that has expired is no reason to restart a program that does its work.
        assert it.curl("/livez", "--insecure")[0] == 200
        settings = {"tls_certificate_file": str(signed[0]), "tls_key_file": str(signed[1]), "ip_listen_address": "127.0.0.1"}
        checked = daemon(program, f"checked {words}", **settings)
        done = checked.command("--check")
        assert done.returncode == 0 and f"warning: {warning}" in done.stderr, done

    told(early, "is not valid yet; the other side will refuse it", "certificate is not yet valid")
    told(late, "has expired; the other side will refuse it", "certificate has expired")
    told(ending, "expires in 4 days; renew it")
    fresh = own.issue("in time")
    it.put_now(*fresh)
    waiting.until(lambda: it.serial() == serial(fresh[0].read_bytes()), WATCHED, it.running.log)


def convert(key, *form):
    """The key in another form, in its own place; openssl empties what it writes to before it reads."""
    made = key.with_suffix(".made")
    pki.openssl("pkey", "-in", key, *form, "-out", made)
    made.rename(key)


@both
def test_keys_of_each_kind_and_form_are_taken(rig, authorities, program):
    own = authorities["own"]
    it = Shown(rig, program, own)
    for kind, form, words in (
        (("rsa:2048",), (), "BEGIN PRIVATE KEY"),
        (("rsa:2048",), ("-traditional",), "BEGIN RSA PRIVATE KEY"),
        (("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), ("-traditional",), "BEGIN EC PRIVATE KEY"),
        (("ed25519",), (), "BEGIN PRIVATE KEY"),
    ):
        certificate, key = own.issue("kinds", kind=("-newkey", *kind, "-nodes"))
        convert(key, *form)
        assert words in key.read_text()
        it.put_now(certificate, key)
        shown = serial(certificate.read_bytes())
        waiting.until(lambda: it.serial() == shown, WATCHED, it.running.log)
        assert it.curl()[0] == 200, (kind, it.running.log())
    convert(key, "-aes256", "-passout", "pass:secret")
    it.put_now(certificate, key)
    it.says("is not taken", "tls_key_file", "holds no private key; a PEM file without a password is expected")


@both
@pytest.mark.parametrize("apart", (False, True), ids=["on the same port", "on its own port"])
def test_health_asks_the_running_program(daemon, authorities, program, apart):  # noqa: F811
    """`--health` by TLS, with a client certificate and a token wanted, and by the port of its own."""
    own = authorities["own"]
    certificate, key = own.issue(f"{program}{apart}")
    tokens = own.folder / f"tokens-{program}-{apart}"
    tokens.write_text("0123456789abcdef\n")
    settings = {"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": own.file, "tokens_file": tokens}
    settings = {name: str(path) for name, path in settings.items()} | {"allow_from": "192.0.2.1"}
    it = daemon(program, f"{program}-{apart}", **settings, **({"health_port": 0} if apart else {}))
    assert it.command("--start").returncode == 0
    done = it.command("--health")
    assert done.returncode == 0, done
    it.end()
    assert it.command("--health").returncode == 1
