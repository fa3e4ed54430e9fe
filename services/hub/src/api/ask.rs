//! What is asked for: the part of an address behind its question mark.

use std::borrow::Cow;

/// Rows of a page, where nobody says how many.
pub(crate) const PAGE: usize = 200;

/// Rows of one answer in JSON at most.
const MOST_ROWS: usize = 1000;

/// The parameters of a request; what is not known is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Only rows in this state.
    pub(crate) state: String,
    /// Only rows with this text in a name.
    pub(crate) q: String,
    /// By which column.
    pub(crate) sort: String,
    /// The largest first.
    pub(crate) falling: bool,
    /// So many rows are left out before the first.
    pub(crate) offset: usize,
    /// So many rows at most.
    limit: Option<usize>,
    /// `csv`, or nothing.
    pub(crate) format: String,
    /// `1h`, `6h`, `24h` or `7d`.
    pub(crate) range: String,
}

impl Ask {
    /// Reads what stands behind the question mark.
    pub(crate) fn read(query: &str) -> Self {
        let mut ask = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let text = |value: Cow<'_, str>| value.chars().take(200).collect::<String>();
            match name.as_ref() {
                "state" => ask.state = text(value),
                "q" => ask.q = text(value),
                "sort" => ask.sort = text(value),
                "order" => ask.falling = value == "desc",
                "offset" => ask.offset = value.parse().unwrap_or(0),
                "limit" => ask.limit = value.parse().ok(),
                "format" => ask.format = text(value),
                "range" => ask.range = text(value),
                _ => {}
            }
        }
        ask
    }

    /// Whether CSV is wanted.
    pub(crate) fn is_csv(&self) -> bool {
        self.format == "csv"
    }

    /// How many rows there are to be: in CSV all of them, where nobody says how many.
    pub(crate) fn limit(&self) -> usize {
        match (self.limit, self.is_csv()) {
            (Some(limit), true) => limit,
            (None, true) => usize::MAX,
            (limit, false) => limit.unwrap_or(PAGE).min(MOST_ROWS),
        }
    }

    /// The same as text, with some of it changed; as it stands behind a question mark.
    pub(crate) fn with(&self, changes: &[(&str, &str)]) -> String {
        let (offset, limit) = (self.offset.to_string(), self.limit.map(|limit| limit.to_string()));
        let now = [
            ("state", self.state.as_str()),
            ("q", &self.q),
            ("sort", &self.sort),
            ("order", if self.falling { "desc" } else { "" }),
            ("offset", if self.offset == 0 { "" } else { &offset }),
            ("limit", limit.as_deref().unwrap_or_default()),
        ];
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (name, value) in now {
            let changed = changes.iter().find(|(changed, _)| *changed == name);
            let value = changed.map_or(value, |(_, value)| value);
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        for (name, value) in changes.iter().filter(|(name, _)| !now.iter().any(|(known, _)| known == name)) {
            out.append_pair(name, value);
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_and_written_alike() {
        let ask = Ask::read("q=a%26b+c&state=failing&order=desc&offset=400&limit=100000&x=1");
        assert_eq!((ask.q.as_str(), ask.state.as_str(), ask.falling), ("a&b c", "failing", true));
        assert_eq!((ask.offset, ask.limit()), (400, MOST_ROWS));
        assert_eq!(Ask::read(&ask.with(&[])), ask);
        assert_eq!(
            ask.with(&[("offset", ""), ("format", "csv")]),
            "state=failing&q=a%26b+c&order=desc&limit=100000&format=csv"
        );
        assert_eq!(Ask::read("format=csv").limit(), usize::MAX);
        assert_eq!(Ask::read("offset=-1&limit=x&&="), Ask::default());
    }
}
