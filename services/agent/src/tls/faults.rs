//! Why a handshake failed, in words that name the way out.

use std::io;

use rustls::{CertificateError, Error, PeerIncompatible};

/// What a failed handshake tells, on either side.
pub fn in_words(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            "the other side ended it".to_owned()
        } else {
            error.to_string()
        };
    };
    match tls {
        Error::NoCertificatesPresented => "the other side shows no certificate".to_owned(),
        Error::InvalidCertificate(reason) => {
            format!("the other side's certificate {}", of_a_certificate(reason))
        }
        // An extension that came with TLS 1.2 is what an older client is found to lack first.
        Error::PeerIncompatible(
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the other side speaks neither TLS 1.2 nor 1.3".to_owned(),
        Error::AlertReceived(alert) => format!("the other side refuses: {alert:?}"),
        Error::InvalidMessage(_) => "what arrives is no TLS; is it plain HTTP?".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn of_a_certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "is signed by no authority that is trusted here".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("is for {}, not for {}", presented.join(", "), expected.to_str())
        }
        CertificateError::Revoked => "is revoked".to_owned(),
        CertificateError::BadSignature => "has a signature that is not its authority's".to_owned(),
        other => format!("is no good: {other}"),
    }
}
