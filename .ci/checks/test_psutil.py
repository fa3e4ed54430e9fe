"""psutil against the spoke: over copies of /proc that stand still, and live."""

import os
import platform

import pytest

from support import by_psutil, frozen
from support.judge import judge, shape
from support.judge import LOST_BY_THE_ORIGINAL, judge, shape
from support.paths import ORIGINAL

LIVE_ROUNDS = 5

# The counters of which the kernel itself says that they may go back (man 5 proc).
MAY_GO_BACK = {("cpu_times_iowait", ()), ("cpu_times_idle", ())}


def asked(spoke, interval=300):
    answer = spoke.get(f"/pattoo-agent-os/{interval}")
    assert answer.status == 200, answer
    return judge(answer.body)


@pytest.fixture
def copy(tmp_path):
    return frozen.of_this_machine(tmp_path / "host")


def different(found, wanted):
    return {name: (found.get(name), value) for name, value in wanted.items() if found.get(name) != value}


@pytest.mark.parametrize("variant", frozen.VARIANTS)
def test_equals_every_value_over_a_frozen_proc(rig, copy, variant):
    frozen.VARIANTS[variant](copy)
    values = asked(rig.spoke(environment=copy.environment())).values()
    wanted = by_psutil.values(copy.proc)
    assert different(values, wanted) == {}, "(the spoke's, psutil's)"
    of_time_or_disk = ("cpu_times_percent_", "disk_partition_disk_usage_", "cpu_frequency")
    more = {name for name in values if not name[0].startswith(of_time_or_disk)} - wanted.keys()
    assert not more, f"not in psutil: {sorted(more)}"


@pytest.mark.parametrize("variant", frozen.VARIANTS)
def test_finds_the_partitions_of_a_frozen_proc(rig, copy, variant):
    frozen.VARIANTS[variant](copy)
    post = asked(rig.spoke(environment=copy.environment()))
    with by_psutil.reading(copy.proc):
        wanted = list(by_psutil.usage())
    found = [(p.key, p.instance) for p in post.points if p.kind == "partition"]
    assert found == wanted


def test_keeps_the_order_of_interfaces_and_disks(rig, copy):
    frozen.large_counters(copy)
    post = asked(rig.spoke(environment=copy.environment()))
    order = list(dict.fromkeys(p.instance[0] for p in post.points if p.kind in ("disk", "network")))
    assert order == ["sda", "sda1", "nvme0n1", "nvme0n1p1", "dm-0", "sr0", "ramdisk", "eth1", "lo", "eth0.7"]


STAT = "cpu  {}\ncpu0 {}\nintr 1000 1\nctxt 2000\nbtime 1700000000\nprocesses 10\nsoftirq 3000 1\n"
EARLY = (1000, 200, 300, 50000, 40, 5, 6, 7, 8, 9)
PAIRS_OF_STATS = {
    "busy": (1517, 213, 431, 52003, 97, 11, 29, 18, 61, 12),
    "a_counter_goes_back": (1517, 213, 431, 49003, 31, 11, 29, 18, 61, 12),
    "less_than_a_second": (1003, 200, 302, 50020, 40, 5, 6, 7, 8, 9),
}


@pytest.mark.parametrize("pair", PAIRS_OF_STATS)
def test_percentages_lie_between_two_frozen_stats(rig, copy, pair):
    early, late = (STAT.format(*[" ".join(map(str, numbers))] * 2) for numbers in (EARLY, PAIRS_OF_STATS[pair]))
    copy.write("stat", early)
    spoke = rig.spoke(environment=copy.environment())
    copy.write("stat", late)
    values = asked(spoke).values()
    assert different(values, by_psutil.percentages(early, late)) == {}, "(the spoke's, worked out here)"
    # Two that ask do not disturb each other: each is told of the same span.
    again = asked(spoke).values()
    assert different(again, by_psutil.percentages(early, late)) == {}


def test_agrees_with_the_captured_original_on_keys_types_and_metadata(rig, copy):
    # A host with a partition, disks and interfaces, whatever the machine of the check has.
    frozen.edges(copy)
    rows = shape(asked(rig.spoke(environment=copy.environment())))
    original = shape(judge(ORIGINAL.read_bytes()))
    aside = [row for row in rows if (row[0], row[1]) in LOST_BY_THE_ORIGINAL]
    assert [row for row in rows if row not in aside] == original
    # The five come first, as datapoints of the system.
    assert rows[:5] == aside
    assert [(key, data_type) for key, data_type, _ in aside] == LOST_BY_THE_ORIGINAL
    assert {metadata for _, _, metadata in aside} == {original[0][2]}


