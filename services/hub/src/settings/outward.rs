//! How the hub meets whom it asks and whom it posts to: over TLS or not, whom it trusts, as whom it comes.

use std::path::Path;

use agent::config::{ConfigError, Configuration, Named};
use agent::tls::files;
use agent::tls::secrets::{self, Secret};
use agent::tls::validity::Validity;
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;

use crate::client::Tls;
use crate::target::Target;

/// The keys of one direction.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) section: &'static str,
    pub(super) ca_file: &'static str,
    pub(super) certificate_file: &'static str,
    pub(super) key_file: &'static str,
    pub(super) token_file: &'static str,
}

/// The files as they are written there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    pub(super) ca: Option<&'a str>,
    pub(super) certificate: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) token: Option<&'a str>,
}

/// One direction, as it is in force.
#[derive(Clone, Debug)]
pub struct Outward {
    /// Whose certificates are trusted; `None`: the public authorities that the system knows.
    pub ca: Option<Named>,
    /// The certificate that is shown to whoever wants to see one.
    pub certificate: Option<Named>,
    /// Its key.
    pub key: Option<Named>,
    /// The file of the token.
    pub token_file: Option<Named>,
    /// When the certificate counts, where anybody is met over TLS.
    pub validity: Option<Validity>,
    /// What all this makes of a connection, where any is made over TLS.
    pub tls: Option<Tls>,
    /// What is sent as bearer token.
    pub token: Option<Secret>,
}

/// The same files, with the same in them, for the same purpose.
impl PartialEq for Outward {
    fn eq(&self, other: &Self) -> bool {
        let files = |of: &Self| [&of.ca, &of.certificate, &of.key, &of.token_file].map(Clone::clone);
        files(self) == files(other) && self.tls.is_some() == other.tls.is_some()
    }
}

impl Outward {
    /// Plain HTTP, and nothing that tells who comes.
    pub const PLAIN: Self = Self {
        ca: None,
        certificate: None,
        key: None,
        token_file: None,
        validity: None,
        tls: None,
        token: None,
    };

    /// The files that are named, by key.
    pub(super) fn files<'a>(&'a self, keys: &Keys) -> impl Iterator<Item = (&'static str, &'a Path)> {
        let of_tls = [
            (keys.ca_file, &self.ca),
            (keys.certificate_file, &self.certificate),
            (keys.key_file, &self.key),
        ];
        let all = of_tls.into_iter().chain([(keys.token_file, &self.token_file)]);
        all.filter_map(|(key, file)| Some((key, file.as_ref()?.path.as_path())))
    }

    /// What is odd about how `met` are met, one sentence each; `tls` is the key that has it be over TLS.
    pub(super) fn warnings<'a>(
        &self,
        keys: &Keys,
        tls: &str,
        met: impl Iterator<Item = &'a Target>,
    ) -> impl Iterator<Item = String> {
        let section = keys.section;
        let over_http: Vec<&Target> = met.filter(|target| target.tls.is_none()).collect();
        let readable = self.token.as_ref().and(over_http.first()).map(|first| {
            let others = match over_http.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} others"),
            };
            let key = keys.token_file;
            format!(
                "section {section}: {key} is sent to {first}{others} over plain HTTP, where everybody on the way \
                 can read it; set {tls}: true"
            )
        });
        let unused = self.files(keys).find(|(key, _)| self.tls.is_none() && *key != keys.token_file);
        let unused = unused.map(|(key, _)| {
            format!(
                "section {section}: {key} counts for nothing while all goes over plain HTTP; set {tls}: true"
            )
        });
        let late =
            self.validity.and_then(|validity| validity.warning(keys.certificate_file, UnixTime::now()));
        let late = late.map(|late| format!("section {section}: {late}"));
        readable.into_iter().chain(unused).chain(late)
    }

    /// Reads and judges the files of one direction. `over_tls` says whether anybody is met over TLS.
    pub(super) fn read(
        configuration: &Configuration,
        keys: &Keys,
        files: Files<'_>,
        over_tls: bool,
    ) -> Result<Self, ConfigError> {
        let section = keys.section;
        let fault = |key: &str, words: String| configuration.fault_in(section, key, words);
        let ca = read(configuration, section, keys.ca_file, files.ca, files::authorities)?;
        let certificate =
            read(configuration, section, keys.certificate_file, files.certificate, files::certificates)?;
        let key = read(configuration, section, keys.key_file, files.key, files::private_key)?;
        let token = read(configuration, section, keys.token_file, files.token, secrets::tokens)?;
        let (roots, ca) = ca.unzip();
        let validity = certificate.as_ref().filter(|_| over_tls).and_then(|(chain, _)| Validity::of(chain));
        let (identity, certificate, key) = match (certificate, key) {
            (Some((certificates, certificate)), Some((secret, key))) => {
                (Some((certificates, secret)), Some(certificate), Some(key))
            }
            (None, None) => (None, None, None),
            (Some(_), None) => {
                return Err(fault(
                    keys.key_file,
                    format!("missing; {} needs its key", keys.certificate_file),
                ));
            }
            (None, Some(_)) => {
                return Err(fault(
                    keys.certificate_file,
                    format!("missing; {} needs its certificate", keys.key_file),
                ));
            }
        };
        let tls = if over_tls {
            let roots = match roots {
                Some(roots) => roots,
                None => public().map_err(|words| fault(keys.ca_file, words))?,
            };
            let tls = Tls::new(roots, identity).map_err(|error| {
                let words = format!("{error}; a certificate is expected, and in {} its key", keys.key_file);
                fault(keys.certificate_file, words)
            })?;
            Some(tls)
        } else {
            None
        };
        let (tokens, token_file) = token.unzip();
        let token = tokens.and_then(|tokens| tokens.into_iter().next());
        Ok(Self { ca, certificate, key, token_file, validity, tls, token })
    }
}

/// What a file holds that a key may name; an empty text names none.
fn read<T>(
    configuration: &Configuration,
    section: &'static str,
    key: &str,
    written: Option<&str>,
    parse: impl FnOnce(&[u8]) -> Result<T, files::Fault>,
) -> Result<Option<(T, Named)>, ConfigError> {
    let written = written.filter(|written| !written.trim().is_empty());
    written.map(|written| configuration.read_file(section, key, written, parse)).transpose()
}

/// The authorities that the system trusts.
fn public() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "missing, and this system knows no public authority (an image without a system has none): \
                    name a PEM file with the authorities that are trusted"
                .to_owned(),
        );
    }
    Ok(roots)
}
