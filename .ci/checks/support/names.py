"""Places where the host has another name: namespaces with their own host name, /etc/hosts and DNS."""

import subprocess
import sys
import time
from dataclasses import dataclass

from support.judge import judge
from support.programs import Program

RESOLV = "nameserver 127.0.0.1\nsearch example.com\noptions timeout:1 attempts:1\n"
NSSWITCH = "hosts: files dns\n"

ENTER = """
for file in hosts resolv.conf nsswitch.conf; do mount --bind "$1/$file" "/etc/$file" || exit 99; done
echo "$2" >/proc/sys/kernel/hostname || exit 99
shift 2
exec "$@"
"""

# Takes every question and answers none.
SILENT = """
import socket, sys
held = socket.socket(type=socket.SOCK_DGRAM)
held.bind(("127.0.0.1", 53))
print("up", flush=True)
sys.stdin.read()
"""


@dataclass
class Place:
    """A host of that name with these files, in a network of its own; commands that begin with `prefix` run there."""

    network: object
    folder: object
    node: str
    hosts: str
    resolv: str = RESOLV

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("hosts", self.hosts), ("resolv.conf", self.resolv), ("nsswitch.conf", NSSWITCH)):
            (self.folder / name).write_text(text)
        self.prefix = [*self.network.prefix, "unshare", "--uts", "--mount", "sh", "-c", ENTER, "sh", str(self.folder), self.node]

    def run(self, *command, **options):
        return subprocess.run([*self.prefix, *command], capture_output=True, text=True, timeout=60, **options)

    def getfqdn(self):
        """The judge: what the original would have sent here."""
        done = self.run(sys.executable, "-c", "import socket; print(socket.getfqdn())")
        assert done.returncode == 0, done
        return done.stdout.strip()


class Spoke(Program):
    """A spoke in such a place."""

    def __init__(self, rig, place, folder):
        self.place = place
        self.began = time.monotonic()
        arguments = [*place.prefix[1:], str(rig.binaries["pattoo_agent_os_spoked"]), "--start", "--foreground"]
        super().__init__(place.prefix[0], folder, arguments=arguments)
        rig.programs.append(self)

    def body(self, path):
        return self.place.network.get(f"http://127.0.0.1:{self.port}{path}")

    def name(self):
        """The host's name in the post; all three that the checksum is made of."""
        post = judge(self.body("/pattoo-agent-os/300"))
        names = {
            point.by_name[key]
            for point in post.points
            for key in ("hostname", "pattoo_agent_hostname", "pattoo_agent_polled_target")
        }
        assert len(names) == 1, names
        return names.pop()


class Server:
    """A server on port 53 of the place's network."""

    def __init__(self, network, command, up, stream):
        self.process = subprocess.Popen(
            [*network.prefix, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = []
        for line in self.process.stdout:
            said.append(line)
            if up in line:
                return
        raise AssertionError(f"{stream} does not start: {''.join(said)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def dns(network, *records):
    """Answers these, and that there is no such name for all else."""
    plain = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file"]
    plain += ["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/example.com/example.org/in-addr.arpa/", "--local=//"]
    return Server(network, [*plain, *records], "started", "dnsmasq")


def silent(network):
    return Server(network, [sys.executable, "-c", SILENT], "up", "a silent server")
