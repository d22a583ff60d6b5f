//! Demo: one payment call from end to end, on real sockets and real HTTP, and what each party
//! could know of it.

mod evidence;
mod http;
mod interpreter;
mod merchant;
mod party;
mod relay_process;
mod story;
mod table;

pub use relay_process::Broken;

use loadtest::KeyMethod;

const TITLE: &str = "\
sotto demo: on a call with an AI engine a caller pays by card, guided in Spanish, and mistypes the
number once; half a minute.";

/// How the demo is run.
#[derive(Clone, Copy)]
pub struct DemoOptions {
    /// How the caller presses keys.
    pub method: KeyMethod,
    /// A protection that is broken on purpose (feature `sabotage`).
    pub broken: Option<Broken>,
}

/// Why the demo could not be shown to the end. A broken promise is no error but a result.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The kernel refused something.
    #[error("the demo cannot {doing}: {source}")]
    Kernel {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The relay did not answer as it should.
    #[error("the relay did not {doing}: {detail}")]
    Relay {
        /// What was asked.
        doing: &'static str,
        /// What came instead.
        detail: String,
    },
}

/// Runs the story and prints it. True if every promise held.
pub fn run(options: DemoOptions) -> Result<bool, DemoError> {
    println!("{TITLE}\n");
    let told = story::tell(options)?;
    let language = story::LANGUAGE.parse().expect("a language is written as a language");
    let heard = interpreter::understand(&told.caller_heard, language, told.cut, told.ended);
    table::print(&told, &heard.utterances);
    table::print_transcript(&told);
    let findings = evidence::examine(&told, &heard);
    Ok(table::print_findings(&findings))
}
