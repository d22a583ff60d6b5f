//! Show: a configuration as it is in force, where each value comes from, and no secret.
//!
//! Secrets are types that write something else in their place; files are named, never read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;
use toml::{Table, Value};

use super::RawConfig;

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// A flag of the command.
    Flag,
    /// The file.
    File,
    /// Nobody said anything.
    Default,
}

impl From {
    const fn as_str(self) -> &'static str {
        match self {
            From::Flag => "flag",
            From::File => "file",
            From::Default => "default",
        }
    }
}

/// A configuration to show.
pub struct Shown(BTreeMap<String, (Value, From)>);

impl Shown {
    /// Of what `effective` says, `merged` is what was typed at all, and `text` and `file` what
    /// stands in the file.
    ///
    /// # Errors
    /// If a value can't be written as TOML, which those that were read can.
    pub fn new(
        effective: &RawConfig,
        merged: &RawConfig,
        (text, file): (&str, &RawConfig),
    ) -> Result<Shown, toml::ser::Error> {
        let (merged, read) = (members(Table::try_from(merged)?), members(Table::try_from(file)?));
        // As it is written: a member that was left out may have a default of its own in there.
        let written = members(text.parse().unwrap_or_default());
        let from = |name: &String| {
            if merged.get(name) != read.get(name) {
                From::Flag
            } else if written.contains_key(name) {
                From::File
            } else {
                From::Default
            }
        };
        let effective = members(Table::try_from(effective)?).into_iter();
        Ok(Shown(
            effective
                .map(|(name, value)| {
                    let from = from(&name);
                    (name, (value, from))
                })
                .collect(),
        ))
    }

    /// As TOML, a member a line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (name, (value, from)) in &self.0 {
            writeln!(out, "{name} = {value}  # {}", from.as_str())?;
        }
        Ok(())
    }

    /// As JSON: an object of members, each with `value` and `from`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let member = |(name, (value, from)): (&String, &(Value, From))| {
            (name.clone(), json!({ "value": value, "from": from }))
        };
        serde_json::Value::Object(self.0.iter().map(member).collect())
    }
}

/// The members by their dotted names; lists are one member each.
fn members(table: Table) -> BTreeMap<String, Value> {
    let mut members = BTreeMap::new();
    let mut tables = vec![(String::new(), table)];
    while let Some((above, table)) = tables.pop() {
        for (name, value) in table {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let name = if !name.is_empty() && name.chars().all(is_bare) {
                name
            } else {
                Value::String(name).to_string()
            };
            let name = if above.is_empty() { name } else { format!("{above}.{name}") };
            match value {
                Value::Table(table) => tables.push((name, table)),
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => {
                    members.insert(name, value);
                }
            }
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::RawConfig;
    use super::Shown;

    const TEXT: &str = "\
[control]
address = '127.0.0.1:9000'
[engines.ava]
type = 'websocket'
dialect = 'twilio'
url = 'wss://agent.example.com/t0ken'
parameters = { tenant = 't0ken' }
[[webhooks]]
name = 'crm'
url = 'https://crm.example.com/hooks/t0ken'
secret_files = ['/etc/sotto/crm.secret']
audience = 'staff'
[sip.numbers]
'+15550100' = '127.0.0.1:40000'
[sip]
address = '127.0.0.1:5060'
";

    fn shown() -> Shown {
        let file: RawConfig = toml::from_str(TEXT).unwrap();
        let mut merged = file.clone();
        merged.media.workers = Some(3);
        let config = merged.clone().resolve(Path::new("/state"), 2).unwrap();
        Shown::new(&merged.clone().effective(&config), &merged, (TEXT, &file)).unwrap()
    }

    #[test]
    fn each_value_is_told_with_where_it_comes_from() {
        let mut out = Vec::new();
        shown().write(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for line in [
            "control.address = \"127.0.0.1:9000\"  # file",
            "control.keys = \"/state/keys.json\"  # default",
            "media.workers = 3  # flag",
            "media.ports = \"10000-20000\"  # default",
            "engines.ava.keys = false  # default",
            "engines.ava.dialect = \"twilio\"  # file",
            "sip.numbers.\"+15550100\" = \"127.0.0.1:40000\"  # file",
            "sip.realm = \"sotto\"  # default",
        ] {
            assert!(out.lines().any(|it| it == line), "{line}: {out}");
        }
        let read: Result<RawConfig, _> = toml::from_str(&out);
        assert!(read.is_ok(), "it is a configuration: {out}");
    }

    #[test]
    fn secrets_are_redacted_and_files_named() {
        let mut out = Vec::new();
        shown().write(&mut out).unwrap();
        let told = [String::from_utf8(out).unwrap(), shown().json().to_string()];
        for text in told {
            assert!(!text.contains("t0ken") && text.contains("[redacted]"), "{text}");
            assert!(text.contains("/etc/sotto/crm.secret"), "{text}");
        }
        assert!(TEXT.contains("t0ken"), "the control");
    }
}
