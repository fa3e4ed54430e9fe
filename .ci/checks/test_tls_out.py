"""TLS and tokens of what the hub asks and sends: what is wrong is refused and told, what is right is taken, and all of it
can be renewed while the hub runs."""

import itertools
import os
import re
import signal
import ssl
import subprocess
import time
from contextlib import ExitStack

import pytest
import yaml

from support import made_up, waiting
from support.paths import HUB
from support.pki import Authority
from support.programs import api

pytestmark = pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
TOKEN, OTHER = "0123456789abcdef-first", "fedcba9876543210-other"
DOWN = "the server is down; posts wait"
NOT_TAKEN = "the configuration is not taken; what was in force stays"
ANY_NAME = "DNS:db-7.example.com"


NUMBERS = itertools.count(1)


def sign(authority, name=None, **more):
    """A certificate and its key."""
    return authority.issue(name or f"peer-{next(NUMBERS)}", **more)


def server(signed, clients_of=None, version=None, resumes=False):
    """The context of a server with this certificate that wants clients to have one of `clients_of`. Unless it `resumes`
    sessions, each connection shows what it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*signed)
    if not resumes:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if clients_of:
        context.load_verify_locations(clients_of.file)
        context.verify_mode = ssl.CERT_REQUIRED
    if version:
        if version < ssl.TLSVersion.TLSv1_2:
            # Debian's openssl speaks it with these alone.
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """Ours, and one that nobody trusts."""
    folder = tmp_path_factory.mktemp("certificates")
    return Authority(folder, "ours"), Authority(folder, "stranger")


@pytest.fixture
def peers():
    """Made-up peers, ended afterwards."""
    with ExitStack() as stack:
        yield lambda peer: stack.enter_context(peer)


def flawed(ours, stranger):
    """Contexts of servers that have something wrong, and what the hub says of each."""
    good = sign(ours)
    return {
        "another authority": (server(sign(stranger)), "its certificate is of an unknown issuer"),
        "expired": (server(sign(ours, days=-1)), "its certificate has expired"),
        "not valid yet": (server(sign(ours, begins_in=1)), "its certificate is not valid yet"),
        "another name": (server(sign(ours, names=ANY_NAME)), "its certificate is for another name"),
        "no client certificate": (server(good, clients_of=ours), "it wants a client certificate"),
        "no client certificate, TLS 1.2": (
            server(good, clients_of=ours, version=ssl.TLSVersion.TLSv1_2),
            "it wants a client certificate, or ciphers that are not spoken here",
        ),
        "TLS 1.1": (server(good, version=ssl.TLSVersion.TLSv1_1), "it speaks neither TLS 1.2 nor 1.3"),
        "plain HTTP": (None, "it speaks no TLS"),
    }


def taking(context=None):
    """A server that takes everything, each post on a connection of its own."""
    return made_up.Server(lambda *_: (200, {"Connection": "close"}, b"OK"), context)


def device(peer, **more):
    return {"ip_address": "127.0.0.1", "ip_bind_port": peer.port, **more}


class Hub:
    """A hub whose section and server can be edited."""

    def __init__(self, rig, devices, upstream=None, **own):
        self.own = {"ip_devices": devices, "polling_interval": 1, "ip_bind_port": 0, "backoff_max": 1} | own
        self.upstream = upstream or {"enabled": False}
        self.program = rig.hub(api=self.upstream, **self.own)
        self.said = lambda text: [line for line in list(self.program.lines) if text in line]

    def edit(self, upstream=None, **own):
        """In force when this returns."""
        self.own, self.upstream = self.own | own, self.upstream | (upstream or {})
        folder = self.program.folder
        folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api=self.upstream)
        folder.write(HUB, **{HUB: self.own})
        self.hang_up("taken")

    def hang_up(self, result):
        before = self.count("config_reloads_total", result=result)
        self.program.send_signal(signal.SIGHUP)
        waiting.until(lambda: self.count("config_reloads_total", result=result) > before, 10, self.program.log)

    def count(self, name, **labels):
        return self.program.metrics().sum(f"pattoo_hub_{name}", **labels)

    def polled(self, peer, more=2):
        """Waits until the peer was asked so often more, and answered 200 each time."""
        before = len(peer.asked)
        waiting.until(lambda: len(peer.asked) >= before + more, 20, self.program.log)
        assert {one.status for one in peer.asked[before:]} == {200}

    def all_arrives(self, spokes, peer):
        """Waits until the server has a post of each spoke more, and nothing waits."""
        before = len(peer.posts())
        waiting.until(lambda: len(peer.posts()) >= before + len(spokes), 20, self.program.log)
        waiting.until(lambda: self.count("posts_waiting") <= len(spokes), 20, self.program.log)

    def lost_nothing(self):
        assert self.count("posts_quarantined_total") == self.count("posts_dropped_total") == 0, self.program.log()


def replace(path, content):
    """In one step."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(new, path)


