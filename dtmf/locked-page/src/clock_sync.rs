//! Clock sync: whether the kernel's clock is kept by somebody.

use std::io;
use std::mem::MaybeUninit;

/// Whether the machine's clock is synchronised, as the kernel was told by whoever keeps it
/// (adjtimex(2), which changes nothing here).
///
/// # Errors
/// The system's, where a sandbox forbids the question.
pub fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: all of this struct is integers, for which zero is a value; `modes` zero asks only.
    let mut asked: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: adjtimex reads and writes the struct it is given, which outlives the call.
    match unsafe { libc::adjtimex(&raw mut asked) } {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(state != libc::TIME_ERROR && asked.status & libc::STA_UNSYNC == 0),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers_and_says_the_same_again() {
        let first = super::clock_is_synchronised().unwrap();
        assert_eq!(super::clock_is_synchronised().unwrap(), first);
    }
}
