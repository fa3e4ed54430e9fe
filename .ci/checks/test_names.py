"""The host's name, judged by Python's own socket.getfqdn() in the same namespaces."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import names, waiting
from support.network import Network
from support.paths import SPOKE

# A resolver that is dead costs two seconds at most; the rest is for a machine under load.
DEAD = 3.5
AT_ONCE = 1.5

LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
IPV6 = Path("/proc/net/if_inet6").exists()
CHANGED = "the host's name changed"


@dataclass
class Case:
    """A host's name, its files, what DNS says (nothing runs where None), and the name that it must have."""

    node: str
    hosts: str
    expected: str
    records: tuple | None = None
    resolv: str = names.RESOLV


CASES = {
    # The contract's, of files alone.
    "captured": Case("vm", "127.0.0.1 localhost\n127.0.0.1 runsc\n127.0.0.1 vm\n", "localhost"),
    "debian": Case("h", LOCALHOST + "127.0.1.1\th.example.com\th\n", "h.example.com"),
    "alias_with_a_dot": Case("h", LOCALHOST + "10.0.0.1 h other h.example.com h.example.org\n", "h.example.com"),
    "canonical_without_a_dot": Case("h", LOCALHOST + "10.0.0.1 canonical h\n", "canonical"),
    "canonical_with_a_dot_first": Case("h", LOCALHOST + "10.0.0.1 a.example.com h b.example.com\n", "a.example.com"),
    "named_by_both_loopbacks": Case("h", "127.0.0.1 localhost h\n::1 six.example.com h\n", "six.example.com"),
    "named_by_ipv6_alone": Case("h", "127.0.0.1 localhost\n::1 localhost\n::1 six.example.com h\n", "localhost"),
    "ipv6_of_its_own": Case("h", LOCALHOST + "fd00::1 six.example.com h\n", "six.example.com"),
    "ipv4_and_ipv6": Case("h", LOCALHOST + "127.0.1.1 four.example.com h\nfd00::1 six.example.com h\n", "four.example.com"),
    "two_lines": Case("h", LOCALHOST + "10.0.0.5 a.example.com h\n10.0.0.6 b.example.com h\n", "a.example.com"),
    "another_line_of_the_address": Case("h", LOCALHOST + "10.0.0.5 first\n10.0.0.5 h.example.com h\n", "first"),
    "node_with_a_dot": Case("h.example.com", LOCALHOST + "127.0.1.1 h.example.com h\n", "h.example.com"),
    "letters_of_either_case": Case("Host", LOCALHOST + "127.0.1.1 host.Example.com host\n", "host.Example.com"),
    "comments_and_blanks": Case("h", "# h\n\n  127.0.1.1 \t h.example.com\th # 10.0.0.1 x.example.com h\n", "h.example.com"),
    "localhost": Case("localhost", LOCALHOST, "localhost"),
    "localhost_with_a_domain": Case("localhost", "127.0.0.1 localhost localhost.localdomain\n", "localhost.localdomain"),
    "loopback_of_another_line": Case("h", "127.0.0.1 localhost localhost.localdomain\n127.0.0.1 h\n", "localhost.localdomain"),
    "ipv6_loopback_first": Case("h", "::1 h.example.com h\n127.0.0.1 localhost\n", "h.example.com"),
    "mapped_address": Case("h", LOCALHOST + "::ffff:10.0.0.1 mapped.example.com h\n", "mapped.example.com"),
    "lines_that_are_none": Case("h", LOCALHOST + "10.0.0 a.example.com h\n127.1 b.example.com h\n10.0.0.2 c.example.com h\n", "c.example.com"),
    "lines_ended_as_on_windows": Case("h", "127.0.0.1 localhost\r\n127.0.1.1 h.example.com h\r\n", "h.example.com"),
    "dot_at_the_end": Case("h", LOCALHOST + "127.0.1.1 h.example.com. h\n", "h.example.com."),
    "node_that_is_an_address": Case("10.0.0.1", "10.0.0.1 ip.example.com\n", "ip.example.com"),
    "in_no_file": Case("h", LOCALHOST, "h"),
    "no_file": Case("h", "", "h"),
    # With a server.
    "dns": Case("h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",)),
    "dns_other_name_of_the_address": Case(
        "h", LOCALHOST, "real.example.net",
        ("--address=/h.example.com/10.9.8.7", "--ptr-record=7.8.9.10.in-addr.arpa,real.example.net"),
    ),
    "dns_without_a_name_of_the_address": Case("h", LOCALHOST, "h", ("--address=/h.example.com/10.9.8.7",)),
    "dns_name_without_a_dot": Case(
        "h", LOCALHOST, "plain", ("--address=/h.example.com/10.9.8.7", "--ptr-record=7.8.9.10.in-addr.arpa,plain")
    ),
    "dns_alias": Case(
        "h", LOCALHOST, "real.example.com", ("--cname=h.example.com,real.example.com", "--host-record=real.example.com,10.9.8.7")
    ),
    "dns_ipv6": Case("h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,fd00::7",)),
    "dns_without_search": Case(
        "h", LOCALHOST, "h.example.net",
        ("--address=/h/10.9.8.7", "--ptr-record=7.8.9.10.in-addr.arpa,h.example.net"),
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    "dns_domain_line": Case(
        "h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",),
        "domain example.com\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    "dns_second_search": Case(
        "h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",),
        "search example.org example.com\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    "dns_second_server": Case(
        "h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",),
        "search example.com\nnameserver 127.0.0.9\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    "dns_no_server_named": Case(
        "h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",), "search example.com\noptions timeout:1\n"
    ),
    "dns_ipv4_and_ipv6": Case("h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7,fd00::7",)),
    "dns_node_with_a_dot": Case("h.sub", LOCALHOST, "h.sub.example.com", ("--host-record=h.sub.example.com,10.9.8.7",)),
    "dns_node_in_capitals": Case("HOST", LOCALHOST, "host.example.com", ("--host-record=host.example.com,10.9.8.7",)),
    "dns_node_with_an_underscore": Case("my_host", LOCALHOST, "my_host.example.com", ("--host-record=my_host.example.com,10.9.8.7",)),
    "dns_longest_node": Case("a" * 63, LOCALHOST, "a" * 63 + ".example.com", (f"--host-record={'a' * 63}.example.com,10.9.8.7",)),
    "dns_loopback_address": Case("h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,127.0.1.5",)),
    "dns_odd_resolv_conf": Case(
        "h", LOCALHOST, "h.example.com", ("--host-record=h.example.com,10.9.8.7",),
        "# c\n; c\nbogus line\nsortlist 1.2.3.4\nnameserver 127.0.0.1 \nsearch   example.com.\noptions timeout:1 no-such-option edns0 trust-ad rotate\n",
    ),
    "dns_does_not_know": Case("h", LOCALHOST, "h", ("--host-record=other.example.com,10.9.8.7",)),
    "files_before_dns": Case(
        "h", LOCALHOST + "127.0.1.1 file.example.com h\n", "file.example.com", ("--host-record=h.example.com,10.9.8.7",)
    ),
    "address_of_dns_named_by_the_file": Case(
        "h", LOCALHOST + "10.9.8.7 file.example.org\n", "file.example.org", ("--host-record=h.example.com,10.9.8.7",)
    ),
}  # fmt: skip


