//! Counts of the network protocols, from the host's own `net/netstat`, `net/snmp` and `net/snmp6`: of their hundreds
//! of fields those that node_exporter shows.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::names::Names;
use super::page::{Kind, Number, Page};
use super::{Done, Round};
use crate::collect::text;

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    for file in ["net/netstat", "net/snmp"] {
        pairs_of_lines(&files.of_init(file)?, &mut known.netstat, page);
    }
    match files.of_init("net/snmp6") {
        Ok(bytes) => text::lines(&bytes).for_each(|line| line_of_6(line, &mut known.netstat, page)),
        // A host without IPv6.
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Each protocol has a line of names and one of numbers behind it.
fn pairs_of_lines(bytes: &[u8], known: &mut Names, page: &mut Page) {
    let mut lines = text::lines(bytes);
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((same, numbers))) =
            (text::first_word(names), text::first_word(numbers))
        else {
            continue;
        };
        let Some(protocol) = protocol.strip_suffix(b":").filter(|_| protocol == same) else { continue };
        for (name, number) in text::words(names).zip(text::words(numbers)) {
            write(protocol, name, number, known, page);
        }
    }
}

/// `Ip6InReceives 1`: the protocol is what stands before the name, up to the 6.
fn line_of_6(line: &[u8], known: &mut Names, page: &mut Page) {
    let Some((name, number)) = text::first_word(line) else { return };
    let Some(six) = name.iter().position(|byte| *byte == b'6') else { return };
    let (protocol, name) = name.split_at(six + 1);
    write(protocol, name, number.trim_ascii(), known, page);
}

fn write(protocol: &[u8], name: &[u8], number: &[u8], known: &mut Names, page: &mut Page) {
    let key = [protocol, b"_", name].concat();
    let Some(field) = known.get(&key, shown) else { return };
    if let Some(number) = Number::parse(number) {
        let help = format!("The kernel's {field}.");
        page.one(&format!("node_netstat_{field}"), Kind::Untyped, &help, number);
    }
}

/// The fields that node_exporter 1.5 shows.
fn shown(field: &[u8]) -> Option<String> {
    static SHOWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let pattern = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)\
            |TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts)\
            |Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)\
            |Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";
        Regex::new(pattern).ok()
    });
    let field = std::str::from_utf8(field).ok()?;
    SHOWN.as_ref()?.is_match(field).then(|| field.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::page::Format;
    use super::*;

    fn page(write: impl FnOnce(&mut Names, &mut Page)) -> Vec<String> {
        let (mut names, mut page) = (Names::default(), Page::new(Format::Text, 10, 0));
        write(&mut names, &mut page);
        page.finish("").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn names_stand_above_their_numbers() {
        let text = b"TcpExt: SyncookiesSent Other ListenDrops\nTcpExt: 1 2 3\nIp: Forwarding TTL\nIp: 1 64\n\
            Udp: InErrors\nUdpLite: 9\nTcp: InErrs CurrEstab\nTcp: -1\n";
        let expected = [
            "node_netstat_TcpExt_SyncookiesSent 1",
            "node_netstat_TcpExt_ListenDrops 3",
            "node_netstat_Ip_Forwarding 1",
            "node_netstat_Tcp_InErrs -1",
        ];
        assert_eq!(page(|names, page| pairs_of_lines(text, names, page)), expected);
    }

    #[test]
    fn names_of_version_6_hold_their_protocol() {
        let text = b"Ip6InOctets                     \t128\nIp6InReceives 1\nUdpLite6InErrors 2\nIcmp6InMsgs x\nodd\n";
        let lines = |names: &mut Names, page: &mut Page| {
            text::lines(text).for_each(|line| line_of_6(line, names, page));
        };
        assert_eq!(page(lines), ["node_netstat_Ip6_InOctets 128", "node_netstat_UdpLite6_InErrors 2"]);
    }
}