def test_polls_tell_what_is_wrong_and_go_on_with_the_others(rig, authorities, peers):
    ours, stranger = authorities
    bad = {name: (peers(made_up.spoke(f"{at:064x}", context)), words)
           for at, (name, (context, words)) in enumerate(flawed(ours, stranger).items(), 1)}  # fmt: skip
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    good = [peers(made_up.spoke(f"{at:064x}", server(sign(ours), version=version))) for at, version in enumerate(versions, 50)]
    named = peers(made_up.spoke(f"{60:064x}", server(sign(ours, names=ANY_NAME))))
    plain = peers(made_up.spoke(f"{61:064x}"))
    every = peers(made_up.spoke(f"{62:064x}", server(sign(ours, names="DNS:localhost"), resumes=True)))
    devices = [device(peer) for peer, _ in bad.values()] + [device(peer) for peer in good]
    devices += [device(named, tls_name="DB-7.example.com."), device(plain, tls=False)]
    devices += [{"ip_address": "localhost", "ip_bind_port": good[0].port}]
    # Each of its addresses has the name's certificate.
    devices += [device(every) | {"ip_address": "localhost", "resolve": "all"}]
    hub = Hub(rig, devices, poll_tls=True, poll_ca_file=str(ours.file), identity="warn")
    for peer in [*good, named, plain, every]:
        hub.polled(peer)
    # Another target of the name may have taken the ticket, and come to nothing with it.
    waiting.until(lambda: any(one.resumed for one in every.asked), 10, "a session is resumed")
    assert named.asked[0].headers["host"] == f"127.0.0.1:{named.port}"
    for name, (peer, words) in bad.items():
        line = f"the target gives no post target=127.0.0.1:{peer.port} reason=tls: {words}"
        waiting.until(lambda: hub.said(line), 10, lambda: f"{name}: {line}\n{hub.program.log()}")
        print(f"{name}: {words}")
        assert peer.asked == [] or name == "plain HTTP", name
    waiting.until(lambda: hub.count("polls_total", result="tls") >= 2 * len(bad), 20, hub.program.log)
    for peer, words in bad.values():
        assert len(hub.said(f"target=127.0.0.1:{peer.port} reason=")) == 1, "a change of state is told once"
        assert f"failing: tls: {words}" in hub.program.get("/").body.decode()
    assert hub.count("targets_up") == 6


def test_a_server_that_cannot_be_trusted_is_down_and_nothing_is_lost(rig, authorities, peers):
    ours, stranger = authorities
    spokes = [peers(made_up.spoke(f"{number:064x}")) for number in (1, 2)]
    right = server(sign(ours))
    upstream = peers(taking(right))
    section = api(upstream.port) | {"tls": True, "ca_file": str(ours.file)}
    hub = Hub(rig, [device(spoke) for spoke in spokes], section)
    hub.all_arrives(spokes, upstream)
    for name, (context, words) in flawed(ours, stranger).items():
        upstream.context, taken = context, len(upstream.posts())
        line = f"{DOWN} server=127.0.0.1:{upstream.port} reason=tls: {words}"
        failed = hub.count("delivery_failures_total", reason="tls")
        waiting.until(lambda: hub.said(line), 20, lambda: f"{name}: {line}\n{hub.program.log()}")
        waiting.until(lambda: hub.count("delivery_failures_total", reason="tls") >= failed + 2, 20, hub.program.log)
        assert len(hub.said(line)) == 1, "told once"
        assert len(upstream.posts()) - taken <= 1, "what was under way"
        assert f"is down (tls: {words})" in hub.program.get("/").body.decode()
        assert hub.count("upstream_up") == 0 and hub.program.get("/readyz").status == 200
        print(f"{name}: {words}")
        upstream.context = right
        hub.all_arrives(spokes, upstream)
    hub.lost_nothing()
    assert len(upstream.posts()) == len(set(upstream.posts())), "each once"


