//! Files that a key of the configuration names: read with a bound, and parsed. A fault says what is wrong with the
//! content and the way out; who reads adds the file and the key.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The largest file that is read, in bytes: several times the bundle of all public authorities.
const MOST_BYTES: u64 = 1 << 20;

/// What is wrong with the content of a file, and the way out, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub(super) String);

impl Fault {
    /// A fault in these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Reads a regular file of at most 1 MiB.
///
/// # Errors
/// It cannot be read, is no file, or is larger.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for somebody to write.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("larger than {MOST_BYTES} bytes")));
    }
    Ok(content)
}

/// The certificates of a PEM file in its order: for a server or a client its own first, then those that signed it.
///
/// # Errors
/// There is none, or one that is no PEM.
pub fn certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let all = CertificateDer::pem_slice_iter(content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Fault(format!("no certificates in PEM form: {error}")))?;
    if all.is_empty() {
        return Err(Fault::new(
            "holds no certificate; a PEM file is expected, with -----BEGIN CERTIFICATE----- in it",
        ));
    }
    Ok(all)
}

/// The private key of a PEM file.
///
/// # Errors
/// There is none that can be read without a password.
pub fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        pem::Error::NoItemsFound => Fault::new(
            "holds no private key; a PEM file without a password is expected, with -----BEGIN PRIVATE KEY----- in it",
        ),
        // The library's words name the kind of fault and never the content.
        other => Fault(format!("no private key in PEM form: {other}")),
    })
}

/// The authorities of a PEM file, each of them trusted.
///
/// # Errors
/// There is none, or one that cannot be trusted for what it says.
pub fn authorities(content: &[u8]) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(content)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            Fault(format!("certificate {} of the file is none that can sign others: {error}", at + 1))
        })?;
    }
    Ok(roots)
}
