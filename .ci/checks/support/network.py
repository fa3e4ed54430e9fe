"""A network of one's own, in which every port is free."""

import os
import subprocess
import sys

# unshare has no way to raise the loopback interface; the kernel's own call has: SIOCSIFFLAGS with IFF_UP.
RAISE_AND_STAY = """
import fcntl, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 1))
print('up', flush=True)
sys.stdin.read()
"""


class Network:
    """Commands that begin with `prefix` run in it."""

    def __init__(self):
        as_root = os.geteuid() == 0
        self.holder = subprocess.Popen(
            ["unshare", "--net" if as_root else "--map-root-user", *([] if as_root else ["--net"]), sys.executable, "-c", RAISE_AND_STAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "up\n", "no network of one's own (unshare --net)"
        self.prefix = ["nsenter", "--target", str(self.holder.pid), "--net"]
        if not as_root:
            self.prefix += ["--user", "--preserve-credentials"]

    def get(self, url):
        """The body at `url`; fails unless the status is 200."""
        code = f"import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen({url!r}, timeout=10).read())"
        done = subprocess.run([*self.prefix, sys.executable, "-c", code], capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        self.holder.wait(10)
