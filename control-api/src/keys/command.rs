//! Command: `sotto keys`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;

use super::{DEFAULT_OVERLAP, KeyError, KeyFile, KeyRecord, KeyStore, NewKey, Scope, Token};
use crate::clock::Timestamp;
use crate::dto::api_key::{KeyPage, KeyView};

/// Longest time that can be typed: no key of today matters in a hundred years.
const MAX_DAYS: u64 = 36_500;

/// What to do with keys.
#[derive(Subcommand)]
pub enum KeysAction {
    /// Make a key and print it once; only a keyed hash of it is kept.
    Add {
        /// What the key is for: operator, script, engine, payment, or a role of the configuration.
        #[arg(long = "role", value_name = "ROLE", required_unless_present = "scopes")]
        roles: Vec<String>,
        /// One thing it may do, such as calls:read.
        #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
        scopes: Vec<Scope>,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
        /// When it ends: after a time (90d, 12h, 30m), or at a day or time in UTC (2027-01-31).
        #[arg(long, value_name = "WHEN", value_parser = when)]
        expires: Option<When>,
        /// When it begins, in the same forms [default: at once].
        #[arg(long, value_name = "WHEN", value_parser = when)]
        not_before: Option<When>,
    },
    /// List keys: ids, states, roles and scopes, names, times.
    List {
        /// As JSON, in the form of GET /v1/keys.
        #[arg(long)]
        json: bool,
    },
    /// Make a key with the rights and the name of another one, which ends after a while.
    Rotate {
        /// The id of the old key, its third part.
        id: String,
        /// How long the old key stays valid.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
        overlap: Duration,
    },
    /// End a key at once; what it has open ends within a second.
    Revoke {
        /// The key's id, its third part.
        id: String,
    },
    /// Forget a key that is expired or revoked.
    Remove {
        /// The key's id, its third part.
        id: String,
        /// Also one that is in use.
        #[arg(long)]
        force: bool,
    },
}

/// A time that was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// So long from now.
    After(Duration),
    /// Then.
    At(Timestamp),
}

impl When {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            When::After(time) => now.after(time),
            When::At(then) => then,
        }
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("scopes are {}", Scope::names()))
}

fn when(text: &str) -> Result<When, &'static str> {
    let then = || Timestamp::parse(text).map(When::At);
    let after = time(text).map(When::After).ok();
    after.or_else(then).ok_or("say 90d, 12h or 30m, or a day or time such as 2027-01-31")
}

fn time(text: &str) -> Result<Duration, &'static str> {
    let wrong = "say a number and d, h, m or s, such as 90d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong),
    };
    let number: u64 = number.parse().map_err(|_| wrong)?;
    let seconds = number.checked_mul(seconds).filter(|it| *it <= MAX_DAYS * 86_400);
    seconds.map(Duration::from_secs).ok_or("say a hundred years at most")
}

/// Does it. Keys go to `out`, words about what was done to standard error.
///
/// # Errors
/// If it can't be done.
pub fn run(
    store: &KeyStore,
    action: KeysAction,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io { path: store.path.clone(), source };
    match action {
        KeysAction::Add { roles, scopes, name, expires, not_before } => {
            let not_before = not_before.map(|when| when.from(now));
            // A time counts from where the key begins.
            let expires_at = expires.map(|when| when.from(not_before.unwrap_or(now)));
            let new = NewKey { name, roles, scopes, not_before, expires_at };
            let (_, token) = store.edit()?.add(new, now)?;
            show(&token, out).map_err(failed)?;
        }
        KeysAction::List { json } => return list(store, json, now, out),
        KeysAction::Rotate { id, overlap } => {
            let (_, token) = store.edit()?.rotate(&id, overlap, now)?;
            show(&token, out).map_err(failed)?;
        }
        KeysAction::Revoke { id } => store.edit()?.revoke(&id, now)?,
        KeysAction::Remove { id, force } => store.edit()?.remove(&id, force, now)?,
    }
    // On standard error, so that standard output holds the key alone.
    let path = store.path.display();
    eprintln!("{path} was written; a running relay takes it over within a second.");
    Ok(())
}

fn show(token: &Token, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", token.reveal())
}

fn list(
    store: &KeyStore,
    json: bool,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeyError> {
    let file = store.open()?;
    let failed = |source| KeyError::Io { path: store.path.clone(), source };
    if json {
        let view = |record| KeyView::of(&file, record, &store.roles, now);
        let page = KeyPage { data: file.records().iter().map(view).collect() };
        let text = serde_json::to_string_pretty(&page).map_err(|error| failed(error.into()))?;
        return writeln!(out, "{text}").map_err(failed);
    }
    if file.records().is_empty() {
        eprintln!("{} holds no key.", store.path.display());
    }
    for record in file.records() {
        writeln!(out, "{}", line(&file, record, now)).map_err(failed)?;
    }
    Ok(())
}

fn line(file: &KeyFile, record: &KeyRecord, now: Timestamp) -> String {
    let state = match file.is_taken_here(record) {
        true => record.state(now).as_str(),
        false => "elsewhere",
    };
    let scopes = record.scopes.iter().map(|scope| scope.as_str());
    let rights: Vec<_> = record.roles.iter().map(String::as_str).chain(scopes).collect();
    let (id, rights, made) = (&record.id, rights.join(","), record.created_at.whole_seconds());
    let mut line = format!("{id}  {state:9}  {rights:20}  {made}");
    let times = [("from", record.not_before), ("to", record.expires_at)];
    for (word, time) in times.into_iter().filter_map(|(word, time)| Some((word, time?))) {
        line.push_str(&format!("  {word} {}", time.whole_seconds()));
    }
    if let Some(replaced) = &record.replaces {
        line.push_str(&format!("  for {replaced}"));
    }
    line.push_str(record.name.as_ref().map_or("", |_| "  "));
    line.push_str(record.name.as_deref().unwrap_or_default());
    line
}

const _: () = assert!(DEFAULT_OVERLAP.as_secs() == 24 * 3600, "as the command says");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{When, time, when};
    use crate::clock::Timestamp;

    #[test]
    fn times_are_read() {
        assert_eq!(time("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for wrong in ["", "d", "9", "-1d", "1.5h", "9w", "99999999999d", "36501d", "\u{e4}"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        let day = Timestamp::parse("2027-01-31").unwrap();
        assert_eq!(when("2027-01-31"), Ok(When::At(day)));
        assert_eq!(when("30m"), Ok(When::After(Duration::from_secs(1800))));
        assert!(when("soon").is_err());
    }
}
