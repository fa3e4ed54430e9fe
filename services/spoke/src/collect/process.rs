//! How many processes there are: the entries of `<proc>` that are numbers.

use agent::post::DataType;

use super::{Context, Points};
use crate::host::HostError;

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let (mut count, mut first) = (0_u64, false);
    context.files.list_proc(|name| {
        count += u64::from(is_number(name));
        first |= name == b"1";
    })?;
    // Where the first process is hidden, those of other users are, and the count is of our own.
    if !first && context.files.hides_processes() {
        return Err(HostError::Hidepid { path: context.files.host().proc.clone() });
    }
    points.host("process_count", DataType::Gauge, count);
    Ok(())
}

fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}
