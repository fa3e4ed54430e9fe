"""The original hub's way: each interval a pool of processes asks all targets; each poll reads the YAML of the configuration
directory, asks with urlopen, reads the JSON, and posts it with requests. It keeps what is refused in a file.

`original_hub.py <configuration directory>`
"""

import json
import multiprocessing
import os
import sys
import time
import urllib.request
from pathlib import Path

import requests
import yaml

CONFIG = Path(sys.argv[1])


def configuration():
    """The whole directory, as it is read for each target."""
    found = {}
    for file in sorted(CONFIG.glob("*.yaml")):
        found |= yaml.safe_load(file.read_text())
    return found


def poll(target):
    config = configuration()
    hub, api = config["pattoo_agent_os_hubd"], config["pattoo_agent_api"]
    url = f"http://{target['ip_address']}:{target['ip_bind_port']}/pattoo-agent-os/{hub['polling_interval']}"
    with urllib.request.urlopen(url) as answer:
        data = json.loads(answer.read().decode())
    source = data["pattoo_agent_id"]
    server = f"http://{api['ip_address']}:{api['ip_bind_port']}/pattoo/api/v1/agent/receive/{source}"
    if requests.post(server, json=data).status_code != 200:
        cache = Path(config["pattoo"]["cache_directory"]) / f"{data['pattoo_agent_timestamp']}_{source}.json"
        cache.write_text(json.dumps(data))


def main():
    while True:
        began = time.time()
        hub = configuration()["pattoo_agent_os_hubd"]
        with multiprocessing.Pool(processes=os.cpu_count()) as pool:
            pool.map(poll, hub["ip_devices"])
        time.sleep(abs(hub["polling_interval"] - (time.time() - began)))


if __name__ == "__main__":
    main()
