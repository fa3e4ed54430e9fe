"""A file system whose statfs hangs on request: a FUSE of a hundred lines, in a process of its own, without libfuse.

As a program it mounts itself at the folder it is told, says `up`, and obeys `hang` and `release` on its standard input,
each answered with one line. It ends with its input, and with it every call that hangs on it.
"""

import ctypes
import os
import struct
import subprocess
import sys
import threading

BLOCK = 4096
BLOCKS, FREE, AVAILABLE = 1000, 600, 500

GETATTR, STATFS, INIT = 3, 17, 26
INTERRUPT = 36
WITHOUT_ANSWER = {2, 42}  # FORGET, BATCH_FORGET
EINTR, ENOSYS = 4, 38
NOSUID_NODEV = 2 | 4


class Hanging:
    """The mount, for a check; leaving it takes it away, whatever hangs on it."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("up")

    def _expect(self, word):
        said = self.process.stdout.readline().strip()
        assert said == word, f"the hanging file system says {said!r}, not {word!r}"

    def hang(self):
        self.process.stdin.write("hang\n")
        self.process.stdin.flush()
        self._expect("hangs")

    def release(self):
        """Answers what waits; how many calls that were."""
        self.process.stdin.write("release\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def held(self):
        """How many calls hang now."""
        self.process.stdin.write("held\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The kernel ends every call on it once nobody holds /dev/fuse open.
        self.process.kill()
        self.process.communicate()
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True, timeout=30)


class Server:
    """The file system itself: an empty folder."""

    def __init__(self, folder):
        self.fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hanging", os.fsencode(folder), b"fuse", NOSUID_NODEV, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
        self.lock = threading.Lock()
        self.hangs, self.waiting = False, []

    def answer(self, unique, body=b"", error=0):
        try:
            os.write(self.fuse, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except FileNotFoundError:
            pass  # the one who asked is gone

    def serve(self):
        while True:
            request = os.read(self.fuse, 1 << 20)
            _, kind, unique = struct.unpack_from("<IIQ", request)
            if kind == INIT:
                major, minor, readahead = struct.unpack_from("<III", request, 40)
                self.answer(unique, struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead, 0, 4, 4, BLOCK, 1, 0, 0, 0))
            elif kind == GETATTR:
                # One second of validity, then the attributes of a folder that root owns.
                self.answer(unique, struct.pack("<QII" "6Q3I7I", 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, BLOCK, 0))
            elif kind == STATFS:
                with self.lock:
                    if self.hangs:
                        self.waiting.append(unique)
                        continue
                self.usage(unique)
            elif kind == INTERRUPT:
                self.interrupt(*struct.unpack_from("<Q", request, 40))
            elif kind not in WITHOUT_ANSWER:
                self.answer(unique, error=ENOSYS)

    def interrupt(self, unique):
        """Lets a call go whose process was killed, as a network file system does; else the kernel keeps its process."""
        with self.lock:
            if unique in self.waiting:
                self.waiting.remove(unique)
                self.answer(unique, error=EINTR)

    def usage(self, unique):
        self.answer(unique, struct.pack("<5Q4I24x", BLOCKS, FREE, AVAILABLE, 100, 50, BLOCK, 255, BLOCK, 0))

    def obey(self, word):
        with self.lock:
            if word == "hang":
                self.hangs = True
                return "hangs"
            if word == "release":
                self.hangs, released, self.waiting = False, self.waiting, []
                for unique in released:
                    self.usage(unique)
                return len(released)
            return len(self.waiting)


def main(folder):
    server = Server(folder)
    threading.Thread(target=server.serve, daemon=True).start()
    print("up", flush=True)
    for line in sys.stdin:
        print(server.obey(line.strip()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
