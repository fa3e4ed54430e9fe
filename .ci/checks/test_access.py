"""Who may ask: tokens, addresses, names, and health that stays open or moves."""

import os
import re
import stat
from pathlib import Path

import pytest

from support import metrics, passing, pki, requests, waiting
from support.paths import HUB, SPOKE
from test_commands import both, daemon  # noqa: F401 (a fixture)
from test_reload import WATCHED

OLD, NEW = "the-old-token-0123456789", "the-new-token-9876543210"
PAGES = ("/", "/metrics", "/pattoo-agent-os/300", "/pattoo/api/v1/agent/status", "/nothing")
HEALTH = ("/livez", "/readyz", "/healthz")


def start(rig, program, name="program", **settings):
    return rig.spoke(name, **settings) if program == SPOKE else rig.hub(name, receive=True, **settings)


def prefix(program):
    return "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def said(running, *words):
    return [line for line in list(running.lines) if all(word in line for word in words)]


def replace(path, text):
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


@both
def test_tokens(rig, program):
    file = rig.path / "tokens"
    file.write_text(f"# in force since March\n{OLD}\n")
    it = start(rig, program, tokens_file=str(file))

    def ask(path="/metrics", **options):
        return it.get(path, **options)

    for path in PAGES:
        none = ask(path)
        assert (none.status, none.headers["www-authenticate"]) == (401, 'Bearer realm="pattoo"'), path
    for wrong in (bearer(NEW), bearer(OLD[:-1]), bearer(OLD + "x"), bearer(OLD.upper()), bearer(""), {"Authorization": OLD}, {"Authorization": f"Basic {OLD}"}):
        answer = ask(headers=wrong)
        assert answer.status == 401 and "invalid_token" in answer.headers["www-authenticate"], wrong
    assert [ask(path).status for path in HEALTH] == [200] * 3
    assert ask(headers=bearer(OLD)).status == 200 and ask(headers={"authorization": f"bearer {OLD}"}).status == 200
    # One is changed for the other without a moment in which neither is taken.
    replace(file, f"{OLD}\n{NEW}\n")
    waiting.until(lambda: ask(headers=bearer(NEW)).status == 200, WATCHED, it.log)
    assert ask(headers=bearer(OLD)).status == 200
    replace(file, f"{NEW}\n")
    waiting.until(lambda: ask(headers=bearer(OLD)).status == 401, WATCHED, it.log)
    assert ask(headers=bearer(NEW)).status == 200
    # A bad file changes nothing, and is told without what is in it.
    replace(file, "short-secret\n")
    waiting.until(lambda: said(it, "is not taken"), WATCHED, it.log)
    (line,) = said(it, "is not taken")
    assert "tokens_file" in line and str(file) in line and "line 1: a token of 16 to 1024 characters" in line
    assert ask(headers=bearer(NEW)).status == 200
    counted = metrics.read(ask(headers=bearer(NEW)).body)
    assert counted.sum(prefix(program) + "http_refused_total", reason="token") >= 11
    assert said(it, 'reason="token"', "no bearer token of tokens_file was given", "address=127.0.0.1")
    told = "\n".join(it.lines) + ask("/readyz").body.decode()
    assert not any(secret in told for secret in (OLD, NEW, "short-secret"))


@both
def test_addresses(rig, program):
    it = start(rig, program, allow_from="192.0.2.0/24, 127.0.0.2, ::1", ip_listen_address="0.0.0.0")
    assert pki.curl(f"http://127.0.0.1:{it.port}/metrics", "--interface", "127.0.0.2")[0] == 200
    # Others are gone before they have said anything.
    for source in ("127.0.0.3", "127.0.0.22"):
        status, _, _ = pki.curl(f"http://127.0.0.1:{it.port}/livez", "--interface", source)
        assert status == 0
    assert said(it, 'reason="address"', "the address is not in allow_from", "address=127.0.0.3")
    # The own question for health, and no more than that.
    assert it.get("/livez").status == 200
    assert it.get("/metrics").status == 403
    page = pki.curl(f"http://127.0.0.1:{it.port}/metrics", "--interface", "127.0.0.2")[1]
    assert f'{prefix(program)}http_refused_total{{reason="address"}} 3' in page


