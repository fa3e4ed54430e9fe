//! Who may ask. All of it is off unless configured; what is configured counts together: an address that is allowed,
//! and a certificate, and a token.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use super::hosts::Hosts;
use super::networks::Networks;
use crate::config::keys::{Key, Kind};
use crate::config::{ConfigError, Configuration, Named};
use crate::tls::files::{Fault, authorities, certificates, private_key};
use crate::tls::secrets::{Accepted, tokens};
use crate::tls::validity::Validity;
use crate::tls::{VERSIONS, provider};

/// The keys of both programs' own sections.
pub(super) const KEYS: [Key; 7] = [
    Key::new(
        "tls_certificate_file",
        Kind::Text,
        "PEM file: the certificate with which the program shows itself, then those that signed it; from then on only TLS is spoken, 1.2 or 1.3 (none: plain HTTP)",
    ),
    Key::new("tls_key_file", Kind::Text, "PEM file: the private key of `tls_certificate_file` (none)"),
    Key::new(
        "tls_client_ca_file",
        Kind::Text,
        "PEM file: authorities; who asks needs a certificate that one of them signed (none)",
    ),
    Key::new(
        "tokens_file",
        Kind::Text,
        "file of bearer tokens, one a line, several at once; who asks needs one of them (none)",
    ),
    Key::new(
        "allow_from",
        Kind::Text,
        "addresses and networks that may connect, as `10.0.0.0/8, fd00::/8` (all)",
    ),
    Key::new(
        "allowed_hosts",
        Kind::Text,
        "names that a request's `Host` may give, with commas, `*.example.com` for all below, `*` for any; addresses, `localhost`, the own name and names that no stranger can own always may (any, but for browsers none)",
    ),
    Key::new(
        "health_port",
        Kind::Integer,
        "second port, plain HTTP, that answers `/livez`, `/readyz` and `/healthz` to everybody and nothing else; 0: a free one (none: they are open on the main port)",
    ),
];

/// Who may ask.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// When the certificate counts that is shown.
    pub(super) validity: Option<Validity>,
    /// Whether a certificate of the client's is wanted.
    pub(super) certificates: bool,
    pub(super) tokens: Option<Accepted>,
    pub(super) networks: Option<Networks>,
    pub(super) hosts: Hosts,
    /// Where health is answered apart.
    pub(super) health_port: Option<u16>,
    pub(super) files: Files,
}

/// The files that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    certificate: Option<Named>,
    key: Option<Named>,
    client_ca: Option<Named>,
    tokens: Option<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    tls_certificate_file: Option<String>,
    tls_key_file: Option<String>,
    tls_client_ca_file: Option<String>,
    tokens_file: Option<String>,
    allow_from: Option<String>,
    allowed_hosts: Option<String>,
    health_port: Option<u16>,
}