def test_certificates_of_clients_are_shown_and_renewed_under_way(rig, authorities, peers, tmp_path):
    ours, stranger = authorities
    guarded = server(sign(ours), clients_of=ours)
    spoke, plain = peers(made_up.spoke(f"{1:064x}", guarded)), peers(made_up.spoke(f"{2:064x}"))
    upstream = peers(taking(guarded))
    certificate, key = tmp_path / "hub.pem", tmp_path / "hub.key"

    def show(signed):
        for place, source in zip((certificate, key), signed):
            replace(place, source.read_bytes())

    show(sign(ours, "hub-1", names="DNS:hub"))
    files = {"ca_file": str(ours.file), "certificate_file": str(certificate), "key_file": str(key)}
    devices = [device(spoke, tls=True), device(plain)]
    polls = {f"poll_{name}": path for name, path in files.items()}
    hub = Hub(rig, devices, api(upstream.port) | {"tls": True} | files, **polls)
    hub.polled(spoke)
    hub.all_arrives([spoke, plain], upstream)
    assert {one.client for one in spoke.asked + upstream.asked} == {"hub-1"} and plain.asked[0].client is None
    failed = hub.count("delivery_failures_total")

    # Renewed, and seen without a signal.
    show(sign(ours, "hub-2", names="DNS:hub"))
    for peer in (spoke, upstream):
        waiting.until(lambda: peer.asked[-1].client == "hub-2", 20, hub.program.log)
    (line,) = hub.said("the configuration has changed and is in force")
    for name in ("poll_certificate_file", "poll_key_file", "pattoo_agent_api.certificate_file", "pattoo_agent_api.key_file"):
        assert name in line, line

    # One that ends soon is told of, in both places; it is good until then.
    show(sign(ours, "hub-ending", names="DNS:hub", days=4.5, begins_in=-300))
    hub.hang_up("taken")
    hub.polled(spoke)
    for place in ("section pattoo_agent_os_hubd: poll_", "section pattoo_agent_api: "):
        assert len(hub.said(f"{place}certificate_file: the certificate expires in 4 days; renew it")) == 1, hub.program.log()
    for name in ("poll_certificate_file", "pattoo_agent_api.certificate_file"):
        left = hub.count("certificate_not_after_timestamp_seconds", key=name) - time.time()
        assert 4 * 86400 < left < 5 * 86400, (name, left)
    show(sign(ours, "hub-2", names="DNS:hub"))
    hub.hang_up("taken")

    # A key of another certificate, and one that is none: nothing changes, and it is told once.
    replace(key, sign(stranger)[1].read_bytes())
    hub.hang_up("refused")
    hub.hang_up("refused")
    replace(key, "no key")
    hub.hang_up("refused")
    first, second = hub.said(NOT_TAKEN)
    assert "certificate_file" in first and "key_file" in second and str(key) in second, (first, second)
    assert str(key) in hub.program.get("/readyz").body.decode()
    hub.polled(spoke)
    assert spoke.asked[-1].client == "hub-2"

    # One that the other side does not take.
    show(sign(stranger, "nobody", names="DNS:hub"))
    hub.hang_up("taken")
    for words in (f"{DOWN} server=127.0.0.1:{upstream.port}", f"gives no post target=127.0.0.1:{spoke.port}"):
        refused = f"{words} reason=tls: it does not take the client certificate"
        waiting.until(lambda: hub.said(refused), 20, lambda: f"{refused}\n{hub.program.log()}")
    assert hub.count("delivery_failures_total") > failed
    show(sign(ours, "hub-3", names="DNS:hub"))
    hub.hang_up("taken")
    hub.polled(spoke)
    hub.all_arrives([spoke, plain], upstream)
    assert spoke.asked[-1].client == upstream.asked[-1].client == "hub-3"
    hub.lost_nothing()


