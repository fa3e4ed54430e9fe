//! What is damaged is not removed but given a dated name, for a person to look at, within a bound.

use std::path::Path;

use crate::files::Files;

const PREFIX: &str = "damaged-";

/// The name under which `name` is set aside now: `damaged-20261122T153000Z-0000000a.seg`.
pub(crate) fn dated(now_ms: u64, name: &str) -> String {
    let seconds = now_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{PREFIX}{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{name}")
}

/// Year, month and day of a count of days since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What is set aside, oldest first, and its bytes.
pub(crate) fn list(files: &dyn Files, folder: &Path) -> Vec<(String, u64)> {
    let mut names = files.list(folder).unwrap_or_default();
    names.retain(|name| name.starts_with(PREFIX));
    names.sort_unstable();
    let length = |name: &str| files.open(&folder.join(name), false).and_then(|file| file.len()).unwrap_or(0);
    names.into_iter().map(|name| (length(&name), name)).map(|(bytes, name)| (name, bytes)).collect()
}

/// Removes what was set aside first until at most `keep` bytes are left. The bytes left.
pub(crate) fn trim(files: &dyn Files, folder: &Path, keep: u64) -> u64 {
    let all = list(files, folder);
    let mut left: u64 = all.iter().map(|(_, bytes)| bytes).sum();
    for (name, bytes) in all {
        if left <= keep {
            break;
        }
        if files.remove(&folder.join(&name)).is_ok() {
            tracing::warn!(name, "removed what had been set aside, to make room");
            left -= bytes;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::dated;

    #[test]
    fn dates() {
        assert_eq!(dated(0, "x"), "damaged-19700101T000000Z-x");
        assert_eq!(dated(951_782_400_000, "x"), "damaged-20000229T000000Z-x");
        assert_eq!(dated(1_795_361_400_000, "x"), "damaged-20261122T153000Z-x");
    }
}