@pytest.fixture
def network():
    with Network() as network:
        yield network


@pytest.fixture
def place(network, tmp_path):
    """Makes places in the one network; each gets files of its own."""
    made = []

    def make(node, hosts=LOCALHOST, resolv=names.RESOLV):
        made.append(names.Place(network, tmp_path / f"place{len(made)}", node, hosts, resolv))
        return made[-1]

    return make


@pytest.fixture
def folder(rig):
    """A spoke's folder, in which nothing tells its name."""
    folder = rig.folder("spoke")
    configure(folder)
    return folder


def configure(folder, **settings):
    folder.write("pattoo", pattoo=folder.directories())
    folder.write(SPOKE, **{SPOKE: {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0} | settings})


def check(rig, place, folder):
    """What `--check` says of the name: value and origin."""
    done = place.run(str(rig.binaries[SPOKE]), "--check", env=folder.environment())
    assert done.returncode == 0, done
    lines = [line for line in done.stdout.splitlines() if line.startswith("hostname")]
    assert len(lines) == 1, done
    return lines[0].partition(": ")[2]


@pytest.mark.parametrize("name", CASES)
def test_is_pythons_getfqdn(rig, network, place, folder, name):
    case = CASES[name]
    host = place(case.node, case.hosts, case.resolv)

    def compared():
        judged = host.getfqdn()
        # A kernel without IPv6 cannot reach ::1, and the judge says so; with it, the answer was worked out by hand before.
        assert judged == case.expected or not IPV6
        assert check(rig, host, folder).split('"')[1] == judged
        assert names.Spoke(rig, host, folder).name() == judged

    if case.records is None:
        compared()
    else:
        with names.dns(network, *case.records):
            compared()