def test_servers_and_authorities_change_under_way_and_no_poll_fails(rig, authorities, peers, tmp_path):
    ours, _ = authorities
    next_one = Authority(tmp_path, "next")
    spoke, plain = peers(made_up.spoke(f"{1:064x}", server(sign(ours)))), peers(made_up.spoke(f"{2:064x}"))
    upstream = peers(taking(server(sign(ours))))
    trusted = tmp_path / "trusted.pem"
    replace(trusted, ours.file.read_bytes())
    section = api(upstream.port) | {"tls": True, "ca_file": str(trusted)}
    hub = Hub(rig, [device(spoke, tls=True), device(plain)], section, poll_ca_file=str(trusted))

    def goes_on():
        hub.polled(spoke)
        hub.all_arrives([spoke, plain], upstream)

    goes_on()
    for peer in (spoke, upstream):
        peer.context = server(sign(ours))
    goes_on()
    # Both, then the servers, then the new one alone.
    replace(trusted, ours.file.read_bytes() + next_one.file.read_bytes())
    hub.hang_up("taken")
    for peer in (spoke, upstream):
        peer.context = server(sign(next_one))
    goes_on()
    replace(trusted, next_one.file.read_bytes())
    hub.hang_up("taken")
    goes_on()
    # Half a file is no file.
    replace(trusted, next_one.file.read_bytes()[:300])
    hub.hang_up("refused")
    goes_on()
    assert str(trusted) in hub.said(NOT_TAKEN)[0]
    assert hub.count("polls_total") == hub.count("polls_total", result="ok"), hub.program.log()
    assert hub.count("delivery_failures_total") == 0
    # What is trusted no more is not taken any more.
    replace(trusted, ours.file.read_bytes())
    hub.hang_up("taken")
    waiting.until(lambda: hub.count("polls_total", result="tls") >= 2, 20, hub.program.log)
    waiting.until(lambda: hub.count("delivery_failures_total", reason="tls") >= 2, 20, hub.program.log)
    hub.lost_nothing()


def test_tokens_are_sent_and_renewed_and_a_wrong_one_loses_nothing(rig, peers, tmp_path):
    accepted = {TOKEN}

    def guard(peer):
        inner = peer.answer

        def judged(asked, path, body):
            return inner(asked, path, body) if peer.heard.get("authorization") in {f"Bearer {one}" for one in accepted} else 401

        peer.answer = judged
        return peer

    spokes = [guard(peers(made_up.spoke(f"{number:064x}"))) for number in (1, 2)]
    upstream = guard(peers(taking()))
    polls, posts = tmp_path / "polls.token", tmp_path / "posts.token"
    replace(polls, f"# of the hub\n{TOKEN}\n")
    replace(posts, TOKEN)
    section = api(upstream.port) | {"token_file": str(posts)}
    hub = Hub(rig, [device(spoke) for spoke in spokes], section, poll_token_file=str(polls), max_attempts=2)
    hub.all_arrives(spokes, upstream)
    assert len(hub.said("over plain HTTP, where everybody on the way can read it")) == 2, "logged once for each"

    # A wrong one upstream: nobody can tell it from a server that is down.
    replace(posts, OTHER)
    hub.hang_up("taken")
    waiting.until(lambda: hub.count("delivery_failures_total", reason="status") >= 8, 20, hub.program.log)
    assert len(hub.said(f"{DOWN} server=127.0.0.1:{upstream.port} reason=status 401")) == 1, hub.program.log()
    hub.lost_nothing()
    asked = len(upstream.asked)
    replace(posts, TOKEN)
    hub.hang_up("taken")
    hub.all_arrives(spokes, upstream)
    assert 200 in {one.status for one in upstream.asked[asked:]}

    # A wrong one for the polls, told and mended.
    replace(polls, OTHER)
    hub.hang_up("taken")
    waiting.until(lambda: hub.said(f"target=127.0.0.1:{spokes[0].port} reason=status 401"), 20, hub.program.log)
    # Changed without an outage: both are accepted, then it is sent, then the old one is forgotten.
    accepted.add(OTHER)
    replace(posts, OTHER)
    hub.hang_up("taken")
    failed = hub.count("delivery_failures_total")
    hub.all_arrives(spokes, upstream)
    accepted.discard(TOKEN)
    hub.all_arrives(spokes, upstream)
    assert hub.count("delivery_failures_total") == failed
    hub.lost_nothing()
    # Each once, but for one that asked whether the server was back and found the token renewed meanwhile.
    came = upstream.posts()
    assert len(came) - len(set(came)) <= hub.count("canaries_total", result="taken")
    # A file that has none changes nothing.
    for file in (polls, posts):
        replace(file, "too-short\n")
        hub.hang_up("refused")
        hub.polled(spokes[0])
        hub.all_arrives(spokes, upstream)
        replace(file, OTHER)
        hub.hang_up("taken")
    assert hub.count("delivery_failures_total") == failed
    for place in (hub.program.log(), hub.program.get("/").body.decode(), hub.program.get("/metrics").body.decode()):
        assert TOKEN not in place and OTHER not in place


