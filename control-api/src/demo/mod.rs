//! Demo: one payment call from end to end, on real sockets and real HTTP, and what each party
//! could know of it.

mod evidence;
mod interpreter;
mod merchant;
mod party;
mod stage;
mod story;
mod table;

pub use stage::Broken;

use loadtest::KeyMethod;
use loadtest::relay_process::Failure;

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

/// Runs the story and prints it. True if every promise held: a broken one is no error but a result.
pub fn run(options: DemoOptions) -> Result<bool, Failure> {
    println!("{TITLE}\n");
    let told = story::tell(options)?;
    let language = story::LANGUAGE.parse().expect("a language is written as a language");
    let heard = interpreter::understand(&told.caller_heard, language, told.cut, told.ended);
    table::print(&told, &heard.utterances);
    table::print_transcript(&told);
    let findings = evidence::examine(&told, &heard);
    Ok(table::print_findings(&findings))
}
