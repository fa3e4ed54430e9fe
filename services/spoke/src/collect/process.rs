//! How many processes there are: the entries of `<proc>` that are numbers.

use agent::post::DataType;

use super::{Context, Points};
use crate::host::HostError;

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let mut count = 0_u64;
    context.files.list_proc(|name| count += u64::from(is_number(name)))?;
    points.host("process_count", DataType::Gauge, count);
    Ok(())
}

fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}