def check(binaries, folder, **environment):
    done = subprocess.run([binaries[HUB], "--check"], env=folder.environment(**environment), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_system_s_authorities_count_where_no_file_is_named(rig, authorities, peers, binaries):
    ours, _ = authorities
    spoke = peers(made_up.spoke(f"{1:064x}", server(sign(ours))))
    # Whose certificate has no address.
    upstream = peers(taking(server(sign(ours, names="DNS:localhost"))))
    system = {"SSL_CERT_FILE": str(ours.file)}
    # By name, and called by it.
    section = api(upstream.port) | {"tls": True, "tls_name": "localhost"}
    hub = rig.hub(devices=[spoke.port], api=section, poll_tls=True, environment=system)
    waiting.until(lambda: len(upstream.posts()) >= 2, 20, hub.log)
    assert upstream.asked[0].headers["host"] == f"127.0.0.1:{upstream.port}"
    status, said = check(binaries, hub.folder, SSL_CERT_FILE="/nowhere", SSL_CERT_DIR="/nowhere")
    assert status == 2 and "poll_ca_file" in said and "knows no public authority" in said, said


def test_check_tells_what_is_wrong_and_what_is_odd(rig, authorities, binaries, tmp_path):
    ours, stranger = authorities
    signed, token = sign(ours), tmp_path / "token"
    token.write_text(TOKEN)
    folder = rig.folder("hub")
    target = {"ip_address": "127.0.0.1", "ip_bind_port": 5000}

    def said(upstream=None, device=target, **own):
        folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api={"enabled": bool(upstream)} | (upstream or {}))
        folder.write(HUB, **{HUB: {"ip_devices": [device]} | own})
        return check(binaries, folder)

    ca, certificate, key = map(str, (ours.file, *signed))
    for own, words in [
        ({"poll_ca_file": "/nowhere"}, ("key poll_ca_file", "/nowhere: failed to read")),
        ({"poll_ca_file": str(tmp_path)}, ("key poll_ca_file", "not a file")),
        ({"poll_ca_file": key}, ("key poll_ca_file", "holds no certificate")),
        ({"poll_certificate_file": certificate}, ("key poll_key_file", "missing")),
        ({"poll_key_file": key}, ("key poll_certificate_file", "missing")),
        ({"poll_certificate_file": certificate, "poll_key_file": certificate}, ("key poll_key_file", "holds no private key")),
        ({"poll_tls": True, "poll_ca_file": ca, "poll_certificate_file": certificate, "poll_key_file": str(sign(stranger)[1])},
         ("key poll_certificate_file", "poll_key_file")),
        ({"poll_token_file": "/dev/null"}, ("key poll_token_file", "not a file")),
        ({"device": target | {"tls": True, "tls_name": "a b"}}, ("ip_devices.0.tls_name", "a host name is expected")),
        ({"device": target | {"tls": 7}}, ("ip_devices.0.tls",)),
        ({"upstream": {"tls": True, "ca_file": key}}, ("section pattoo_agent_api", "key ca_file")),
        ({"upstream": {"tls": True, "tls_name": "127.0.0.1", "ca_file": ca}}, ("key tls_name", "a host name is expected")),
    ]:  # fmt: skip
        status, text = said(**own)
        assert status == 2 and all(word in text for word in words), (own, text)
        assert "PRIVATE" not in text.replace("-----BEGIN PRIVATE KEY-----", ""), text
    for own, words in [
        ({"poll_token_file": str(token)}, "section pattoo_agent_os_hubd: poll_token_file is sent to 127.0.0.1:5000 over plain HTTP"),
        ({"poll_ca_file": ca}, "section pattoo_agent_os_hubd: poll_ca_file counts for nothing"),
        ({"upstream": {"token_file": str(token)}}, "section pattoo_agent_api: token_file is sent to localhost:20201 over plain HTTP"),
    ]:
        status, text = said(**own)
        assert status == 0 and f"\nwarning: {words}" in text and TOKEN not in text, text
    status, text = said(poll_tls=True, poll_ca_file=ca, poll_token_file=str(token), device=target | {"tls_name": "db-7.example.com"})
    assert status == 0 and "warning" not in text, text
    assert "tls_name: db-7.example.com" in text and "tls: true" in text and f"poll_ca_file: {ca}" in text and TOKEN not in text
    # What it prints is a configuration that says the same.
    upstream = {"ip_address": "192.0.2.1", "tls": True, "ca_file": ca, "certificate_file": certificate, "key_file": key}
    devices = [target, target | {"ip_bind_port": 5001, "tls": False}, target | {"ip_address": "a", "tls_name": "b.example.com"}]
    _, text = said(upstream, poll_tls=True, poll_ca_file=ca, ip_devices=devices, poll_token_file="")
    again = yaml.safe_load(text.partition("\npattoo:")[0])
    folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api=again["pattoo_agent_api"])
    folder.write(HUB, **{HUB: again[HUB]})
    # But for where the agent_id came from.
    status, told = check(binaries, folder)
    assert (status, re.sub(" # .*", "", told)) == (0, re.sub(" # .*", "", text))



