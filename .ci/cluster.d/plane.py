"""A cluster of one node: etcd, the API server, its controllers, a kubelet, and names. All of it ends with this."""

import json
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from support import waiting
from support.ports import free_port

LIMIT = 180
LABEL = "io.kubernetes.pod.namespace"
# The kubelet sets these, and the machine has them back afterwards.
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
DOMAIN = "cluster.local"


def until(condition, what, seconds=LIMIT):
    """The first true value of `condition()`. Most conditions ask the API server by a program of their own."""
    return waiting.until(condition, seconds, what, step=0.25)


def run(*command, check=True, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600, **options)
    if check and done.returncode:
        raise SystemExit(f"cluster: {' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


class Plane:
    def __init__(self, made, folder):
        self.bin, self.folder = Path(made) / "bin", Path(folder)
        self.tools = Path(made).parent / "kubernetes/bin"
        self.address = json.loads(run("ip", "-json", "-4", "address", "show", "docker0").stdout)[0]["addr_info"][0]["local"]
        self.token, self.processes, self.names = secrets.token_hex(16), {}, {}
        self.before = {name: Path("/proc/sys", name).read_text() for name in SYSCTLS}
        self.kubeconfig = self.folder / "kubeconfig"

    # Beginning and end.

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self):
        etcd, peer, api = (free_port() for _ in range(3))
        key = self.folder / "service-account.key"
        run("openssl", "genrsa", "-out", key, "2048")
        (self.folder / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        self.url = f"https://127.0.0.1:{api}"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "it", "user": {"token": self.token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))  # fmt: skip
        client, server = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self._start("etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={server}", f"--initial-advertise-peer-urls={server}", f"--initial-cluster=default={server}")  # fmt: skip
        self._start("kube-apiserver", f"--etcd-servers={client}", f"--secure-port={api}", "--bind-address=127.0.0.1", f"--cert-dir={self.folder}/api",
                    f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.97.0.0/16",
                    f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}", "--service-account-issuer=https://it",
                    "--kubelet-preferred-address-types=InternalIP", "--endpoint-reconciler-type=none")  # fmt: skip
        until(lambda: self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok", lambda: self.log("kube-apiserver"))
        common = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--port=0", "--secure-port=0")
        self._start("kube-controller-manager", *common, f"--service-account-private-key-file={key}")
        self._start("kube-scheduler", *common)
        # A pod's probes and its DNS come from the bridge's address; nothing listens on any other but the loopback.
        self._start("kubelet", f"--kubeconfig={self.kubeconfig}", f"--root-dir={self.folder}/kubelet", f"--cert-dir={self.folder}/kubelet-pki",
                    "--hostname-override=node-1", f"--node-ip={self.address}", f"--address={self.address}", f"--port={free_port()}",
                    "--healthz-port=0", "--authorization-mode=AlwaysAllow", "--anonymous-auth=true", "--container-runtime=docker", "--fail-swap-on=false",
                    "--cgroups-per-qos=false", "--enforce-node-allocatable=", "--pod-infra-container-image=pattoo-cluster/pause:1",
                    f"--cluster-dns={self.address}", f"--cluster-domain={DOMAIN}", "--sync-frequency=2s", "--image-gc-high-threshold=100",
                    "--make-iptables-util-chains=false", f"--volume-plugin-dir={self.folder}/plugins", "--eviction-hard=memory.available<1Mi")  # fmt: skip
        (self.folder / "names").mkdir()
        self._spawn("dnsmasq", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", f"--hostsdir={self.folder}/names", "--bind-interfaces",
                    f"--listen-address={self.address}", "--except-interface=lo", f"--local=/{DOMAIN}/", "--pid-file=", "--user=root", "--conf-file=/dev/null")  # fmt: skip
        until(lambda: "True" in self.kubectl("get", "node", "node-1", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}", check=False).stdout,
              lambda: f"the node is ready:\n{self.log('kubelet')}")  # fmt: skip

    def _start(self, program, *arguments):
        self._spawn(program, self.bin / program, *arguments)

    def _spawn(self, name, *command):
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __exit__(self, *_):
        # The kubelet goes first, so that it does not start again what is removed.
        for name in ("kubelet", "dnsmasq", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            process = self.processes.get(name)
            if process:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
        ours = run("docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}").stdout.split()
        if ours:
            run("docker", "rm", "--force", *ours)
        for line in Path("/proc/self/mounts").read_text().splitlines()[::-1]:
            point = line.split(" ")[1].replace("\\040", " ")
            if point.startswith(f"{self.folder}/"):
                run("umount", "--lazy", point, check=False)
        for name, value in self.before.items():
            Path("/proc/sys", name).write_text(value)
        shutil.rmtree(self.folder / "kubelet", ignore_errors=True)

    # What one asks it.

    def log(self, name):
        return f"{name}:\n" + (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def kubectl(self, *arguments, check=True):
        return run(self.tools / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments, check=check)

    def helm(self, *arguments, check=True):
        return run(self.tools / "helm", f"--kubeconfig={self.kubeconfig}", *arguments, check=check)

    def get(self, kind, namespace, *arguments):
        return json.loads(self.kubectl("get", kind, f"--namespace={namespace}", "--output=json", *arguments).stdout)["items"]

    def tell_names(self, namespace):
        """Gives dnsmasq the addresses behind each headless Service; it follows its folder."""
        lines = []
        for service in self.get("endpoints", namespace):
            name = f"{service['metadata']['name']}.{namespace}.svc.{DOMAIN}"
            for subset in service.get("subsets", []):
                lines += [f"{one['ip']} {name}" for one in subset.get("addresses", [])]
        if self.names.get(namespace) != lines:
            self.names[namespace] = lines
            (self.folder / "names" / namespace).write_text("".join(f"{line}\n" for line in lines))
