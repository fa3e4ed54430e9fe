//! Tables, as JSON and as CSV.

use serde_json::{Map, Value};

/// A table: the names of its columns, and its rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Each row as an object.
    pub(crate) fn objects(self) -> Value {
        let Self { columns, rows } = self;
        let object = |row: Vec<Value>| {
            let members = columns.iter().map(|column| (*column).to_owned()).zip(row);
            Value::Object(Map::from_iter(members))
        };
        rows.into_iter().map(object).collect()
    }

    /// The table as RFC 4180 wants it.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::with_capacity(64 * (self.rows.len() + 1));
        line(&mut out, self.columns.iter().map(|column| (*column).to_owned()));
        for row in &self.rows {
            line(&mut out, row.iter().map(field));
        }
        out
    }
}

/// A line of CSV. A field with what separates is quoted.
pub(super) fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (at, text) in fields.enumerate() {
        if at > 0 {
            out.push(',');
        }
        if text.contains([',', '"', '\r', '\n']) {
            out.push('"');
            out.push_str(&text.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(&text);
        }
    }
    out.push_str("\r\n");
}

/// A value as text. A spreadsheet takes a text that begins with one of these for a formula; an apostrophe before it
/// makes it a text again.
pub(super) fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_csv_that_no_spreadsheet_takes_for_a_formula() {
        let mut table = Table::new(&["host", "cpu", "up"]);
        table.rows.push(vec![json!("=HYPERLINK(\"http://x\")"), json!(-1.5), json!(true)]);
        table.rows.push(vec![json!("a,b\r\nc"), Value::Null, json!(false)]);
        table.rows.push(vec![json!("@x"), json!(2), Value::Null]);
        assert_eq!(
            table.csv(),
            "host,cpu,up\r\n\"'=HYPERLINK(\"\"http://x\"\")\",-1.5,true\r\n\"a,b\r\nc\",,false\r\n'@x,2,\r\n"
        );
        assert_eq!(table.objects()[2], json!({"host": "@x", "cpu": 2, "up": null}));
    }
}
