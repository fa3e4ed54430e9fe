//! Why a handshake failed, in words that name the way out.

use std::io;

use rustls::client::verify_server_cert_signed_by_trust_anchor as verify;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, PeerIncompatible, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::provider;

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

/// What is wrong with the time for which a certificate of one's own is made, in words. The other side says of it at most
/// that it is bad.
pub(crate) fn out_of_date(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = provider().signature_verification_algorithms.all;
    // Its time is judged first; then there is nobody who could have signed it, or another fault, which is not told here.
    match verify(&certificate, &RootCertStore::empty(), &[], now, algorithms) {
        Err(Error::InvalidCertificate(
            reason @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        )) => Some(of_a_certificate(&reason)),
        _ => None,
    }
}

fn of_a_certificate(reason: &CertificateError) -> String {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::files::certificates;
    use super::super::files::tests::made;
    use super::*;

    #[test]
    fn a_certificate_of_ones_own_counts_from_a_time_to_a_time() {
        let [own, between] = &certificates(&made("chain.pem")).unwrap()[..] else { panic!("two are in it") };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        // Made in 2026 for a hundred years.
        for certificate in [own, between] {
            assert_eq!(out_of_date(certificate, at(1_700_000_000)).as_deref(), Some("is not valid yet"));
            assert_eq!(out_of_date(certificate, at(2_000_000_000)), None);
            assert_eq!(out_of_date(certificate, at(5_000_000_000)).as_deref(), Some("has expired"));
        }
        assert_eq!(out_of_date(&CertificateDer::from_slice(b"none"), at(0)), None);
    }
}
