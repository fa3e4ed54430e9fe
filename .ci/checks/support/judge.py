"""A judge of posts, written from the contract alone: it shares no code, table or fixture with the programs.

`judge(body)` returns what a post says, or raises `Refused` with the rule that is broken.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field

CPU_FIELDS = "user nice system idle iowait irq softirq steal guest guest_nice".split()

FLOAT, GAUGE, COUNTER64, COUNTER32, STRING = 101, 99, 64, 32, 2
TYPES = {FLOAT, GAUGE, COUNTER64, COUNTER32, STRING}


def _keys(prefix, fields, data_type):
    return [(f"{prefix}_{name}", data_type) for name in fields.split()]


# The five that the original means to send and loses; the frequency only where the host has one.
LOST_BY_THE_ORIGINAL = [
    ("process_count", GAUGE),
    ("load_average_01min", GAUGE),
    ("load_average_05min", GAUGE),
    ("load_average_15min", GAUGE),
    ("cpu_frequency", FLOAT),
]

SYSTEM = (
    _keys("cpu_times_percent", " ".join(CPU_FIELDS), FLOAT)
    + _keys("cpu_times", " ".join(CPU_FIELDS), COUNTER64)
    + _keys("cpu_stats", "ctx_switches interrupts soft_interrupts syscalls", COUNTER64)
    + _keys("memory", "total available percent used free active inactive buffers cached shared slab", GAUGE)
    + _keys("swap_memory", "total used free percent", GAUGE)
    + _keys("swap_memory", "sin sout", COUNTER64)
)
PARTITION = _keys("disk_partition_disk_usage", "total used free percent", GAUGE)
DISK = _keys(
    "disk_io",
    "read_count write_count read_bytes write_bytes read_time write_time read_merged_count write_merged_count busy_time",
    COUNTER64,
)
NETWORK = _keys(
    "network_io",
    "bytes_sent bytes_recv packets_sent packets_recv errin errout dropin dropout",
    COUNTER64,
)

PARTITION_KEYS = [f"disk_partition_{name}" for name in ("device", "mountpoint", "fstype", "opts")]
HOST_KEYS = "release version processor type cpus hostname".split()
AGENT_KEYS = [
    "pattoo_agent_polling_interval",
    "pattoo_agent_hostname",
    "pattoo_agent_id",
    "pattoo_agent_polled_target",
    "pattoo_agent_program",
]
POINT_KEYS = ["pattoo_key", "pattoo_data_type", "pattoo_value", "pattoo_timestamp", "pattoo_checksum"]
NOT_IN_THE_CHECKSUM = {"release", "version", "pattoo_agent_polling_interval"}
LAYOUTS = {
    "partition": PARTITION_KEYS + HOST_KEYS + AGENT_KEYS + POINT_KEYS,
    "system": HOST_KEYS + AGENT_KEYS + POINT_KEYS,
    "disk": HOST_KEYS + ["disk_partition"] + AGENT_KEYS + POINT_KEYS,
    "network": HOST_KEYS + ["network_io_interface"] + AGENT_KEYS + POINT_KEYS,
}


class Refused(AssertionError):
    """The rule that a post breaks."""


@dataclass
class Point:
    """One datapoint."""

    pairs: list

    def __post_init__(self):
        self.names = [name for name, _ in self.pairs]
        self.by_name = dict(self.pairs)
        self.key = self.by_name.get("pattoo_key")
        self.data_type = self.by_name.get("pattoo_data_type")
        self.value = self.by_name.get("pattoo_value")
        self.timestamp = self.by_name.get("pattoo_timestamp")
        self.checksum = self.by_name.get("pattoo_checksum")

    @property
    def kind(self):
        for kind, layout in LAYOUTS.items():
            if self.names == layout:
                return kind
        raise Refused(f"the pairs of a datapoint are in no known order: {self.names}")

    @property
    def instance(self):
        """What the value belongs to: () for the host, else the partition's four, the disk's or interface's name."""
        names = PARTITION_KEYS + ["disk_partition", "network_io_interface"]
        return tuple(self.by_name[name] for name in names if name in self.by_name)

    @property
    def metadata(self):
        return [(name, value) for name, value in self.pairs if name not in POINT_KEYS]


@dataclass
class Post:
    """What a post says."""

    agent_id: str
    interval: int
    timestamp: int
    points: list = field(default_factory=list)

    def values(self):
        """{(key, instance): value}"""
        return {(point.key, point.instance): point.value for point in self.points}


def _rule(holds, text):
    if not holds:
        raise Refused(text)


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _hex64(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _object(pairs):
    names = [name for name, _ in pairs]
    _rule(len(names) == len(set(names)), "a key stands twice in an object")
    return dict(pairs)


def _constant(name):
    raise Refused(f"{name} is no JSON")


def checksum(point):
    """The checksum of a datapoint, from its key, type and metadata."""

    def sha256(text):
        return hashlib.sha256(text.encode()).hexdigest()

    digest = sha256(f"{point.key}{point.data_type}")
    for name, value in point.metadata:
        if name not in NOT_IN_THE_CHECKSUM:
            digest = sha256(f"{digest}{name}{value}")
    return digest


def _read(body):
    _rule(body.endswith(b"\n") and not body.endswith(b"\n\n"), "a post ends with exactly one newline")
    text = body[:-1].decode("utf-8")
    outside_strings = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    _rule(not re.search(r"\s", outside_strings), "the JSON of a post is compact")
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)


