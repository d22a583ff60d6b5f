//! Reading: a configuration's text, and what is wrong with it in words that help.
//!
//! No value is repeated: who writes a secret where its file belongs does not find it in a log.

use serde_path_to_error::Segment;
use toml::de::Error;

use super::RawConfig;

/// How alike a name must be to be proposed, of 1; as command lines have it.
const ALIKE: f64 = 0.7;

/// What is wrong, and in which line.
pub(super) fn parse(text: &str) -> Result<RawConfig, String> {
    let at = |error: &Error, reason: String| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line}: {}", reason.replace('\n', " "))
    };
    let document =
        toml::Deserializer::parse(text).map_err(|error| at(&error, error.message().to_owned()))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = Path::of(error.path());
        at(error.inner(), path.blame(error.inner().message()))
    })
}

/// Where in a configuration: its names, without the last one.
struct Path {
    above: String,
    last: Option<String>,
}

impl Path {
    fn of(path: &serde_path_to_error::Path) -> Path {
        let mut names: Vec<String> = Vec::new();
        for segment in path {
            match segment {
                Segment::Map { key } => names.push(key.clone()),
                Segment::Seq { index } => names.push(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let last = names.pop();
        Path { above: names.join("."), last }
    }

    fn beside(&self, name: &str) -> String {
        if self.above.is_empty() { name.to_owned() } else { format!("{}.{name}", self.above) }
    }

    fn whole(&self) -> String {
        self.last.as_ref().map_or_else(String::new, |last| self.beside(last))
    }

    /// What a message of the deserializer means here.
    fn blame(&self, message: &str) -> String {
        if let Some(rest) = message.strip_prefix("unknown field `") {
            let (name, known) = rest.split_once('`').unwrap_or((rest, ""));
            return self.unknown(name, known);
        }
        let expected = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
        let named = self.whole();
        if expected.iter().any(|start| message.starts_with(start)) {
            let rest = message.rsplit_once("expected ").map_or("something else", |(_, rest)| rest);
            return format!("{named} must be {rest}");
        }
        if named.is_empty() { message.to_owned() } else { format!("{named}: {message}") }
    }

    /// The known names come from the structs themselves, by way of the message.
    fn unknown(&self, name: &str, known: &str) -> String {
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let alike = known.iter().map(|it| (strsim::jaro(name, it), *it));
        let nearest = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
        // The deserializer may count the name itself to the path.
        let is_counted = self.last.as_deref() == Some(name);
        let place = |it: &str| match &self.last {
            Some(last) if !is_counted => format!("{}.{it}", self.beside(last)),
            Some(_) | None => self.beside(it),
        };
        let unknown = place(name);
        match nearest {
            Some((_, nearest)) => {
                format!("{unknown} is not known; did you mean {}?", place(nearest))
            }
            None => format!("{unknown} is not known; there are {}", known.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_name_that_is_not_known_is_answered_with_the_nearest() {
        for (text, said) in [
            (
                "[media]\nadress = []",
                "line 2: media.adress is not known; did you mean media.addresses?",
            ),
            ("medai = {}", "line 1: medai is not known; did you mean media?"),
            (
                "\n[engines.a]\ndialects = 'x'",
                "line 3: engines.a.dialects is not known; did you mean engines.a.dialect?",
            ),
            (
                "[[webhooks]]\nname = 'a'\nsecret_file = 'x'",
                "line 3: webhooks.0.secret_file is not known; did you mean webhooks.0.secret_files?",
            ),
            ("[mcp]\nqqq = 1", "line 2: mcp.qqq is not known; there are url"),
        ] {
            assert_eq!(parse(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn no_value_is_repeated() {
        for (text, said) in [
            (
                "[[webhooks]]\nsecret_files = 'whsec_t0ken'",
                "line 2: webhooks.0.secret_files must be ",
            ),
            ("[media]\nworkers = 't0ken'", "line 2: media.workers must be "),
            (
                "[secure_sessions]\ncard_mode = 't0ken'",
                "line 2: secure_sessions.card_mode must be ",
            ),
            ("[engines.a]\naddress = 't0ken'", "line 2: engines.a.address"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(said) && !error.contains("t0ken"), "{text}: {error}");
        }
        assert!(parse("[media\n").unwrap_err().starts_with("line 1: "));
    }
}
