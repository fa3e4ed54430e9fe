//! Addresses and networks, as `allow_from` lists them.

use std::fmt;
use std::net::IpAddr;

/// The most entries of a list: each is compared with every connection's address.
const MOST: usize = 1024;

/// Networks, and addresses as networks of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networks(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    /// Bits that are compared.
    prefix: u32,
}

impl Networks {
    /// Reads entries such as `10.0.0.0/8`, `192.0.2.7` and `fd00::/8`, with commas between them.
    ///
    /// # Errors
    /// The entry that is none, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let all = entries.map(Network::parse).collect::<Result<Vec<_>, _>>()?;
        match all.len() {
            0 => Err("an address or a network such as 10.0.0.0/8 is expected".to_owned()),
            1..=MOST => Ok(Self(all)),
            more => Err(format!("at most {MOST} entries are expected, found {more}")),
        }
    }

    /// Whether one of them has this address. An IPv4 address in IPv6's clothes is the IPv4 address.
    pub(super) fn have(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.has(address))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Network { base, prefix }) in self.0.iter().enumerate() {
            write!(out, "{}{base}/{prefix}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Network {
    fn parse(entry: &str) -> Result<Self, String> {
        let wrong =
            || format!("an address or a network such as 10.0.0.0/8 or fd00::/8 is expected, found {entry:?}");
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let written: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let bits = bits(written);
        let prefix = match prefix.map(str::trim) {
            None => bits,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        match written.to_canonical() {
            // All of the mapped addresses and more: no single IPv4 network says that.
            IpAddr::V4(_) if written.is_ipv6() && prefix < 96 => Err(wrong()),
            base if base.is_ipv4() && written.is_ipv6() => Ok(Self { base, prefix: prefix - 96 }),
            base => Ok(Self { base, prefix }),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        // What differs in the bits that count, moved to the top; a shift by all bits leaves nothing to differ.
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(other)) => {
                let differing = base.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(other)) => {
                let differing = base.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_addresses_and_no_others() {
        for (written, inside, outside) in [
            (
                "10.0.0.0/8",
                vec!["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
                vec!["11.0.0.0", "9.255.255.255", "::10.0.0.1"],
            ),
            ("10.1.2.3/8", vec!["10.9.9.9"], vec!["11.1.2.3"]),
            ("192.0.2.7", vec!["192.0.2.7"], vec!["192.0.2.6", "192.0.2.8", "::1"]),
            ("0.0.0.0/0", vec!["1.2.3.4", "255.255.255.255"], vec!["::1", "fd00::1"]),
            ("::/0", vec!["::1", "2001:db8::1"], vec!["1.2.3.4", "::ffff:1.2.3.4"]),
            ("fd00::/8", vec!["fd12::1"], vec!["fc00::1", "fe80::1"]),
            ("2001:db8::1", vec!["2001:db8::1"], vec!["2001:db8::2"]),
            ("::ffff:10.0.0.0/104", vec!["10.3.4.5"], vec!["11.0.0.1"]),
            (
                " 10.0.0.1 , 10.0.0.3/32,, fe80::/10 ",
                vec!["10.0.0.1", "10.0.0.3", "fe80::5"],
                vec!["10.0.0.2"],
            ),
        ] {
            let networks = Networks::parse(written).unwrap();
            for (addresses, expected) in [(inside, true), (outside, false)] {
                for address in addresses {
                    assert_eq!(networks.have(address.parse().unwrap()), expected, "{written}: {address}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for written in [
            "",
            " , ",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "host",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.1/+8",
            "::ffff:10.0.0.0/95",
            "1.2.3.4 5.6.7.8",
        ] {
            assert!(Networks::parse(written).is_err(), "{written:?}");
        }
        assert!(Networks::parse("10.0.0.1, ten").unwrap_err().contains("\"ten\""));
        assert!(Networks::parse(&"10.0.0.1,".repeat(MOST)).is_ok());
        assert!(Networks::parse(&"10.0.0.1,".repeat(MOST + 1)).is_err());
    }
}
