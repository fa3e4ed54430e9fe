//! Why somebody is not answered: one closed list, which is the metric's label and the log's word.

/// Why a connection or a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken: the slowest connection went.
    Connections,
    /// The address has its share: its slowest connection went, or the new one.
    AddressConnections,
    /// `allow_from` does not have the address.
    Address,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    SlowHandshake,
    /// The headers took too long.
    SlowHeaders,
    /// The body took too long.
    SlowBody,
    /// The answer was not taken in time.
    SlowReader,
    /// A request that is none.
    Malformed,
    /// The URL is too long.
    Url,
    /// The headers are too large.
    Headers,
    /// The body is too large.
    Body,
    /// No certificate was shown.
    Certificate,
    /// No token was given, or a wrong one.
    Token,
    /// `Host` names what this program is not.
    Host,
    /// Too many requests at the same time.
    Requests,
    /// Too much memory in use for what is under way.
    Memory,
}

impl Refusal {
    pub(super) const ALL: [Self; 17] = [
        Self::Connections,
        Self::AddressConnections,
        Self::Address,
        Self::Handshake,
        Self::SlowHandshake,
        Self::SlowHeaders,
        Self::SlowBody,
        Self::SlowReader,
        Self::Malformed,
        Self::Url,
        Self::Headers,
        Self::Body,
        Self::Certificate,
        Self::Token,
        Self::Host,
        Self::Requests,
        Self::Memory,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::AddressConnections => "address_connections",
            Self::Address => "address",
            Self::Handshake => "handshake",
            Self::SlowHandshake => "slow_handshake",
            Self::SlowHeaders => "slow_headers",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::Malformed => "malformed",
            Self::Url => "url",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Host => "host",
            Self::Requests => "requests",
            Self::Memory => "memory",
        }
    }

    /// What it means, and which key is behind it.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Connections => "as many connections as max_connections allows: the slowest was closed",
            Self::AddressConnections => {
                "as many connections from this address as max_connections_per_address allows: the slowest was closed"
            }
            Self::Address => "the address is not in allow_from",
            Self::Handshake => "the TLS handshake failed",
            Self::SlowHandshake => "the TLS handshake took longer than handshake_timeout",
            Self::SlowHeaders => "the headers took longer than header_timeout",
            Self::SlowBody => "the body took longer than body_timeout",
            Self::SlowReader => "the answer was not taken within body_timeout",
            Self::Malformed => "a request that cannot be read",
            Self::Url => "a URL longer than max_url_bytes",
            Self::Headers => "headers larger than max_header_bytes",
            Self::Body => "a body that is too large",
            Self::Certificate => "no client certificate was shown, and tls_client_ca_file wants one",
            Self::Token => "no bearer token of tokens_file was given",
            Self::Host => "Host names what is not in allowed_hosts",
            Self::Requests => "as many requests at the same time as max_requests allows",
            Self::Memory => "as much memory for what is under way as max_in_flight_bytes allows",
        }
    }
}