def test_takes_the_frequency_from_the_host(rig, copy):
    frozen.edges(copy)
    values = asked(rig.spoke(environment=copy.environment())).values()
    assert values["cpu_frequency", ()] == pytest.approx((2400.0 + 3000.5) / 2)


def test_leaves_the_frequency_out_where_there_is_none(rig, copy):
    copy.write("cpuinfo", "processor : 0\nBogoMIPS : 50.00\n")
    found = [point.key for point in asked(rig.spoke(environment=copy.environment())).points]
    assert found[:5] == ["process_count", "load_average_01min", "load_average_05min", "load_average_15min", "cpu_times_percent_user"]


@pytest.fixture
def live(rig):
    return rig.spoke()


def live_values():
    everything = by_psutil.values() | by_psutil.usage()
    frequency = by_psutil.frequency()
    return everything | ({("cpu_frequency", ()): frequency} if frequency else {})


def test_live_keys_and_instances_are_equal_both_ways(live):
    found = {name for name in asked(live).values() if not name[0].startswith("cpu_times_percent_")}
    wanted = set(live_values())
    assert found - wanted == set(), "the spoke has more"
    assert wanted - found == set(), "psutil has more"


def test_live_constants_are_equal(live):
    post = asked(live)
    values, wanted = post.values(), live_values()
    totals = [name for name in wanted if name[0].endswith("_total")]
    assert len(totals) > 2
    assert {name: values.get(name) for name in totals} == {name: wanted[name] for name in totals}
    metadata = post.points[-1].by_name
    assert metadata["release"] == platform.release()
    assert metadata["version"] == platform.version()
    assert metadata["type"] == platform.system()
    assert metadata["processor"] == platform.processor()
    assert metadata["cpus"] == str(os.sysconf("SC_NPROCESSORS_ONLN"))


def counters(post):
    return {(p.key, p.instance): p.value for p in post.points if p.data_type == 64}


def test_live_counters_lie_between_two_readings(live):
    went_back = set(MAY_GO_BACK)
    for _ in range(LIVE_ROUNDS):
        before = live_values()
        found = counters(asked(live))
        after = live_values()
        assert found.keys() <= before.keys() | after.keys()
        outside = {
            name: (before[name], value, after[name])
            for name, value in found.items()
            if name in before and name in after and not before[name] <= value <= after[name]
        }
        went_back &= outside.keys()
        assert outside.keys() <= MAY_GO_BACK, outside
    assert not went_back, "in no round between the two readings"


def test_live_gauges_are_within_a_bound(live):
    """In at least one of five rounds each gauge is within the bound that is printed of what psutil says."""
    missing = None
    for number in range(LIVE_ROUNDS):
        before = live_values()
        post = asked(live)
        after = live_values()
        gauges = {(p.key, p.instance): p.value for p in post.points if p.data_type in (99, 101)}
        gauges = {name: value for name, value in gauges.items() if not name[0].startswith("cpu_times_percent_")}
        failed = {}
        for name, value in gauges.items():
            bound = bound_of(name[0], name[1], before)
            low, high = min(before[name], after[name]) - bound, max(before[name], after[name]) + bound
            print(f"round {number}: {name[0]} {name[1]}: {low} <= {value} <= {high}")
            if not low <= value <= high:
                failed[name] = (low, value, high)
        missing = failed.keys() if missing is None else missing & failed.keys()
        if not missing:
            return
    raise AssertionError(f"in no round within the bound: {failed}")


def bound_of(key, instance, reading):
    """How far a gauge may be from the readings around it: 0.5 % of a size, 0.5 of a percentage."""
    if key.endswith("_percent"):
        return 0.5
    if key == "process_count":
        return 2
    if key.startswith("load_average"):
        return 0.05
    if key == "cpu_frequency":
        return 0.05 * reading[(key, instance)]
    family = key.rpartition("_")[0]
    return 0.005 * reading[(family + "_total", instance)]
