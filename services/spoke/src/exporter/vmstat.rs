//! Paging, from `<proc>/vmstat`: of its hundreds of fields those that node_exporter shows.

use super::page::Kind;
use super::{Done, Round};
use crate::collect::text;

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    for line in text::lines(&files.proc("vmstat")?) {
        let Some((name, rest)) = text::first_word(line) else { continue };
        let Some(field) = known.vmstat.get(name, shown) else { continue };
        if let Some(number) = text::number(rest.trim_ascii()) {
            let help = format!("{field} of /proc/vmstat.");
            page.one(&format!("node_vmstat_{field}"), Kind::Untyped, &help, number);
        }
    }
    Ok(())
}

/// node_exporter's `^(oom_kill|pgpg|pswp|pg.*fault).*`.
fn shown(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let begins = ["oom_kill", "pgpg", "pswp"].iter().any(|start| name.starts_with(start));
    let fault = name.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"));
    (begins || fault).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_node_exporters() {
        let all = ["oom_kill", "pgpgin", "pswpout", "pgfault", "pgmajfault", "pgfault_a", "pg_x_fault"];
        assert!(all.iter().all(|name| shown(name.as_bytes()).is_some()));
        let none =
            ["nr_free_pages", "fault", "thp_fault_alloc", "pgalloc_dma", "numa_pte_updates", "pgsteal"];
        assert!(none.iter().all(|name| shown(name.as_bytes()).is_none()));
    }
}
