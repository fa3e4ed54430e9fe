//! Memory, field by field, from `<proc>/meminfo`.

use super::page::Kind;
use super::{Done, Round};
use crate::collect::text;

const FILE: &str = "meminfo";

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, .. } = round;
    let bytes = files.proc(FILE)?;
    let mut fields = text::lines(&bytes).filter_map(parse).peekable();
    if fields.peek().is_none() {
        return Err(files.host().lacks(FILE, "field").into());
    }
    for (field, number) in fields {
        page.one(&format!("node_memory_{field}"), Kind::Gauge, &format!("{field} of /proc/meminfo."), number);
    }
    Ok(())
}

/// The field as it is named in metrics, and its value in bytes, or as it stands where it is a count. `Active(anon)`
/// is named `Active_anon_bytes`.
fn parse(line: &[u8]) -> Option<(String, u64)> {
    let (name, rest) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let name = name.trim().replace('(', "_").replace(')', "");
    let mut words = rest.split_whitespace();
    let number = text::number(words.next()?.as_bytes())?;
    match words.next() {
        Some(_kb) => Some((format!("{name}_bytes"), number.checked_mul(1024)?)),
        None => Some((name, number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_and_counted_in_bytes() {
        let field = |line: &str| parse(line.as_bytes());
        assert_eq!(field("MemTotal:       10 kB"), Some(("MemTotal_bytes".to_owned(), 10_240)));
        assert_eq!(field("Active(anon):   1 kB"), Some(("Active_anon_bytes".to_owned(), 1024)));
        assert_eq!(field("HugePages_Total:       3"), Some(("HugePages_Total".to_owned(), 3)));
        for odd in ["", "MemTotal", "MemTotal:", "MemTotal: x kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(field(odd), None, "{odd:?}");
        }
    }
}
