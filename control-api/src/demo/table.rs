//! Table: the story side by side, and the verdict on each promise.

use std::time::{Duration, Instant};

use loadtest::Sound;

use super::evidence::Finding;
use super::interpreter::Utterance;
use super::story::{Column, Told};

/// Widths of the columns after the time.
const WIDTHS: [usize; 4] = [30, 17, 30, 36];
/// Sounds shorter than this are not worth a line.
const SHORT: Duration = Duration::from_millis(60);

/// Prints what each party did, heard and was told, by time.
pub(super) fn print(told: &Told, prompts: &[Utterance]) {
    row("", ["caller", "engine hears", "engine is told", "script, collector and merchant"]);
    row("", WIDTHS.map(|width| "-".repeat(width - 2)).each_ref().map(String::as_str));
    let mut lines: Vec<(Instant, usize, String)> = heard_by_engine(told)
        .into_iter()
        .map(|(at, sound)| (at, 1, sound.to_owned()))
        .chain(told.lines.iter().map(|line| {
            let column = match line.column {
                Column::Caller => 0,
                Column::EngineTold => 2,
                Column::Script => 3,
            };
            (line.at, column, line.text.clone())
        }))
        .chain(prompts.iter().map(|said| (said.at, 0, hears(said))))
        .collect();
    lines.sort_by_key(|(at, _, _)| *at);
    for (at, column, text) in lines {
        let mut cells = [""; 4];
        cells[column] = &text;
        let time = at.saturating_duration_since(told.began).as_secs_f64();
        row(&format!("{time:6.2} s"), cells);
    }
    println!();
}

/// Prints what the engine was told, to the letter: all that its transcript can hold of the session.
pub(super) fn print_transcript(told: &Told) {
    println!("what the engine was told, word for word:");
    told.engine_told.iter().for_each(|said| println!("  {said}"));
    println!();
}

/// Prints each promise with what was seen; true if all hold.
pub(super) fn print_findings(findings: &[Finding]) -> bool {
    for (number, finding) in (1..).zip(findings) {
        let word = if finding.holds { "holds " } else { "BROKEN" };
        println!("{word}  {number}. {}\n           {}", finding.promise, finding.seen);
    }
    let broken: Vec<&str> =
        findings.iter().filter(|finding| !finding.holds).map(|finding| finding.promise).collect();
    println!();
    if broken.is_empty() {
        println!("All {} promises hold.", findings.len());
    } else {
        println!("{} of {} promises are broken:", broken.len(), findings.len());
        broken.iter().for_each(|promise| println!("  {promise}"));
    }
    broken.is_empty()
}

/// When the kind of sound that the engine hears changes.
fn heard_by_engine(told: &Told) -> Vec<(Instant, &'static str)> {
    let mut changes: Vec<(Instant, &'static str)> = Vec::new();
    let heard = told.engine_heard.heard();
    for (nth, hearing) in heard.iter().enumerate() {
        let word = match hearing.sound {
            Sound::Silence => "digital silence",
            Sound::Voice => "voice",
            Sound::Other => "KEY EVENTS",
        };
        let lasts = heard[nth..]
            .iter()
            .find(|later| later.sound != hearing.sound)
            .is_none_or(|later| later.at - hearing.at >= SHORT);
        if lasts && changes.last().is_none_or(|(_, last)| *last != word) {
            changes.push((hearing.at, word));
        }
    }
    changes
}

/// A prompt as the caller hears it; it runs on over the columns beside it.
fn hears(said: &Utterance) -> String {
    let end = if said.is_whole { "\"" } else { "\" ... (a key ends it)" };
    format!("hears: \"{}{end}", said.text)
}

fn row(time: &str, cells: [&str; 4]) {
    let mut line = format!("{time:>9}  ");
    for (cell, width) in cells.into_iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:<width$}"));
    }
    println!("{}", line.trim_end());
}
