//! Bearer tokens: what a file holds, what is sent, and what is compared.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::files::Fault;

/// The shortest token, in characters. Whoever may guess needs longer than the network lets him.
const LEAST_CHARACTERS: usize = 16;

/// The longest token, in characters: it has to fit into a request's headers.
const MOST_CHARACTERS: usize = 1024;

/// The most tokens that a file may hold. Each is compared with what a request says.
const MOST_TOKENS: usize = 64;

/// A text that nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// The tokens of a file: one a line, in its order; empty lines and those that begin with `#` are comments.
///
/// # Errors
/// There is none, there are too many, or one is too short, too long or not of visible ASCII. The fault names the
/// line and never what it holds.
pub fn tokens(content: &[u8]) -> Result<Vec<Secret>, Fault> {
    let mut found = Vec::new();
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let fault = |words: String| Fault(format!("line {}: {words}", at + 1));
        if !line.iter().all(u8::is_ascii_graphic) {
            return Err(fault("a token of visible ASCII characters is expected, one a line".to_owned()));
        }
        if !(LEAST_CHARACTERS..=MOST_CHARACTERS).contains(&line.len()) {
            return Err(fault(format!(
                "a token of {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters is expected, such as `openssl rand -hex 32` prints"
            )));
        }
        if found.len() == MOST_TOKENS {
            return Err(fault(format!("at most {MOST_TOKENS} tokens are expected")));
        }
        // Of visible ASCII, as was seen.
        found.push(Secret(String::from_utf8_lossy(line).into()));
    }
    if found.is_empty() {
        return Err(Fault::new(
            "holds no token; one a line is expected, such as `openssl rand -hex 32` prints",
        ));
    }
    Ok(found)
}

/// The tokens that are accepted. Only their SHA-256 is kept: they are in no dump of the memory, and the time that a
/// comparison takes tells nothing of them, their length included.
#[derive(Clone)]
pub struct Accepted(Box<[[u8; 32]]>);

impl Accepted {
    /// Any of these tokens.
    pub fn new(tokens: &[Secret]) -> Self {
        Self(tokens.iter().map(|token| Sha256::digest(token.expose()).into()).collect())
    }

    /// Whether `given` is one of them. Takes as long whichever it is.
    pub fn takes(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(&given)).into()
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "another-token_of.some~length+/=";

    #[test]
    fn a_file_holds_tokens_and_comments() {
        let content = format!("# the old one\n{ONE}\n\n  # the new one\r\n  {TWO}\r\n");
        let all = tokens(content.as_bytes()).unwrap();
        assert_eq!(all.iter().map(Secret::expose).collect::<Vec<_>>(), [ONE, TWO]);
        let accepted = Accepted::new(&all);
        assert!(accepted.takes(ONE.as_bytes()) && accepted.takes(TWO.as_bytes()));
        for other in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!accepted.takes(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_is_no_token_is_named_by_its_line_and_not_told() {
        let many = format!("{ONE}\n").repeat(MOST_TOKENS + 1);
        for (content, line) in [
            ("", None),
            ("# none\n\n", None),
            ("# short\nsecret-too-shor\n", Some("line 2:")),
            ("secret with a space in it\n", Some("line 1:")),
            ("secretsecretsecret\u{e9}\n", Some("line 1:")),
            (&"secret".repeat(200), Some("line 1:")),
            (&many, Some("line 65:")),
        ] {
            let fault = tokens(content.as_bytes()).unwrap_err().to_string();
            assert!(fault.starts_with(line.unwrap_or("holds no token")), "{fault}");
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn nothing_prints_them() {
        let all = tokens(ONE.as_bytes()).unwrap();
        assert!(!format!("{all:?} {:?}", Accepted::new(&all)).contains(ONE));
    }
}
