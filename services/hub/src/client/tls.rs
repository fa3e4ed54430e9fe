//! TLS of the one who asks: whom it trusts, as whom it comes, and what can be wrong.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent::tls::{VERSIONS, provider};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, PeerIncompatible, RootCertStore};

/// How long sessions are resumed. A resumed one does not look at the certificate again, which may have expired.
const SESSIONS_LAST: Duration = Duration::from_secs(3600);

/// Whom one direction trusts and as whom it comes. Clones share the sessions.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Mutex<(Arc<ClientConfig>, Instant)>>);

/// A certificate, with those that signed it, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Tls {
    /// Trusts what `roots` have signed, and shows `identity` to whoever wants to see one.
    ///
    /// # Errors
    /// The certificate cannot be used, or the key is another's.
    pub(crate) fn new(roots: RootCertStore, identity: Option<Identity>) -> Result<Self, Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots);
        let config = match identity {
            Some((certificates, key)) => builder.with_client_auth_cert(certificates, key)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(Mutex::new((Arc::new(config), Instant::now())))))
    }

    /// What a connection is made with.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.elapsed() > SESSIONS_LAST {
            let mut fresh = ClientConfig::clone(&kept.0);
            fresh.resumption = Resumption::default();
            *kept = (Arc::new(fresh), Instant::now());
        }
        Arc::clone(&kept.0)
    }
}

/// What is wrong between the hub and whom it meets over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// The certificate is of nobody who is trusted.
    UnknownIssuer,
    /// The certificate was good once.
    Expired,
    /// The certificate will be good.
    NotYetValid,
    /// The certificate is good and another's.
    WrongName,
    /// The certificate is no good for another reason.
    BadCertificate,
    /// The other side wants a certificate, and was shown none.
    CertificateWanted,
    /// The other side does not take the certificate that it was shown.
    CertificateRefused,
    /// The other side speaks no version that is spoken here.
    Version,
    /// The other side speaks no TLS.
    NoTls,
    /// The other side finds nothing that both can do; where TLS 1.2 is spoken, a certificate that it was not shown is
    /// told so, too.
    NoAgreement,
    /// The handshake ended without a better reason.
    Handshake,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::UnknownIssuer => "its certificate is of an unknown issuer",
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::WrongName => "its certificate is for another name",
            Self::BadCertificate => "its certificate cannot be used",
            Self::CertificateWanted => "it wants a client certificate",
            Self::CertificateRefused => "it does not take the client certificate",
            Self::Version => "it speaks neither TLS 1.2 nor 1.3",
            Self::NoTls => "it speaks no TLS",
            Self::NoAgreement => "it wants a client certificate, or ciphers that are not spoken here",
            Self::Handshake => "the handshake was broken off",
        })
    }
}

impl TlsFault {
    /// What is wrong where an error of the connection is one of TLS.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<Error>() {
            Some(error) => Some(Self::of_tls(error)),
            // One wrapped in another shows only what is behind both as its source.
            None => Self::of(inner.downcast_ref()?),
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateRequired => Self::CertificateWanted,
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError => Self::CertificateRefused,
                AlertDescription::ProtocolVersion => Self::Version,
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                    Self::NoAgreement
                }
                _ => Self::Handshake,
            },
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::Version,
            Error::PeerIncompatible(_) => Self::NoAgreement,
            Error::InvalidMessage(_) => Self::NoTls,
            _ => Self::Handshake,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            _ => Self::BadCertificate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_however_it_is_wrapped() {
        let expired = || io::Error::other(Error::InvalidCertificate(CertificateError::Expired));
        assert_eq!(TlsFault::of(&expired()), Some(TlsFault::Expired));
        assert_eq!(TlsFault::of(&io::Error::other(expired())), Some(TlsFault::Expired));
        assert_eq!(TlsFault::of(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(TlsFault::of(&io::Error::other("no")), None);
    }
}