def test_programs_that_are_closed_to_everybody_else(rig, authorities, tmp_path):
    """A spoke, a hub, and a hub above it, each with TLS, client certificates and tokens."""
    ours, _ = authorities
    token = tmp_path / "token"
    token.write_text(TOKEN)
    certificate, key = sign(ours)
    closed = {
        "tls_certificate_file": str(certificate),
        "tls_key_file": str(key),
        "tls_client_ca_file": str(ours.file),
        "tokens_file": str(token),
    }
    comes = {"ca_file": str(ours.file), "certificate_file": str(certificate), "key_file": str(key), "token_file": str(token)}
    polls = {f"poll_{name}": path for name, path in comes.items()}
    spoke = rig.spoke(**closed)
    above = rig.hub("above", receive=True, **closed)
    hub = Hub(rig, [device(spoke)], api(above.port) | {"tls": True} | comes, poll_tls=True, **polls)
    waiting.until(lambda: hub.count("posts_delivered_total") >= 3, 20, hub.program.log)
    assert hub.count("polls_total") == hub.count("polls_total", result="ok")
    hub.lost_nothing()
    # Each thing that is wanting is told by its own words.
    for own, words in [
        ({"poll_token_file": None}, "status 401"),
        ({"poll_certificate_file": None, "poll_key_file": None}, "status 403"),
        ({"poll_tls": False}, "protocol"),
    ]:
        hub.own = {name: value for name, value in (hub.own | polls | {"poll_tls": True} | own).items() if value is not None}
        hub.edit()
        line = f"the target gives no post target=127.0.0.1:{spoke.port} reason={words}"
        waiting.until(lambda: hub.said(line), 20, lambda: f"{line}\n{hub.program.log()}")
