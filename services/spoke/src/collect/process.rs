//! How many processes there are: the entries of `<proc>` that are numbers.

use agent::post::DataType;

use super::{Context, Points};
use crate::host::HostError;

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let proc = &context.host.proc;
    let failed = |source| HostError::Read { path: proc.clone(), source };
    let mut count = 0_u64;
    for entry in std::fs::read_dir(proc).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.as_encoded_bytes();
        count += u64::from(!name.is_empty() && name.iter().all(u8::is_ascii_digit));
    }
    points.host("process_count", DataType::Gauge, count);
    Ok(())
}
