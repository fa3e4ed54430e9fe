"""deploy/seccomp/pattoo.json: what it allows is enough for both programs in their containers, and is no more than it says."""

import json

import pytest

from support import waiting
from support.compose import SERVICES, SPOKES, Compose, docker, program
from support.paths import PROJECT
from test_containers import STOP, images  # noqa: F401 (a fixture)

PROFILE = PROJECT / "deploy/seccomp/pattoo.json"
OPTION = f"seccomp={PROFILE}"
# For what stands at the way out of a container, or hides what is done.
NEVER = """
acct add_key bpf chroot delete_module fanotify_init fork fsconfig fsopen init_module io_uring_enter io_uring_setup ioperm iopl
kcmp kexec_load keyctl link linkat mknod mknodat mount mount_setattr move_mount name_to_handle_at open_by_handle_at open_tree
perf_event_open personality pidfd_getfd pidfd_open pivot_root process_vm_readv process_vm_writev ptrace quotactl reboot
request_key setns sethostname swapon symlink symlinkat syslog umount2 unshare userfaultfd vfork
""".split()


@pytest.fixture
def confined(images, tmp_path):  # noqa: F811
    made = Compose(tmp_path, {service: {"security_opt": [OPTION]} for service in SERVICES})
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
    assert confined.exec("server", program("server"), "--queue", "list").returncode == 0
    for service in SERVICES:
        assert confined.stop_time(service) < STOP


def test_it_refuses_what_is_not_in_it(images):  # noqa: F811
    """Where the engine's own profile lets it pass."""
    arguments = ["run", "--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
    command = ["rust:1.95-slim-bookworm", "ln", "-s", "a", "/tmp/b"]
    assert docker(*arguments, *command).returncode == 0
    refused = docker(*arguments, f"--security-opt={OPTION}", *command, check=False)
    assert refused.returncode == 1 and "Operation not permitted" in refused.stderr, refused


def test_it_has_nothing_that_leads_out():
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    rules = profile["syscalls"]
    assert {rule["action"] for rule in rules} == {"SCMP_ACT_ALLOW"} and all(rule["comment"] for rule in rules)
    names = [name for rule in rules if "args" not in rule for name in rule["names"]]
    assert len(set(names)) == len(names) and not set(NEVER) & set(names)
    # Only with what it is asked for: Unix, IPv4 and IPv6; and no clone into a namespace of its own.
    assert {rule["args"][0]["value"] for rule in rules if rule["names"] == ["socket"]} == {1, 2, 10} and "socket" not in names
    namespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
    (clone,) = [rule["args"] for rule in rules if rule["names"] == ["clone"]]
    assert clone == [{"index": 0, "value": namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}] and "clone" not in names
