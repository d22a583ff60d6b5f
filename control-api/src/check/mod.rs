//! Check: whether a set-up is fit for production, one small question at a time.
//!
//! A check looks at [`Facts`] and at nothing else, so that each is tested without a machine:
//! `control-api/tests/check.rs` plants a fault for every one of them, and finds that one told.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

mod audit;
pub mod facts;
mod files;
mod gather;
mod host;
mod machine;
mod media;
mod payment;
mod process;
mod reach;
mod recordings;

pub use facts::Facts;

/// What `sotto check --help` tells besides.
pub const HELP: &str = "\
It looks at the settings, at the files that they name and at this machine; it binds nothing, starts
nothing and changes nothing. Run it as the user that the relay runs as, with the flags of its
`sotto serve`:
  sudo -u sotto sotto check --config /etc/sotto/sotto.toml

Each line is a check: its level, its id, what was found; below it what to do.
  pass   as it should be
  warn   it works, and somebody should know
  FAIL   not for production
  skip   it does not concern this set-up, and why

Exit codes: 0 no check failed, 1 some did, 78 the settings can't be read.
--json prints {\"checks\":[{id,theme,level,found,advice}],\"counts\":{...}}.";

/// What a check came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, and somebody should know.
    Warn,
    /// Not for production.
    Fail,
    /// It does not concern this set-up.
    Skipped,
}

impl Level {
    /// The word of reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Pass => "pass",
            Level::Warn => "warn",
            Level::Fail => "fail",
            Level::Skipped => "skipped",
        }
    }

    const fn mark(self) -> &'static str {
        match self {
            Level::Pass => "pass",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
            Level::Skipped => "skip",
        }
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, or why it was not looked for; in one line and without a secret.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub advice: &'static str,
}

impl Finding {
    fn pass(found: impl Into<String>) -> Finding {
        Finding { level: Level::Pass, found: found.into(), advice: "" }
    }

    fn skipped(why: impl Into<String>) -> Finding {
        Finding { level: Level::Skipped, found: why.into(), advice: "" }
    }

    fn warn(found: impl Into<String>, advice: &'static str) -> Finding {
        Finding { level: Level::Warn, found: found.into(), advice }
    }

    fn fail(found: impl Into<String>, advice: &'static str) -> Finding {
        Finding { level: Level::Fail, found: found.into(), advice }
    }

    /// `bad` tells of each that is; none means all is well.
    fn unless(bad: &[String], level: Level, well: &str, advice: &'static str) -> Finding {
        if bad.is_empty() {
            Finding::pass(well)
        } else {
            Finding { level, found: bad.join("; "), advice }
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Theme {
    /// Who reaches the relay, and whom it reaches.
    Reach,
    /// Callers' and engines' media.
    Media,
    /// Keys, certificates and secrets.
    Files,
    /// Recordings.
    Recordings,
    /// The audit log.
    Audit,
    /// Payments.
    Payment,
    /// The process.
    Process,
    /// The machine.
    Host,
}

impl Theme {
    const ALL: [Theme; 8] = [
        Theme::Reach,
        Theme::Media,
        Theme::Files,
        Theme::Recordings,
        Theme::Audit,
        Theme::Payment,
        Theme::Process,
        Theme::Host,
    ];

    /// The word of reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Theme::Reach => "reach",
            Theme::Media => "media",
            Theme::Files => "files",
            Theme::Recordings => "recordings",
            Theme::Audit => "audit",
            Theme::Payment => "payment",
            Theme::Process => "process",
            Theme::Host => "host",
        }
    }

    fn checks(self) -> &'static [Check] {
        match self {
            Theme::Reach => reach::CHECKS,
            Theme::Media => media::CHECKS,
            Theme::Files => files::CHECKS,
            Theme::Recordings => recordings::CHECKS,
            Theme::Audit => audit::CHECKS,
            Theme::Payment => payment::CHECKS,
            Theme::Process => process::CHECKS,
            Theme::Host => host::CHECKS,
        }
    }
}

/// A check: its id, and how it looks.
pub type Check = (&'static str, fn(&Facts) -> Finding);

/// What all checks found.
pub struct Report(Vec<(Theme, &'static str, Finding)>);

impl Report {
    /// Of a set-up.
    #[must_use]
    pub fn of(facts: &Facts) -> Report {
        let checks = Theme::ALL.into_iter().flat_map(|theme| {
            theme.checks().iter().map(move |(id, look)| (theme, *id, look(facts)))
        });
        Report(checks.collect())
    }

    /// Theme, id and finding of each check.
    #[must_use]
    pub fn findings(&self) -> &[(Theme, &'static str, Finding)] {
        &self.0
    }

    /// Whether the set-up is not fit for production.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.0.iter().any(|(_, _, finding)| finding.level == Level::Fail)
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let levels = [Level::Pass, Level::Warn, Level::Fail, Level::Skipped];
        let count = |level: Level| self.0.iter().filter(|it| it.2.level == level).count();
        levels.into_iter().map(|level| (level.as_str(), count(level))).collect()
    }

    /// For people, by theme.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for theme in Theme::ALL {
            writeln!(out, "{}", theme.as_str())?;
            for (_, id, finding) in self.0.iter().filter(|(of, _, _)| *of == theme) {
                writeln!(out, "  {}  {id}: {}", finding.level.mark(), finding.found)?;
                if !finding.advice.is_empty() {
                    writeln!(out, "        -> {}", finding.advice)?;
                }
            }
        }
        let counts = self.counts();
        let count = |level: Level| counts.get(level.as_str()).copied().unwrap_or(0);
        writeln!(
            out,
            "{} checks: {} failed, {} warned, {} passed, {} skipped",
            self.0.len(),
            count(Level::Fail),
            count(Level::Warn),
            count(Level::Pass),
            count(Level::Skipped)
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let check = |(theme, id, finding): &(Theme, &str, Finding)| {
            json!({
                "id": id,
                "theme": theme.as_str(),
                "level": finding.level.as_str(),
                "found": finding.found,
                "advice": finding.advice,
            })
        };
        json!({ "checks": self.0.iter().map(check).collect::<Vec<_>>(), "counts": self.counts() })
    }
}
