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

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Made by openssl; `chain.pem` has the own certificate and the one that signed it, which `authority.pem` signed.
    pub(crate) fn made(name: &str) -> Vec<u8> {
        read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)).unwrap()
    }

    #[test]
    fn what_is_read_is_a_file_and_not_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(folder.path()).unwrap_err().to_string(), "not a file");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "not a file", "and nobody was waited for");
        std::fs::remove_file(&path).unwrap();
        for (bytes, taken) in [(0, true), (1 << 20, true), ((1 << 20) + 1, false)] {
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            assert_eq!(read(&path).is_ok_and(|content| content.len() == bytes), taken, "{bytes}");
        }
        assert_eq!(read(&path).unwrap_err().to_string(), "larger than 1048576 bytes");
    }

    #[test]
    fn certificates_are_those_of_the_file_in_its_order() {
        let chain = made("chain.pem");
        let all = certificates(&chain).unwrap();
        let second = String::from_utf8(chain.clone()).unwrap().rfind("-----BEGIN").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[..1], certificates(&chain[..second]).unwrap());
        assert_eq!(all[1..], certificates(&chain[second..]).unwrap());
        // A key beside it is none of them.
        assert_eq!(certificates(&[made("own.pkcs8.key"), chain.clone()].concat()).unwrap(), all);
        for content in [Vec::new(), b"no certificate".to_vec(), made("own.pkcs8.key")] {
            assert!(certificates(&content).unwrap_err().0.starts_with("holds no certificate"));
        }
        let half = certificates(&chain[..second + 300]).unwrap_err();
        assert!(half.0.starts_with("no certificates in PEM form"), "{half}");
    }

    #[test]
    fn a_private_key_is_taken_in_each_form_without_a_password() {
        let form = |name: &str| match private_key(&made(name)).unwrap() {
            PrivateKeyDer::Pkcs8(_) => "PKCS#8",
            PrivateKeyDer::Pkcs1(_) => "PKCS#1",
            PrivateKeyDer::Sec1(_) => "SEC1",
            _ => "another",
        };
        for (name, expected) in
            [("own.pkcs8.key", "PKCS#8"), ("own.sec1.key", "SEC1"), ("rsa.pkcs1.key", "PKCS#1")]
        {
            assert_eq!(form(name), expected);
            assert!(
                crate::tls::provider()
                    .key_provider
                    .load_private_key(private_key(&made(name)).unwrap())
                    .is_ok()
            );
        }
        for content in [Vec::new(), made("chain.pem"), made("own.encrypted.key")] {
            assert!(private_key(&content).unwrap_err().0.starts_with("holds no private key"));
        }
        let half = private_key(&made("own.pkcs8.key")[..150]).unwrap_err().0;
        assert!(half.starts_with("no private key in PEM form"), "{half}");
        let own = String::from_utf8(made("own.pkcs8.key")).unwrap();
        assert!(!half.contains(own.lines().nth(1).unwrap()), "nothing of it is told: {half}");
    }

    #[test]
    fn authorities_are_all_of_the_file_or_none() {
        let authority = made("authority.pem");
        let twice = [authority.clone(), made("chain.pem")].concat();
        assert_eq!(authorities(&authority).unwrap().len(), 1);
        assert_eq!(authorities(&twice).unwrap().len(), 3);
        let odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let fault = authorities(&[&authority[..], odd].concat()).unwrap_err().0;
        assert!(fault.starts_with("certificate 2 of the file is none that can sign others"), "{fault}");
        assert!(authorities(b"").is_err());
    }
}
