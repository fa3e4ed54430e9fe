"""What a made-up host has beside what a post tells: protocols, sensors, interfaces as sysfs has them."""

import os

TEXTS = {
    "net/netstat": (
        "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed PruneCalled ListenOverflows ListenDrops TCPTimeouts TCPSynRetrans\n"
        "TcpExt: 1 2 3 4 5 6 7 8\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 9 1234567890123 11\n"
    ),
    "net/snmp": (
        "Ip: Forwarding DefaultTTL InReceives\nIp: 2 64 3\nIcmp: InMsgs InErrors OutMsgs\nIcmp: 4 5 6\n"
        "Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts\n"
        "Tcp: 1 -1 2 3 4 5 6 7 8 9\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 1 2 3 4 5 6\n"
        "UdpLite: InDatagrams NoPorts InErrors\nUdpLite: 0 0 0\n"
    ),
    "net/snmp6": (
        "Ip6InReceives                   \t5\nIp6InOctets                     \t128\nIp6OutOctets                    \t880\n"
        "Icmp6InMsgs                     \t1\nUdp6NoPorts                     \t2\nUdpLite6InErrors                \t0\n"
    ),
    "net/sockstat": "sockets: used 229\nTCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
    "net/sockstat6": "TCP6: inuse 17\nUDP6: inuse 9\nUDPLITE6: inuse 0\nRAW6: inuse 1\nFRAG6: inuse 0 memory 0\n",
    "net/stat/nf_conntrack": (
        "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
        "00000021  00000000 00000001 00000000 00000003 00008c5e 00000000 00000000 00000002 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000004\n"
        "00000021  00000000 00000002 00000000 00000022 0000580c 00000000 00000000 00000000 00000001 00000000 00000000 00000000  00000000 00000000 00000000 0000000a\n"
    ),
}
OF_THE_KERNEL = {
    "sys/fs/file-nr": "1024\t0\t1631329\n",
    "sys/kernel/random/entropy_avail": "1337\n",
    "sys/kernel/random/poolsize": "4096\n",
    "sys/net/netfilter/nf_conntrack_count": "33\n",
    "sys/net/netfilter/nf_conntrack_max": "65536\n",
    "sys/kernel/arch": "x86_64\n",
}
INTERFACE = {
    "addr_assign_type": "3", "address": "01:01:01:01:01:01", "broadcast": "ff:ff:ff:ff:ff:ff", "carrier": "1", "carrier_changes": "2",
    "carrier_down_count": "1", "carrier_up_count": "1", "dev_id": "0x20", "dormant": "1", "duplex": "full", "flags": "0x1303",
    "ifalias": "a \"quoted\" \\ alias", "ifindex": "2", "iflink": "2", "link_mode": "1", "mtu": "1500", "name_assign_type": "2",
    "netdev_group": "0", "operstate": "up", "speed": "1000", "tx_queue_len": "1000", "type": "1",
}  # fmt: skip
SYS = {
    "class/net/lo": {
        "address": "00:00:00:00:00:00", "broadcast": "00:00:00:00:00:00", "carrier": "1", "flags": "0x9", "mtu": "65536", "operstate": "unknown",
        "type": "772",
    },
    "class/net/eth0": INTERFACE,
    "class/net/eth0/statistics": {"rx_nohandler": "7"},
    "class/net/eth1": INTERFACE | {"operstate": "down", "speed": "-1", "ifalias": ""},
    "devices/platform/coretemp.0/hwmon/hwmon0": {
        "name": "coretemp", "temp1_input": "55000", "temp1_label": "Physical id 0", "temp1_max": "84000", "temp1_crit_alarm": "0",
        "temp2_input": "54000", "temp2_label": "Core 0",
    },
    "devices/platform/nct6779.656/hwmon/hwmon1": {
        "name": "nct6779", "beep_enable": "0", "fan1_alarm": "0", "fan1_beep": "1", "fan1_input": "1098", "fan1_min": "0", "fan1_pulses": "2",
        "in0_input": "792", "in0_max": "1744", "in0_alarm": "1", "pwm1": "98", "pwm1_enable": "5", "temp1_type": "4", "update_interval": "100",
        "intrusion0_alarm": "1", "energy1_input": "123456789", "power1_average": "3000000", "power1_average_interval": "1000",
        "power1_accuracy": "5000", "curr1_input": "1500", "humidity1_input": "400000", "vrm": "10", "cpu0_vid": "1250",
    },
    "class/thermal/thermal_zone0": {"type": "bcm2835_thermal", "temp": "49925", "policy": "step_wise", "mode": "enabled"},
    "class/thermal/thermal_zone1": {"type": "acpitz", "temp": "-44000", "policy": "step_wise", "mode": "enabled"},
    "class/thermal/cooling_device0": {"type": "Processor", "cur_state": "0", "max_state": "3"},
    "devices/system/clocksource/clocksource0": {"available_clocksource": "tsc hpet acpi_pm ", "current_clocksource": "tsc"},
    "devices/system/cpu/cpu0/topology": {"physical_package_id": "0", "core_id": "0"},
    "devices/system/cpu/cpu0/thermal_throttle": {"core_throttle_count": "5", "package_throttle_count": "30"},
    "devices/system/cpu/cpu1/topology": {"physical_package_id": "0", "core_id": "1"},
    "devices/system/cpu/cpu1/thermal_throttle": {"core_throttle_count": "0", "package_throttle_count": "30"},
    "devices/system/cpu": {"isolated": "1"},
}  # fmt: skip
UDEV = (
    "S:disk/by-id/scsi-0\nW:1\nI:1999\nE:ID_MODEL=SAMSUNG_MZ\nE:ID_SERIAL=SAMSUNG_S36\nE:ID_SERIAL_SHORT=S36\nE:ID_WWN=0x5002\n"
    "E:ID_PATH=pci-0000:00:1f.2-ata-1\nE:ID_REVISION=EXT0\nE:ID_FS_TYPE=ext4\nE:ID_FS_USAGE=filesystem\nE:ID_FS_UUID=7f28\nE:ID_FS_VERSION=1.0\n"
    "E:ID_ATA=1\nE:ID_ATA_WRITE_CACHE=1\nE:ID_ATA_WRITE_CACHE_ENABLED=0\nE:ID_ATA_ROTATION_RATE_RPM=7200\nG:systemd\n"
)
OS_RELEASE = 'NAME="Made up"\nPRETTY_NAME="Made up 12.5 (\\"odd\\")"\nID=madeup\nID_LIKE=\'debian other\'\nVERSION_ID="12.5.1"\nVERSION="12 (odd)"\n'


def add(host):
    for name, text in TEXTS.items():
        for place in ("1/", ""):
            host.write(place + name, text)
    for name, text in OF_THE_KERNEL.items():
        host.write(name, text)
    for folder, values in SYS.items():
        for name, value in values.items():
            host.write_sys(f"{folder}/{name}", value + "\n")
    for number, device in enumerate(("coretemp.0", "nct6779.656")):
        path = f"devices/platform/{device}/hwmon/hwmon{number}"
        link(host, f"class/hwmon/hwmon{number}", f"../../{path}")
        link(host, f"{path}/device", "../../../" + device)
    host.write_root("run/udev/data/b8:0", UDEV)
    host.write_root("etc/os-release", OS_RELEASE)


def link(host, name, target):
    path = host.sys / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, path)