def test_check_tells_where_it_comes_from(rig, network, place, folder):
    host = place("h", LOCALHOST + "127.0.1.1 h.example.com h\n")
    assert check(rig, host, folder) == '"h.example.com" (files and DNS)'
    assert check(rig, place("h"), folder).startswith('"h" (the system\'s host name')
    spoke = names.Spoke(rig, host, folder)
    waiting.until(lambda: kept(folder) == "h.example.com", 10, spoke.log)
    assert check(rig, place("h"), folder) == '"h.example.com" (kept from an earlier start)'
    configure(folder, hostname="told.example.com")
    assert check(rig, host, folder) == '"told.example.com" (configuration)'


def kept(folder):
    file = folder.path / "daemon" / "agent_id" / f"{SPOKE}.hostname"
    return file.read_text().strip() if file.exists() else None


def test_first_start_with_a_dead_resolver(rig, network, place, folder):
    """The plain name, two seconds later than otherwise; nothing is kept of it, so the next start asks again."""
    with names.silent(network):
        spoke = names.Spoke(rig, place("h"), folder)
        assert spoke.name() == "h"
        took = time.monotonic() - spoke.began
        print(f"{took:.1f} s to the first post")
        assert took < DEAD
        assert b"<h1>h</h1>" in spoke.body("/")
        assert kept(folder) is None
    spoke.stop()
    with names.dns(network, "--host-record=h.example.com,10.9.8.7"):
        assert names.Spoke(rig, place("h"), folder).name() == "h.example.com"


def test_second_start_with_a_dead_resolver(rig, network, place, folder):
    """The name that was answered before, at once, and still when the resolver has had its time."""
    with names.dns(network, "--host-record=h.example.com,10.9.8.7"):
        spoke = names.Spoke(rig, place("h"), folder)
        assert spoke.name() == "h.example.com"
        waiting.until(lambda: kept(folder) == "h.example.com", 10, spoke.log)
        spoke.stop()
    with names.silent(network):
        spoke = names.Spoke(rig, place("h"), folder)
        listening = time.monotonic() - spoke.began
        assert spoke.name() == "h.example.com"
        print(f"listens after {listening:.1f} s")
        assert listening < AT_ONCE
        waiting.holds(lambda: spoke.name() == "h.example.com", DEAD, "the name stays")
        assert CHANGED not in spoke.log()
        assert kept(folder) == "h.example.com"


def test_a_changed_name_is_warned_of_once_and_kept(rig, network, place, folder):
    with names.dns(network, "--host-record=h.example.com,10.9.8.7"):
        spoke = names.Spoke(rig, place("h"), folder)
        waiting.until(lambda: kept(folder) == "h.example.com", 10, spoke.log)
        spoke.stop()
    with names.dns(network, "--address=/h.example.com/10.9.8.7", "--ptr-record=7.8.9.10.in-addr.arpa,new.example.net"):
        spoke = names.Spoke(rig, place("h"), folder)
        waiting.until(lambda: spoke.name() == "new.example.net", 10, spoke.log)
        warned = [line for line in spoke.lines if CHANGED in line]
        assert len(warned) == 1 and "h.example.com" in warned[0] and "new.example.net" in warned[0], warned
        assert "WARN" in warned[0].upper()
        assert kept(folder) == "new.example.net"
        spoke.stop()
        again = names.Spoke(rig, place("h"), folder)
        assert again.name() == "new.example.net"
        assert CHANGED not in again.log()


def test_a_configured_name_asks_nobody(rig, network, place, folder):
    configure(folder, hostname="told.example.com")
    with names.silent(network):
        spoke = names.Spoke(rig, place("h"), folder)
        assert time.monotonic() - spoke.began < AT_ONCE
        assert spoke.name() == "told.example.com"
    assert kept(folder) is None
