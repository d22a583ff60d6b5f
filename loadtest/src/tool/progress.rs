//! Progress: what a long measurement is doing, as a bar on a terminal and as lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// Tells on standard error how far a measurement is; its result goes to standard output.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing begun yet.
    pub(crate) fn new() -> Progress {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        let style = style.expect("a template that indicatif reads");
        Progress { bar: ProgressBar::new(0).with_style(style) }
    }

    /// So many steps begin.
    pub(crate) fn begin(&self, steps: u64) {
        self.bar.reset();
        self.bar.set_length(steps);
    }

    /// One of them is done, with this result.
    pub(crate) fn step(&self, result: &str) {
        self.note(result);
        self.bar.inc(1);
    }

    /// So many steps are done.
    pub(crate) fn at(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// Something is known before a step is done.
    pub(crate) fn note(&self, what: &str) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        } else {
            self.bar.println(what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
