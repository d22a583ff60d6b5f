//! PressedKey: a key of a caller, on its way to whoever collects it.

use dtmf::Digit;
use zeroize::Zeroize;

/// A key on its way through queues: beside them, and wiped behind it. What has passed through a
/// place of a queue stays there until the place is used again, so one caller's keys would lie there
/// in their order. It has no `Debug`: a key is a secret.
pub struct PressedKey(Box<u8>);

impl PressedKey {
    pub(crate) fn new(digit: Digit) -> PressedKey {
        PressedKey(Box::new(digit.event_code()))
    }

    /// The key.
    #[must_use]
    pub fn digit(&self) -> Digit {
        Digit::from_event_code(*self.0).expect("a digit's own code")
    }
}

impl Drop for PressedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
