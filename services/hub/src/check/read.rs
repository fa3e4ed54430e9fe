//! JSON, token by token, as Python's `json` reads it: `NaN`, `Infinity` and `-Infinity` are numbers, a lone
//! surrogate is a character. No recursion and no tree: the memory used is a byte for each open bracket.

use std::borrow::Cow;

/// A piece of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// The name of a member; its value comes next.
    Key(Text<'a>),
    String(Text<'a>),
    /// A number as it is written.
    Number(&'a str),
    Nan,
    /// `Infinity` or `-Infinity`.
    Infinity,
    /// `true` or `false`.
    Bool,
    Null,
}

/// A text between quotes, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a> {
    written: &'a str,
    escaped: bool,
}

/// This is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

/// What may stand at the next place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

/// Reads a text from front to end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Open>,
    expected: Expected,
}

type Read<'a> = Result<Token<'a>, NotJson>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new(), expected: Expected::Value }
    }

    /// How many brackets are open, the one just read included.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// How many bytes are not read yet.
    pub(super) fn left(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    /// The next token, `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, NotJson> {
        self.skip_space();
        if self.expected == Expected::CommaOrEnd {
            let Some(open) = self.open.last() else {
                return if self.peek().is_none() { Ok(None) } else { Err(NotJson) };
            };
            if self.peek() != Some(b',') {
                return self.end().map(Some);
            }
            self.expected = if *open == Open::Object { Expected::Key } else { Expected::Value };
            self.at += 1;
            self.skip_space();
        }
        let next = self.peek().ok_or(NotJson)?;
        let token = match (self.expected, next) {
            (Expected::KeyOrEnd, b'}') | (Expected::ValueOrEnd, b']') => self.end(),
            (Expected::Key | Expected::KeyOrEnd, _) => self.key(),
            _ => self.value(next),
        };
        token.map(Some)
    }

    /// Reads the items of a list that has just begun, as long as they are plain ids: the usual case, in one go. What
    /// comes then is the next token.
    pub(super) fn plain_ids(&mut self, ids: &mut Vec<u32>) {
        let mut at = self.at;
        while let Some((id, length)) = digits(self.bytes_from(at)) {
            at += length;
            let next = self.bytes_from(at).first();
            if !matches!(next, Some(b',' | b']')) {
                return;
            }
            let last = next == Some(&b']');
            ids.push(id);
            self.go_on_at(at);
            if last {
                return;
            }
            at += 1;
        }
    }

    /// The next member of an object that has begun, where it is written as usual and is a list of two:
    /// `"7":["key","text"]`, or with a short number for the text. Where it is anything else, nothing is read.
    pub(super) fn plain_pair(&mut self) -> Option<(u32, Text<'a>, Token<'a>)> {
        let comma = match self.expected {
            Expected::KeyOrEnd => 0,
            Expected::CommaOrEnd if self.peek() == Some(b',') => 1,
            _ => return None,
        };
        let mut at = self.at + comma;
        let pass = |at: &mut usize, what: &[u8]| {
            let there = self.bytes_from(*at).starts_with(what);
            *at += what.len();
            there.then_some(())
        };
        pass(&mut at, b"\"")?;
        let (id, length) = digits(self.bytes_from(at))?;
        at += length;
        pass(&mut at, b"\":[\"")?;
        let key = self.plain_text(&mut at)?;
        pass(&mut at, b",")?;
        let value = if pass(&mut at.clone(), b"\"").is_some() {
            at += 1;
            Token::String(self.plain_text(&mut at)?)
        } else {
            let rest = self.text.get(at..)?;
            let length = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'.'))?;
            let number = rest.get(..length)?;
            // What JSON and Python read differently is left to the long way.
            let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let plain = (1..300).contains(&number.len()) && !whole.is_empty() && !fraction.is_empty();
            if !plain || fraction.contains('.') || (whole.len() > 1 && whole.starts_with('0')) {
                return None;
            }
            at += length;
            Token::Number(number)
        };
        pass(&mut at, b"]")?;
        self.go_on_at(at);
        Some((id, key, value))
    }

    /// The text that has begun at `at`, if it has no escape; `at` is behind its end then.
    fn plain_text(&self, at: &mut usize) -> Option<Text<'a>> {
        let rest = self.text.get(*at..)?;
        let length = plain_length(rest.as_bytes());
        if rest.as_bytes().get(length) != Some(&b'"') {
            return None;
        }
        *at += length + 1;
        Some(Text { written: rest.get(..length)?, escaped: false })
    }

    /// A value ends before `at`.
    fn go_on_at(&mut self, at: usize) {
        self.at = at;
        self.expected = Expected::CommaOrEnd;
    }

    fn bytes_from(&self, at: usize) -> &'a [u8] {
        self.text.as_bytes().get(at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Read<'a> {
        let token = match (self.open.pop(), self.peek()) {
            (Some(Open::Object), Some(b'}')) => Token::ObjectEnd,
            (Some(Open::Array), Some(b']')) => Token::ArrayEnd,
            _ => return Err(NotJson),
        };
        self.at += 1;
        self.expected = Expected::CommaOrEnd;
        Ok(token)
    }

    fn key(&mut self) -> Read<'a> {
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(NotJson);
        }
        self.at += 1;
        self.expected = Expected::Value;
        Ok(Token::Key(key))
    }

    fn value(&mut self, first: u8) -> Read<'a> {
        if let b'{' | b'[' = first {
            self.at += 1;
            let (open, expected, token) = match first {
                b'{' => (Open::Object, Expected::KeyOrEnd, Token::ObjectStart),
                _ => (Open::Array, Expected::ValueOrEnd, Token::ArrayStart),
            };
            self.open.push(open);
            self.expected = expected;
            return Ok(token);
        }
        let token = match first {
            b'"' => Token::String(self.string()?),
            b't' => self.word("true", Token::Bool)?,
            b'f' => self.word("false", Token::Bool)?,
            b'n' => self.word("null", Token::Null)?,
            b'N' => self.word("NaN", Token::Nan)?,
            b'I' => self.word("Infinity", Token::Infinity)?,
            _ => self.number()?,
        };
        self.expected = Expected::CommaOrEnd;
        Ok(token)
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Read<'a> {
        if !self.rest().starts_with(word) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(token)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn number(&mut self) -> Read<'a> {
        let begin = self.at;
        self.skip(b'-');
        if self.at > begin && self.peek() == Some(b'I') {
            return self.word("Infinity", Token::Infinity);
        }
        // A leading zero stands alone: what follows it is no part of the number.
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        self.text.get(begin..self.at).map(Token::Number).ok_or(NotJson)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(NotJson) }
    }

    fn string(&mut self) -> Result<Text<'a>, NotJson> {
        if !self.skip(b'"') {
            return Err(NotJson);
        }
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_length(self.bytes_from(self.at));
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(NotJson),
            }
        }
        let written = self.text.get(begin..self.at).ok_or(NotJson)?;
        self.at += 1;
        Ok(Text { written, escaped })
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        let kind = self.peek().ok_or(NotJson)?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(NotJson)?;
                self.at += 4;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(NotJson) }
            }
            _ => Err(NotJson),
        }
    }
}

