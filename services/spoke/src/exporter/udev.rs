//! What udev found out about a disk, from `<root>/run/udev/data`.

use std::collections::HashMap;

use crate::collect::text;
use crate::host::HostRoot;

/// The properties of a disk; those that nobody knows are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(HashMap<String, String>);

/// Those that are shown. A disk has dozens.
const USED: [&str; 20] = [
    "DM_LV_LAYER",
    "DM_LV_NAME",
    "DM_NAME",
    "DM_UUID",
    "DM_VG_NAME",
    "ID_ATA",
    "ID_ATA_ROTATION_RATE_RPM",
    "ID_ATA_WRITE_CACHE",
    "ID_ATA_WRITE_CACHE_ENABLED",
    "ID_FS_TYPE",
    "ID_FS_USAGE",
    "ID_FS_UUID",
    "ID_FS_VERSION",
    "ID_MODEL",
    "ID_PATH",
    "ID_REVISION",
    "ID_SERIAL",
    "ID_SERIAL_SHORT",
    "ID_WWN",
    "SCSI_IDENT_SERIAL",
];

impl Properties {
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// The first that is known.
    pub(super) fn first(&self, names: &[&str]) -> &str {
        names.iter().map(|name| self.get(name)).find(|value| !value.is_empty()).unwrap_or("")
    }
}

/// Of the device of that major and minor number. A host without udev has none.
pub(super) fn read(host: &HostRoot, (major, minor): (u64, u64)) -> Properties {
    let file = host.root.join(format!("run/udev/data/b{major}:{minor}"));
    parse(&std::fs::read(file).unwrap_or_default())
}

fn parse(bytes: &[u8]) -> Properties {
    let property = |line: &[u8]| {
        let line = text::printable(line.strip_prefix(b"E:")?);
        let (name, value) = line.split_once('=')?;
        USED.contains(&name).then(|| (name.to_owned(), value.to_owned()))
    };
    Properties(text::lines(bytes).filter_map(property).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_properties_are_read() {
        let found = parse(
            b"S:disk/by-id/x\nE:ID_MODEL=A=B\nE:ID_SERIAL=s\xff\nI:1\nE:ID_ATA\nE:OTHER=1\nE:ID_PATH=\n",
        );
        assert_eq!((found.get("ID_MODEL"), found.get("OTHER")), ("A=B", ""));
        assert_eq!(found.first(&["ID_SERIAL_SHORT", "ID_SERIAL"]), "s\\xff");
        assert!(!found.has("ID_PATH") && !found.has("ID_ATA"));
    }
}
