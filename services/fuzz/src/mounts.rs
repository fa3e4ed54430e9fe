//! Mounts: `mounts`, mountinfo and the control groups' list, as the kernel writes them or anything else.
//!
//! What the kernel escapes is read back byte for byte; every line is read as a second, plain reading has it; and a mount counts
//! as seen only where the last lines of its point, on both sides, name the same device and root.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use spoke::fuzzing::{find_groups, mount, mounts_seen_alike};

/// Reads `data` as all of them: its first byte tells where one text ends and the other begins.
pub fn run(data: &[u8]) {
    let Some((at, data)) = data.split_first() else { return };
    let (theirs, ours) = data.split_at(data.len() * usize::from(*at) / 256);
    for line in data.split(|byte| *byte == b'\n') {
        let fields: Vec<_> =
            line.split(|byte| b" \t".contains(byte)).filter(|field| !field.is_empty()).take(4).collect();
        let plain = <[&[u8]; 4]>::try_from(fields).ok().map(|fields| fields.map(unescaped));
        assert_eq!(mount(line), plain, "{:?}", String::from_utf8_lossy(line));
    }
    reads_back(data);
    seen(theirs, ours, "/host");
    seen(theirs, theirs, "/");
    find_groups(theirs, ours);
}

/// Three octal digits behind a backslash, of four bytes only.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < field.len() {
        let digits = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let byte = match digits {
            Some(b"040") => Some(b' '),
            Some(b"011") => Some(b'\t'),
            Some(b"012") => Some(b'\n'),
            Some(b"134") => Some(b'\\'),
            _ => None,
        };
        out.push(byte.unwrap_or(field[at]));
        at += if byte.is_some() { 4 } else { 1 };
    }
    out
}

/// As the kernel writes a name (`mangle`).
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend(format!("\\{byte:03o}").bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

fn reads_back(name: &[u8]) {
    if name.is_empty() {
        return;
    }
    let mut line = b"/dev/vda ".to_vec();
    line.extend(escaped(name));
    line.extend(b" ext4 rw 0 0");
    let [device, point, fstype, options] = mount(&line).unwrap();
    assert_eq!((&*device, &*point, &*fstype, &*options), (&b"/dev/vda"[..], name, &b"ext4"[..], &b"rw"[..]));
}

/// Device and root of the last line of each mount point.
fn points(mountinfo: &[u8]) -> HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
    let mut found = HashMap::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).collect();
        if let [_, _, device, root, point, ..] = fields[..] {
            found.insert(unescaped(point), (device.to_vec(), unescaped(root)));
        }
    }
    found
}

fn seen(theirs: &[u8], ours: &[u8], root: &str) {
    let (theirs_at, ours_at) = (points(theirs), points(ours));
    for point in mounts_seen_alike(theirs, ours, Path::new(root)) {
        let below = Path::new(OsStr::from_bytes(&point)).strip_prefix("/").expect("only what begins with /");
        let path = Path::new(root).join(below).into_os_string().into_vec();
        let path = if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(&path) } else { &path };
        assert!(ours_at.contains_key(path), "{point:?}");
        assert_eq!(ours_at.get(path), theirs_at.get(&point), "{point:?}");
    }
}