@both
def test_health_on_a_port_of_its_own(rig, program):
    file = rig.path / "tokens"
    file.write_text(OLD)
    it = start(rig, program, tokens_file=str(file), health_port=0)
    (line,) = waiting.until(lambda: said(it, "health is answered on a port of its own"), 10, it.log)
    port = int(re.search(r"at=\S+:(\d+)", line)[1])
    assert [requests.send("GET", port, path).status for path in HEALTH] == [200] * 3
    assert [requests.send("GET", port, path, headers=bearer(OLD)).status for path in PAGES] == [404] * len(PAGES)
    assert [it.get(path).status for path in HEALTH] == [401] * 3
    assert [it.get(path, headers=bearer(OLD)).status for path in HEALTH] == [200] * 3


def ask(running, host, *more):
    """The status of `/` for these headers, and no others."""
    sent = "\r\n".join(["GET / HTTP/1.1", f"Host: {host}", "Connection: close", *more, "", ""])
    return int(requests.raw(running.port, sent.encode()).split()[1])


@both
def test_names(rig, program):
    it = start(rig, program, hostname="own.example.net")
    browser = "Accept-Language: en"
    for host in ("127.0.0.1", "[::1]:80", "localhost:5001", "hub", "hub.monitoring.svc:5001", "own.example.net:1"):
        assert ask(it, host, browser) == 200, host
    assert ask(it, "rebound.example.com", browser) == 403
    assert ask(it, "rebound.example.com", "Origin: http://rebound.example.com") == 403
    assert ask(it, "monitoring.example.com") == 200, "a program goes where it was told to"
    assert said(it, 'reason="host"', "Host names what is not in allowed_hosts")
    listed = start(rig, program, "listed", allowed_hosts="*.example.org")
    assert ask(listed, "a.example.org", browser) == 200 and ask(listed, "a.example.com") == 403


@both
def test_check_warns_of_what_is_open_to_the_world(daemon, tmp_path, program):  # noqa: F811
    tokens = tmp_path / "tokens"
    tokens.write_text(OLD)
    it = daemon(program, ip_listen_address="0.0.0.0")
    done = it.command("--check")
    assert done.returncode == 0 and "warning: open to the world" in done.stderr and "allow_from" in done.stderr, done
    assert "warning" not in done.stdout
    for number, settings in enumerate(({"ip_listen_address": "127.0.0.1"}, {"ip_listen_address": "0.0.0.0", "allow_from": "10.0.0.0/8"})):
        done = daemon(program, f"closed-{number}", **settings).command("--check")
        assert (done.returncode, done.stderr) == (0, ""), done
    done = daemon(program, "told", tokens_file=str(tokens)).command("--check")
    assert done.returncode == 0 and "tokens_file without TLS" in done.stderr and OLD not in done.stdout + done.stderr


@both
def test_what_is_wrong_with_access_is_told_by_its_key(daemon, tmp_path, program):  # noqa: F811
    missing = str(tmp_path / "missing.pem")
    for number, (settings, words) in enumerate((
        ({"tls_certificate_file": missing}, ("tls_certificate_file", missing, "No such file")),
        ({"tls_key_file": "/dev/zero"}, ("tls_key_file", "/dev/zero", "not a file")),
        ({"tokens_file": str(tmp_path)}, ("tokens_file", "not a file")),
        ({"allow_from": "10.0.0.0/40"}, ("allow_from", "10.0.0.0/40")),
        ({"allowed_hosts": "http://x"}, ("allowed_hosts", "without a port")),
        ({"max_connections": 0}, ("max_connections", "from 1 to")),
        ({"header_timeout": 0}, ("header_timeout", "from 1 to")),
    )):
        it = daemon(program, f"wrong-{number}", **settings)
        for option in ("--check", "--start"):
            done = it.command(option)
            assert done.returncode == 2, (settings, done)
            for word in (f"{program}.yaml", *words):
                assert word in done.stderr, (word, done)


@both
def test_files_are_for_owner_and_group_alone(daemon, program):  # noqa: F811
    """Under a umask that forbids nothing, and with what the programs write themselves."""
    it = daemon(program)
    it.prefix = ["bash", "-c", 'umask 0; exec "$@"', "bash"]
    made = [it.folder.path / name for name in ("daemon", "cache", "run", "log")]
    for folder in made:
        folder.rmdir()
    assert it.command("--start").returncode == 0
    found = {path: status for folder in made for path, status in ((folder, folder.lstat()), *passing.below(folder).items())}
    assert any(path.name.endswith(".agent_id") for path in found) and any(path.suffix == ".pid" for path in found)
    assert (it.folder.path / "log" / "pattoo-daemon.log").exists()
    loose = {str(path): oct(stat.S_IMODE(status.st_mode)) for path, status in found.items() if status.st_mode & 0o027}
    assert not loose, loose
    limits = Path(f"/proc/{it.pid()}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
