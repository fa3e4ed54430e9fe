//! TLS for what others ask of this program and for what it asks of others: versions, ciphers, and the files with
//! certificates, keys and tokens.
//!
//! TLS 1.2 and 1.3, with the suites that rustls holds to be safe; older versions are not built in. The files are
//! read through [`crate::config::Configuration::read_file`], which names the key in each fault and has the file
//! watched: one that changes is taken up as a changed configuration is.

pub mod faults;
pub mod files;
pub(crate) mod own;
pub mod secrets;
pub mod validity;

use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

/// The versions that are spoken.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What computes: ring, the one provider that is built in.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
