//! Sockets by protocol, from the host's own `net/sockstat` and `net/sockstat6`.

use super::page::{Kind, Page};
use super::{Done, Round};
use crate::collect::text;

/// What a protocol may tell.
const STATES: [&str; 6] = ["inuse", "orphan", "tw", "alloc", "mem", "memory"];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, .. } = round;
    let bytes = files.of_init("net/sockstat")?;
    let used = text::lines(&bytes).find_map(|line| text::number(line.strip_prefix(b"sockets: used ")?));
    if let Some(used) = used {
        page.one("node_sockstat_sockets_used", Kind::Gauge, "IPv4 sockets in use.", used);
    }
    text::lines(&bytes).for_each(|line| write(line, page));
    match files.of_init("net/sockstat6") {
        Ok(bytes) => text::lines(&bytes).for_each(|line| write(line, page)),
        // A host without IPv6.
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Writes a line such as `TCP: inuse 5 orphan 0`.
fn write(line: &[u8], page: &mut Page) {
    for (protocol, state, number) in parse(line).unwrap_or_default() {
        let mut one = |state: &str, number| {
            let name = format!("node_sockstat_{protocol}_{state}");
            page.one(&name, Kind::Gauge, &format!("{protocol} sockets: {state}."), number);
        };
        one(state, number);
        if state == "mem" {
            // It is counted in pages.
            let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
            one("mem_bytes", number.saturating_mul(page_size));
        }
    }
}

fn parse(line: &[u8]) -> Option<Vec<(&str, &'static str, u64)>> {
    let (protocol, rest) = std::str::from_utf8(line).ok()?.split_once(": ")?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let pair = |pair: &[&str]| {
        let [state, number] = pair else { return None };
        let state = STATES.into_iter().find(|known| known == state)?;
        Some((protocol, state, text::number(number.as_bytes())?))
    };
    Some(words.chunks(2).filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read() {
        assert_eq!(
            parse(b"TCP: inuse 5 tw 7 odd 1 mem x"),
            Some(vec![("TCP", "inuse", 5), ("TCP", "tw", 7)])
        );
        assert_eq!(parse(b"sockets: used 41"), Some(vec![]));
        assert_eq!((parse(b"TCP"), parse(b"TCP: inuse")), (None, Some(vec![])));
    }
}