/// A whole number as ids are written, up to nine digits, and how many those are.
fn digits(text: &[u8]) -> Option<(u32, usize)> {
    let length = text.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    let zero_before = length > 1 && text.first() == Some(&b'0');
    if !(1..10).contains(&length) || zero_before {
        return None;
    }
    let id = text.iter().take(length).fold(0, |id, digit| id * 10 + u32::from(digit - b'0'));
    Some((id, length))
}

/// How many bytes there are before the first quote, backslash or control character. Eight are looked at at once: in each
/// word of eight, the lowest byte that is marked is one of them.
fn plain_length(text: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 255;
    let below = |word: u64, bound: u64| word.wrapping_sub(EACH * bound) & !word & (EACH << 7);
    let is = |word: u64, byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = is(word, b'"') | is(word, b'\\') | below(word, 0x20);
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0..0x20);
    text.len() - rest.len() + rest.iter().take_while(plain).count()
}

impl<'a> Text<'a> {
    /// Whether both are one text, however they are written.
    pub(super) fn same(self, other: Self) -> bool {
        self == other || self.decode() == other.decode()
    }

    /// The text without escapes; `None` where it holds a lone surrogate, which no text can.
    pub(super) fn decode(self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.written));
        }
        let mut units = Vec::with_capacity(self.written.len());
        let mut rest = self.written;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            units.extend(plain.encode_utf16());
            let kind = escaped.chars().next()?;
            rest = escaped.get(1..)?;
            units.push(match kind {
                'b' => 8,
                'f' => 12,
                'n' => 10,
                'r' => 13,
                't' => 9,
                'u' => {
                    let unit = u16::from_str_radix(rest.get(..4)?, 16).ok()?;
                    rest = rest.get(4..)?;
                    unit
                }
                other => u16::try_from(u32::from(other)).ok()?,
            });
        }
        units.extend(rest.encode_utf16());
        String::from_utf16(&units).ok().map(Cow::Owned)
    }
}