impl Access {
    /// Reads and judges it, with its files.
    ///
    /// # Errors
    /// A value or a file that does not fit, with its key.
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let reader = Reader { configuration };
        let chain = reader.file("tls_certificate_file", given(written.tls_certificate_file), certificates)?;
        let key = reader.file("tls_key_file", given(written.tls_key_file), private_key)?;
        let client_ca = reader.file("tls_client_ca_file", given(written.tls_client_ca_file), authorities)?;
        let token_file = reader.file("tokens_file", given(written.tokens_file), tokens)?;
        let health_port = written.health_port;
        let mut files = Files::default();
        let certificates = client_ca.is_some();
        let validity = chain.as_ref().and_then(|(chain, _)| Validity::of(chain));
        let tls = match (chain, key, client_ca) {
            (Some((chain, certificate)), Some((key, named)), client_ca) => {
                let (roots, client_ca) = client_ca.unzip();
                let tls =
                    server(chain, key, roots).map_err(|fault| fault.of(configuration, &certificate.path))?;
                files.certificate = Some(certificate);
                files.key = Some(named);
                files.client_ca = client_ca;
                Some(Arc::new(tls))
            }
            (None, None, None) => None,
            (None, Some(_), _) => {
                return Err(configuration
                    .fault("tls_key_file", "tls_certificate_file is missing: give both, or neither"));
            }
            (Some(_), None, _) => {
                return Err(configuration
                    .fault("tls_certificate_file", "tls_key_file is missing: give both, or neither"));
            }
            (None, None, Some(_)) => {
                return Err(configuration.fault(
                    "tls_client_ca_file",
                    "tls_certificate_file and tls_key_file are missing: only over TLS can a client show a certificate",
                ));
            }
        };
        let tokens = token_file.map(|(tokens, named)| {
            files.tokens = Some(named);
            Accepted::new(&tokens)
        });
        let networks = given(written.allow_from)
            .map(|text| Networks::parse(&text).map_err(|words| configuration.fault("allow_from", words)))
            .transpose()?;
        let hosts = Hosts::parse(&written.allowed_hosts.unwrap_or_default())
            .map_err(|words| configuration.fault("allowed_hosts", words))?;
        Ok(Self { tls, validity, certificates, tokens, networks, hosts, health_port, files })
    }

    /// Everybody, in plain HTTP.
    pub(super) fn open() -> Self {
        Self {
            tls: None,
            validity: None,
            certificates: false,
            tokens: None,
            networks: None,
            hosts: Hosts::default(),
            health_port: None,
            files: Files::default(),
        }
    }

    /// Whether this address may connect.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.have(address))
    }

    /// Whether not everybody who reaches the port is answered.
    pub(super) fn is_closed(&self) -> bool {
        self.certificates || self.tokens.is_some() || self.networks.is_some()
    }

    /// Whether tokens travel in the clear.
    pub(super) fn tells_tokens(&self) -> bool {
        self.tokens.is_some() && self.tls.is_none()
    }

    /// Each key that is given, with what it says.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let file = |named: &Option<Named>| named.as_ref().map(|named| named.path.display().to_string());
        let hosts = Some(self.hosts.written()).filter(|text| !text.is_empty());
        [
            ("tls_certificate_file", file(&self.files.certificate)),
            ("tls_key_file", file(&self.files.key)),
            ("tls_client_ca_file", file(&self.files.client_ca)),
            ("tokens_file", file(&self.files.tokens)),
            ("allow_from", self.networks.as_ref().map(Networks::to_string)),
            ("allowed_hosts", hosts),
            ("health_port", self.health_port.map(|port| port.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }

    /// Each key that may change while the program runs, and whether it says something else than in `new`.
    pub(super) fn differences(&self, new: &Self) -> [(&'static str, bool); 6] {
        let (was, is) = (&self.files, &new.files);
        [
            ("tls_certificate_file", was.certificate != is.certificate),
            ("tls_key_file", was.key != is.key),
            ("tls_client_ca_file", was.client_ca != is.client_ca),
            ("tokens_file", was.tokens != is.tokens),
            ("allow_from", self.networks != new.networks),
            ("allowed_hosts", self.hosts != new.hosts),
        ]
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys with the names of their files: nothing of what is in them.
        out.debug_map().entries(self.values()).finish()
    }
}

struct Reader<'a> {
    configuration: &'a Configuration,
}

impl Reader<'_> {
    fn file<T>(
        &self,
        key: &str,
        written: Option<String>,
        parse: impl FnOnce(&[u8]) -> Result<T, Fault>,
    ) -> Result<Option<(T, Named)>, ConfigError> {
        let section = self.configuration.own_section();
        written.map(|path| self.configuration.read_file(section, key, &path, parse)).transpose()
    }
}

/// Why certificate, key and authorities do not go together.
struct Mismatch {
    key: &'static str,
    words: String,
}

impl Mismatch {
    fn of(&self, configuration: &Configuration, certificate: &Path) -> ConfigError {
        configuration.fault(self.key, format!("{} (certificate: {})", self.words, certificate.display()))
    }
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Option<rustls::RootCertStore>,
) -> Result<ServerConfig, Mismatch> {
    let fault = |key, error: &dyn fmt::Display| Mismatch { key, words: error.to_string() };
    let building = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|error| fault("tls_certificate_file", &error))?;
    let building = match client_ca {
        None => building.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            // Who has none may ask for health, and is told of it when asking for more.
            let verifier = verifier.allow_unauthenticated();
            let verifier = verifier.build().map_err(|error| fault("tls_client_ca_file", &error))?;
            building.with_client_cert_verifier(verifier)
        }
    };
    let mut tls = building.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            fault("tls_key_file", &"this is not the key of the certificate; write both before either is looked at, have its own certificate first in its file, or give the right one")
        }
        error => fault("tls_key_file", &error),
    })?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::files::tests::made;

    #[test]
    fn a_key_goes_with_the_first_certificate_of_the_file() {
        let judged = |chain: &[CertificateDer<'static>], key: &str| {
            let roots = authorities(&made("authority.pem")).unwrap();
            let built = server(chain.to_vec(), private_key(&made(key)).unwrap(), Some(roots));
            built.map(drop).map_err(|Mismatch { key, words }| (key, words))
        };
        let chain = certificates(&made("chain.pem")).unwrap();
        for key in ["own.pkcs8.key", "own.sec1.key"] {
            assert_eq!(judged(&chain, key), Ok(()));
            assert_eq!(judged(&chain[..1], key), Ok(()));
        }
        let turned: Vec<_> = chain.iter().rev().cloned().collect();
        for (chain, key) in [(&chain, "rsa.pkcs1.key"), (&turned, "own.pkcs8.key")] {
            let (at, words) = judged(chain, key).unwrap_err();
            assert_eq!(at, "tls_key_file");
            assert!(
                words.contains("not the key of the certificate") && words.contains("first in its file"),
                "{words}"
            );
        }
    }
}
