//! The walk over a body: what a post says, kept small. Of keys that are given twice Python keeps the last, so
//! each part starts anew when its key comes again.

use super::pair::{Pair, Pairs, Value};
use super::read::{NotJson, Reader, Text, Token};
use super::{Reason, number};

type Walked<T> = Result<T, NotJson>;

/// What a body says that is an object.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Which of the four keys stand there.
    pub(super) seen: [bool; 4],
    /// Whether there is a fifth.
    pub(super) other_key: bool,
    pub(super) agent_id: Option<String>,
    pub(super) interval: Option<u64>,
    pub(super) agent_timestamp: Option<u64>,
    pub(super) datapoints: Datapoints<'a>,
}

/// `pattoo_datapoints`.
#[derive(Debug, Default)]
pub(super) struct Datapoints<'a> {
    /// Whether it has keys that do not belong there.
    pub(super) other_key: bool,
    /// `datapoint_pairs`, where that is a list.
    pub(super) rows: Option<Rows>,
    /// `key_value_pairs`, where that is an object.
    pub(super) pairs: Option<Pairs<'a>>,
}

/// The ids of all datapoints, one after the other.
#[derive(Debug, Default)]
pub(super) struct Rows {
    ids: Vec<u32>,
    ends: Vec<usize>,
    /// An entry that is no list, or something in one that is no id.
    pub(super) fault: Option<Reason>,
}

impl Rows {
    /// The ids of each datapoint.
    pub(super) fn each(&self) -> impl Iterator<Item = &[u32]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| self.ids.get(*begin..*end).unwrap_or_default())
    }
}

/// Reads a body, and notes what is bad wherever it stands.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    reader: Reader<'a>,
    pub(super) nan: bool,
    pub(super) infinite: bool,
    pub(super) deepest: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { reader: Reader::new(text), nan: false, infinite: false, deepest: 0 }
    }

    /// The whole body; none where it is JSON and no object.
    pub(super) fn body(&mut self) -> Walked<Option<Found<'a>>> {
        let first = self.next()?;
        let found = if first == Token::ObjectStart {
            Some(self.post()?)
        } else {
            self.value(first)?;
            None
        };
        if self.reader.next()?.is_none() { Ok(found) } else { Err(NotJson) }
    }

    fn post(&mut self) -> Walked<Found<'a>> {
        let mut found = Found::default();
        while let Some((key, first)) = self.member()? {
            let key = key.decode();
            let at = match key.as_deref() {
                Some("pattoo_agent_id") => 0,
                Some("pattoo_agent_polling_interval") => 1,
                Some("pattoo_agent_timestamp") => 2,
                Some("pattoo_datapoints") => 3,
                _ => {
                    found.other_key = true;
                    self.value(first)?;
                    continue;
                }
            };
            if let Some(seen) = found.seen.get_mut(at) {
                *seen = true;
            }
            match at {
                0 => found.agent_id = self.value(first)?.text().and_then(Text::decode).map(Into::into),
                1 => found.interval = self.value(first)?.number().and_then(number::natural),
                2 => found.agent_timestamp = self.value(first)?.number().and_then(number::natural),
                _ => found.datapoints = self.datapoints(first)?,
            }
        }
        Ok(found)
    }

    fn datapoints(&mut self, first: Token<'a>) -> Walked<Datapoints<'a>> {
        let mut found = Datapoints::default();
        if first != Token::ObjectStart {
            self.value(first)?;
            return Ok(found);
        }
        while let Some((key, first)) = self.member()? {
            match key.decode().as_deref() {
                Some("datapoint_pairs") => found.rows = self.rows(first)?,
                Some("key_value_pairs") => found.pairs = self.pairs(first)?,
                _ => {
                    found.other_key = true;
                    self.value(first)?;
                }
            }
        }
        Ok(found)
    }

    fn rows(&mut self, first: Token<'a>) -> Walked<Option<Rows>> {
        if first != Token::ArrayStart {
            self.value(first)?;
            return Ok(None);
        }
        // About as many as a post has: what grows is copied on the way.
        let mut rows = Rows { ids: Vec::with_capacity(self.reader.left() / 16), ..Rows::default() };
        while let Some(first) = self.item()? {
            if first != Token::ArrayStart {
                self.value(first)?;
                rows.fault.get_or_insert(Reason::Entry);
                continue;
            }
            self.reader.plain_ids(&mut rows.ids);
            while let Some(first) = self.item()? {
                match self.value(first)?.id() {
                    Some(id) => rows.ids.push(id),
                    None => drop(rows.fault.get_or_insert(Reason::Id)),
                }
            }
            rows.ends.push(rows.ids.len());
        }
        Ok(Some(rows))
    }

    fn pairs(&mut self, first: Token<'a>) -> Walked<Option<Pairs<'a>>> {
        if first != Token::ObjectStart {
            self.value(first)?;
            return Ok(None);
        }
        let mut pairs = Pairs::for_text(self.reader.left());
        loop {
            while let Some((id, key, value)) = self.reader.plain_pair() {
                let value = self.value(value)?;
                pairs.insert(id, Pair::new(Value::Text(key), value));
            }
            let Some((id, first)) = self.member()? else { break };
            let pair = self.pair(first)?;
            // Under another key no datapoint can name it.
            if let Some(id) = id.decode().as_deref().and_then(number::id) {
                pairs.insert(id, pair);
            }
        }
        Ok(Some(pairs))
    }

    fn pair(&mut self, first: Token<'a>) -> Walked<Pair<'a>> {
        if first != Token::ArrayStart {
            self.value(first)?;
            return Ok(Pair::Malformed);
        }
        let mut members = [Value::Null; 2];
        let mut count = 0_usize;
        while let Some(first) = self.item()? {
            let value = self.value(first)?;
            if let Some(member) = members.get_mut(count) {
                *member = value;
            }
            count += 1;
        }
        let [key, value] = members;
        Ok(if count == 2 { Pair::new(key, value) } else { Pair::Malformed })
    }

    /// The next member of an object and the first token of its value; none at the object's end.
    fn member(&mut self) -> Walked<Option<(Text<'a>, Token<'a>)>> {
        match self.next()? {
            Token::Key(key) => Ok(Some((key, self.next()?))),
            _ => Ok(None),
        }
    }

    /// The first token of a list's next item; none at the list's end.
    fn item(&mut self) -> Walked<Option<Token<'a>>> {
        let token = self.next()?;
        Ok(if token == Token::ArrayEnd { None } else { Some(token) })
    }

    /// The value that begins with `first`, read to its end.
    fn value(&mut self, first: Token<'a>) -> Walked<Value<'a>> {
        Ok(match first {
            Token::String(text) => Value::Text(text),
            Token::Number(number) => Value::Number(number),
            Token::Null => Value::Null,
            Token::ObjectStart | Token::ArrayStart => {
                let outside = self.reader.depth() - 1;
                while self.reader.depth() > outside {
                    self.next()?;
                }
                Value::Nested
            }
            _ => Value::Other,
        })
    }

    fn next(&mut self) -> Walked<Token<'a>> {
        let token = self.reader.next()?.ok_or(NotJson)?;
        self.deepest = self.deepest.max(self.reader.depth());
        match token {
            Token::Nan => self.nan = true,
            Token::Infinity => self.infinite = true,
            Token::Number(text) => self.infinite |= number::overflows(text),
            _ => {}
        }
        Ok(token)
    }
}
