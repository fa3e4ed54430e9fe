"""The original's way: psutil, PattooShared's own machinery of datapoints and posts, Flask behind gunicorn.

PattooShared is the published package with which the original makes its posts; what is asked of psutil is the table of the
datapoints. It makes the post for each request anew, as the original does.
"""

import json
import os
import platform
import re
import socket
import sys
import types

import flask
import psutil

# PattooShared loads its daemon, its encryption and its client, which are of no use here.
for name in ("gnupg", "requests"):
    sys.modules.setdefault(name, types.ModuleType(name))

from pattoo_shared import converter  # noqa: E402
from pattoo_shared.constants import DATA_COUNT64, DATA_FLOAT, DATA_INT  # noqa: E402
from pattoo_shared.variables import AgentPolledData, DataPoint, DataPointMetadata, TargetDataPoints  # noqa: E402

PROGRAM = "pattoo_agent_os_spoked"
app = flask.Flask(__name__)


def points():
    """Key, value, type, metadata before the host's, metadata behind it."""
    yield "process_count", len(psutil.pids()), DATA_INT, {}, {}
    for minutes, average in zip(("01", "05", "15"), os.getloadavg()):
        yield f"load_average_{minutes}min", average, DATA_INT, {}, {}
    frequency = psutil.cpu_freq()
    if frequency:
        yield "cpu_frequency", frequency.current, DATA_FLOAT, {}, {}
    families = (
        ("cpu_times_percent", psutil.cpu_times_percent(), DATA_FLOAT),
        ("cpu_times", psutil.cpu_times(), DATA_COUNT64),
        ("cpu_stats", psutil.cpu_stats(), DATA_COUNT64),
        ("memory", psutil.virtual_memory(), DATA_INT),
        ("swap_memory", psutil.swap_memory(), DATA_INT),
    )
    for prefix, values, data_type in families:
        for key, value in values._asdict().items():
            counts = key in ("sin", "sout")
            yield f"{prefix}_{key}", value, DATA_COUNT64 if counts else data_type, {}, {}
    for part in psutil.disk_partitions(all=False):
        if "docker" in part.mountpoint:
            continue
        before = {
            "disk_partition_device": part.device,
            "disk_partition_mountpoint": part.mountpoint,
            "disk_partition_fstype": part.fstype,
            "disk_partition_opts": part.opts,
        }
        for key, value in psutil.disk_usage(part.mountpoint)._asdict().items():
            yield f"disk_partition_disk_usage_{key}", value, DATA_INT, before, {}
    for disk, counters in psutil.disk_io_counters(perdisk=True).items():
        if not re.match(r"ram\d|loop", disk):
            for key, value in counters._asdict().items():
                yield f"disk_io_{key}", value, DATA_COUNT64, {}, {"disk_partition": disk}
    for interface, counters in psutil.net_io_counters(pernic=True).items():
        for key, value in counters._asdict().items():
            yield f"network_io_{key}", value, DATA_COUNT64, {}, {"network_io_interface": interface}


@app.route("/pattoo-agent-os/<int:interval>")
def post(interval):
    agent = AgentPolledData(PROGRAM, interval)
    host = {
        "release": platform.release(),
        "version": platform.version(),
        "processor": platform.processor(),
        "type": platform.system(),
        "cpus": str(psutil.cpu_count()),
        "hostname": socket.getfqdn(),
    }
    target = TargetDataPoints(host["hostname"])
    for key, value, data_type, before, behind in points():
        point = DataPoint(key, value, data_type=data_type)
        for name, text in (before | host | behind).items():
            point.add(DataPointMetadata(name, text, update_checksum=name not in ("release", "version")))
        target.add(point)
    agent.add(target)
    told = converter.posting_data_points(converter.agentdata_to_post(agent))
    text = json.dumps(told, sort_keys=True, separators=(",", ":")) + "\n"
    return flask.Response(text, mimetype="application/json")
