//! When a certificate counts that the program shows, to whoever asks or to whom it asks. The other side says of one that
//! counts no more at most that it is bad: so it is told here, and ahead of time.

use prometheus::{IntGaugeVec, Opts, Registry};
use rustls::client::verify_server_cert_signed_by_trust_anchor as verify;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::faults::of_a_certificate;
use super::provider;

const DAY: u64 = 24 * 60 * 60;

/// How long before its end a certificate is warned of, in seconds; less for one that is made for a short time.
const AHEAD: u64 = 14 * DAY;

/// Of the time for which a certificate is made, this part is its end: what renews by itself has renewed it long before.
const END: u64 = 5;

/// Later than any certificate can say, in seconds since 1970: past the year 9999.
const NEVER: u64 = 1 << 40;

/// From when until when a certificate counts, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    begins: u64,
    expires: u64,
}

impl Validity {
    /// Of the first certificate of a file, which is the own one; `None` where it does not tell.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(chain.first()?).ok()?;
        let algorithms = provider().signature_verification_algorithms.all;
        // Its time is judged first, and the fault tells the bound. Behind that there is nobody who could have signed it.
        let judged = |now| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
            verify(&certificate, &RootCertStore::empty(), &[], now, algorithms)
        };
        let begins = match judged(0) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                not_before.as_secs()
            }
            _ => 0,
        };
        match judged(NEVER) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(Self { begins, expires: not_after.as_secs() })
            }
            _ => None,
        }
    }

    /// What a person should know about the certificate that `key` names, at this time.
    pub fn warning(self, key: &str, now: UnixTime) -> Option<String> {
        let now = now.as_secs();
        let refused = |why| format!("{}; the other side will refuse it", of_a_certificate(&why));
        let words = if now < self.begins {
            refused(CertificateError::NotValidYet)
        } else if now > self.expires {
            refused(CertificateError::Expired)
        } else {
            let left = self.expires - now;
            if left >= AHEAD.min((self.expires - self.begins) / END) {
                return None;
            }
            match left / DAY {
                0 => "expires today; renew it".to_owned(),
                1 => "expires in a day; renew it".to_owned(),
                days => format!("expires in {days} days; renew it"),
            }
        };
        Some(format!("{key}: the certificate {words}"))
    }
}

/// The metrics that tell when certificates count, by the key that names the file.
#[derive(Clone, Debug)]
pub struct Certificates {
    begin: IntGaugeVec,
    expire: IntGaugeVec,
}

impl Certificates {
    /// None so far.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help: &str| -> prometheus::Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["key"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            begin: gauge(
                "certificate_not_before_timestamp_seconds",
                "From when the certificate counts that this key names, in seconds since 1970.",
            )?,
            expire: gauge(
                "certificate_not_after_timestamp_seconds",
                "When the certificate expires that this key names, in seconds since 1970.",
            )?,
        })
    }

    /// The certificate that `key` names is this one from now on, or none.
    pub fn show(&self, key: &str, validity: Option<Validity>) {
        let of = |read: fn(&Validity) -> u64| validity.as_ref().map(read);
        for (gauge, value) in [(&self.begin, of(|it| it.begins)), (&self.expire, of(|it| it.expires))] {
            match value {
                Some(value) => gauge.with_label_values(&[key]).set(i64::try_from(value).unwrap_or(i64::MAX)),
                // That there was none is as good.
                None => drop(gauge.remove_label_values(&[key])),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::files::certificates;
    use super::super::files::tests::made;
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn a_certificate_tells_when_it_counts() {
        let chain = certificates(&made("chain.pem")).unwrap();
        let [own, between] = [&chain[..], &chain[1..]].map(|chain| Validity::of(chain).unwrap());
        // Made in 2026 for a hundred years.
        for it in [own, between] {
            assert!((1_767_225_600..1_798_761_600).contains(&it.begins), "{it:?}");
            assert_eq!((it.expires - it.begins) / DAY, 36_500, "{it:?}");
        }
        assert_eq!(Validity::of(&[]), None);
        assert_eq!(Validity::of(&[CertificateDer::from_slice(b"none")]), None);
    }

    #[test]
    fn its_end_is_told_ahead() {
        let told = |it: Validity, now| it.warning("key", at(now));
        let year = Validity { begins: 1_000 * DAY, expires: 1_365 * DAY };
        let words = |text: &str| Some(format!("key: the certificate {text}"));
        assert_eq!(told(year, 1_000 * DAY - 1), words("is not valid yet; the other side will refuse it"));
        assert_eq!(told(year, 1_000 * DAY), None);
        assert_eq!(told(year, 1_351 * DAY), None);
        assert_eq!(told(year, 1_351 * DAY + 1), words("expires in 13 days; renew it"));
        assert_eq!(told(year, 1_364 * DAY), words("expires in a day; renew it"));
        assert_eq!(told(year, 1_365 * DAY), words("expires today; renew it"));
        assert_eq!(told(year, 1_365 * DAY + 1), words("has expired; the other side will refuse it"));
        // One that is made for a day and renewed each night.
        let day = Validity { begins: 1_000 * DAY, expires: 1_001 * DAY };
        assert_eq!(told(day, 1_000 * DAY + DAY / 2), None);
        assert_eq!(told(day, 1_001 * DAY - 3600), words("expires today; renew it"));
    }

    #[test]
    fn the_metrics_are_of_the_certificates_that_are_there() {
        let registry = Registry::new();
        let shown = Certificates::new(&registry).unwrap();
        let values = || {
            let families = registry.gather();
            let values = families.iter().flat_map(|family| family.get_metric());
            values.map(|metric| metric.get_gauge().get_value()).collect::<Vec<_>>()
        };
        assert!(values().is_empty());
        let it = Validity { begins: 5, expires: 7 };
        shown.show("a", Some(it));
        shown.show("b", None);
        let mut found = values();
        found.sort_by(f64::total_cmp);
        assert_eq!(found, [5.0, 7.0]);
        shown.show("a", None);
        assert!(values().is_empty());
    }
}