def _envelope(data):
    _rule(isinstance(data, dict), "a post is an object")
    top = ["pattoo_agent_id", "pattoo_agent_polling_interval", "pattoo_agent_timestamp", "pattoo_datapoints"]
    _rule(list(data) == top, f"the keys of a post, sorted, are {top}, not {list(data)}")
    _rule(_hex64(data["pattoo_agent_id"]), "an agent id is 64 hex digits")
    _rule(_is_integer(data["pattoo_agent_polling_interval"]), "the interval is an integer")
    _rule(_is_integer(data["pattoo_agent_timestamp"]), "the stamp is an integer")
    inner = data["pattoo_datapoints"]
    _rule(isinstance(inner, dict) and list(inner) == ["datapoint_pairs", "key_value_pairs"], "two keys within")
    _rule(isinstance(inner["datapoint_pairs"], list), "datapoint_pairs is a list")
    _rule(isinstance(inner["key_value_pairs"], dict), "key_value_pairs is an object")


def _pairs(table):
    """The pairs by id, each of them judged."""
    _rule(list(table) == [str(number) for number in range(len(table))], "ids run from 0, in numeric order")
    seen = {}
    for number, pair in enumerate(table.values()):
        _rule(isinstance(pair, list) and len(pair) == 2, f"pair {number} has two members")
        name, value = pair
        _rule(isinstance(name, str) and name == name.strip() and name, f"pair {number} has a name")
        if name == "pattoo_data_type":
            _rule(_is_integer(value) and value in TYPES, f"{value!r} is no data type")
        elif name == "pattoo_timestamp":
            _rule(_is_integer(value), f"{value!r} is no stamp")
        elif name == "pattoo_checksum":
            _rule(_hex64(value), f"{value!r} is no checksum")
        elif name == "pattoo_value":
            _rule(_is_number(value), f"{value!r} is no finite number")
        else:
            _rule(isinstance(value, str), f"{name} is {value!r}, no string")
            _rule(value == value.strip(), f"{name} is {value!r}, not stripped")
        # As a dictionary's key: 0 and 0.0 are one value, and the first that came stands for both.
        _rule((name, value) not in seen, f"{name}={value!r} has two ids, {seen.get((name, value))} and {number}")
        seen[(name, value)] = number
    return [tuple(pair) for pair in table.values()]


def _points(rows, pairs):
    points, following = [], 0
    for row in rows:
        _rule(isinstance(row, list) and row, "a datapoint is a list of ids")
        for number in row:
            _rule(_is_integer(number) and 0 <= number < len(pairs), f"{number!r} is no id")
            _rule(number <= following, f"id {number} comes before id {following} was given")
            following = max(following, number + 1)
        points.append(Point([pairs[number] for number in row]))
    _rule(following == len(pairs), f"{len(pairs) - following} ids are given and not used")
    return points


def expected_keys(points):
    """The (key, type, kind, instance) which the contract wants for the instances that `points` shows, in order."""
    found = {kind: list(dict.fromkeys(p.instance for p in points if p.kind == kind)) for kind in LAYOUTS}
    keys = {point.key for point in points}
    lost = [(key, data_type) for key, data_type in LOST_BY_THE_ORIGINAL if key in keys]
    wanted = [(key, data_type, "system", ()) for key, data_type in lost + SYSTEM]
    for kind, family in (("partition", PARTITION), ("disk", DISK), ("network", NETWORK)):
        wanted += [(key, data_type, kind, instance) for instance in found[kind] for key, data_type in family]
    return wanted


def _datapoint(point, post):
    _rule(point.kind, "order")
    _rule(point.by_name["pattoo_agent_id"] == post.agent_id, f"{point.key} is of another agent")
    _rule(point.by_name["pattoo_agent_polling_interval"] == str(post.interval), f"{point.key} has another interval")
    _rule(point.by_name["pattoo_agent_program"] == "pattoo_agent_os_spoked", f"{point.key} is of another program")
    _rule(point.by_name["type"] == "Linux", f"{point.key} is of another system")
    _rule(re.fullmatch(r"[1-9][0-9]*", point.by_name["cpus"]), f"{point.by_name['cpus']!r} cpus")
    _rule(point.checksum == checksum(point), f"{point.key} {point.instance}: the checksum is wrong")


def judge(body):
    """Reads a post of a spoke and checks every rule of the contract."""
    data = _read(body)
    _envelope(data)
    pairs = _pairs(data["pattoo_datapoints"]["key_value_pairs"])
    points = _points(data["pattoo_datapoints"]["datapoint_pairs"], pairs)
    post = Post(
        data["pattoo_agent_id"], data["pattoo_agent_polling_interval"], data["pattoo_agent_timestamp"], points
    )
    for point in points:
        _datapoint(point, post)
    sums = [point.checksum for point in points]
    _rule(len(sums) == len(set(sums)), "two datapoints have one checksum")
    if points:
        found = [(point.key, point.data_type, point.kind, point.instance) for point in points]
        wanted = expected_keys(points)
        for number, (one, other) in enumerate(zip(found, wanted)):
            _rule(one == other, f"datapoint {number} is {one}, wanted was {other}")
        _rule(len(found) == len(wanted), f"{len(found)} datapoints, wanted were {len(wanted)}")
    return post


def shape(post):
    """Ordered (key, type, metadata keys), of each family with the first instance alone."""
    first, rows = {}, []
    for point in post.points:
        if first.setdefault(point.kind, point.instance) == point.instance:
            rows.append((point.key, point.data_type, tuple(name for name, _ in point.metadata)))
    return rows
