"""deploy/seccomp/pattoo.json: what it allows is enough for both programs in their containers, and is no more than it says."""

import errno
import json
import re
import shutil

import pytest

from support import requests, waiting
from support.compose import SERVICES, SPOKES, Compose, docker, program
from support.paths import ORIGINAL, PROJECT
from test_containers import STOP, images  # noqa: F401 (a fixture)

PROFILE = PROJECT / "deploy/seccomp/pattoo.json"
OPTION = f"seccomp={PROFILE}"
# For what stands at the way out of a container, or hides what is done.
NEVER = """
acct add_key bpf chroot clone3 delete_module fanotify_init fork fsconfig fsopen init_module io_uring_enter io_uring_setup ioperm iopl
kcmp kexec_load keyctl link linkat mknod mknodat mount mount_setattr move_mount name_to_handle_at open_by_handle_at open_tree
perf_event_open personality pidfd_getfd pidfd_open pivot_root process_vm_readv process_vm_writev ptrace quotactl reboot
request_key setns sethostname swapon symlink symlinkat syslog umount2 unshare userfaultfd vfork
""".split()


def configuration(service):
    """The folder of deploy/compose that the service is given."""
    return "spoke" if service in SPOKES else service


@pytest.fixture
def confined(images, tmp_path):  # noqa: F811
    # Configuration of its own, which can be changed.
    shutil.copytree(PROJECT / "deploy/compose", tmp_path / "compose")
    made = Compose(
        tmp_path,
        {
            service: {"security_opt": [OPTION], "volumes": [f"{tmp_path}/compose/{configuration(service)}:/etc/pattoo:ro"]}
            for service in SERVICES
        },
    )
    made.configuration = tmp_path / "compose"
    try:
        made.up()
        yield made
    finally:
        made.close()


def test_hub_and_spokes_do_their_work_under_it(confined):
    for service in SERVICES:
        confined.wait_healthy(service)
        options = confined.inspect(service)["HostConfig"]["SecurityOpt"]
        assert "no-new-privileges:true" in options and [one for one in options if one.startswith("seccomp={")], options
    waiting.until(
        lambda: confined.metrics("server").sum("pattoo_hub_posts_taken_total") >= len(SPOKES), 60, lambda: confined.logs("hub")
    )
    for service in SERVICES:
        asked = confined.exec(service, program(service), "--status")
        assert "is running" in asked.stdout, asked
        assert confined.exec(service, program(service), "--check").returncode == 0
    assert confined.exec("server", program("server"), "--queue", "list").returncode == 0
    # What a spoke reads for /metrics that it does not for a post: the clock's state, each sensor, its own control group.
    for service in SPOKES:
        page = confined.metrics(service)
        assert page.sum("node_scrape_collector_success", collector="timex") == 1
        assert page.sum("node_scrape_collector_success", collector="filesystem") == 1
        assert page.sum("pattoo_spoke_cgroup_tasks") > 0
    # What harms goes into a file of its own.
    harmful = re.sub(rb'("pattoo_value",)[^\]]*\]', rb"\1NaN]", ORIGINAL.read_bytes(), count=1)
    port = confined.published("server", 20201)
    answer = requests.send(
        "POST", port, "/pattoo/api/v1/agent/receive/a", harmful, {"Content-Type": "application/json", "Host": f"127.0.0.1:{port}"}
    )
    assert answer.status == 200, answer
    assert confined.metrics("server").sum("pattoo_hub_posts_quarantined_total", reason="nan") == 1
    for service in SERVICES:
        assert confined.stop_time(service) < STOP


def test_hub_and_spokes_follow_their_configuration_under_it(confined):
    for service in SERVICES:
        confined.wait_healthy(service)
    for kind in ("spoke", "hub"):
        (file,) = (confined.configuration / kind).glob("pattoo_agent_os_*.yaml")
        key = {"spoke": "network_exclude: veth.*", "hub": "max_attempts: 7"}[kind]
        file.write_text(f"{file.read_text().rstrip()}\n    {key}\n")
    for service in (*SPOKES, "hub"):
        name = f"pattoo_{'spoke' if service in SPOKES else 'hub'}_config_reloads_total"
        waiting.until(lambda: confined.metrics(service).sum(name, result="taken") >= 1, 60, lambda: confined.logs(service))


def test_it_refuses_what_is_not_in_it(images):  # noqa: F811
    """Where the engine's own profile lets it pass."""
    arguments = ["run", "--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
    command = ["rust:1.95-slim-bookworm", "ln", "-s", "a", "/tmp/b"]
    assert docker(*arguments, *command).returncode == 0
    refused = docker(*arguments, f"--security-opt={OPTION}", *command, check=False)
    assert refused.returncode == 1 and "Operation not permitted" in refused.stderr, refused
    # clone3, which could ask for a namespace where no filter sees it: as on a kernel that has not got it, so that a C library
    # takes clone instead.
    call = "my $asked = pack('Q8', 0x10000000, 0, 0, 0, 17, 0, 0, 0); syscall(435, $asked, 64); print $! + 0"
    refused = docker(*arguments, f"--security-opt={OPTION}", "rust:1.95-slim-bookworm", "perl", "-e", call)
    assert refused.stdout == str(errno.ENOSYS), refused


def test_it_has_nothing_that_leads_out():
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    rules = profile["syscalls"]
    assert all(rule["comment"] for rule in rules)
    (denied,) = [rule for rule in rules if rule["action"] != "SCMP_ACT_ALLOW"]
    assert (denied["names"], denied["action"], denied["errnoRet"]) == (["clone3"], "SCMP_ACT_ERRNO", errno.ENOSYS)
    rules.remove(denied)
    names = [name for rule in rules if "args" not in rule for name in rule["names"]]
    assert len(set(names)) == len(names) and not set(NEVER) & set(names)
    # Only with what it is asked for: Unix, IPv4 and IPv6; and no clone into a namespace of its own.
    assert {rule["args"][0]["value"] for rule in rules if rule["names"] == ["socket"]} == {1, 2, 10} and "socket" not in names
    namespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
    (clone,) = [rule["args"] for rule in rules if rule["names"] == ["clone"]]
    assert clone == [{"index": 0, "value": namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}] and "clone" not in names
