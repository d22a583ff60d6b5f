//! Clear: JSON with digits in it, written in one locked page and never anywhere else.

use std::io;

use axum::body::Bytes;
use dtmf::Step;
use dtmf::plan::MAX_FIELDS;
use dtmf::secret::SecretDigits;
use locked_page::{LockError, Locked};
use zeroize::Zeroize;

/// Octets of one text: a whole locked value of two pages, with its counters. A connector's
/// description and parameters take 3 kB at most, eight fields 600 octets.
pub const CAPACITY: usize = 7 * 1024;
/// Most entries of one session.
pub const MAX_ENTRIES: usize = MAX_FIELDS;

/// JSON in the making, in memory of fixed size. It has no `Debug` and no `Clone`; what was written
/// is overwritten with zeros when it is dropped.
pub struct Clear {
    octets: [u8; CAPACITY],
    count: usize,
    members: usize,
    marks: Marks,
}

/// Where in a text the entries stand that are long enough to identify somebody: first octet and
/// length. It knows places, not digits.
#[derive(Clone, Copy, Default)]
struct Marks {
    places: [(u16, u8); MAX_ENTRIES],
    count: usize,
}

/// A text that is being sent: shared with the connection without a copy, wiped when the last of
/// both lets go of it.
pub struct Outgoing {
    octets: Bytes,
    marks: Marks,
}

/// There is no room for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room for more")]
pub struct Full;

/// Digits from which an entry is looked for in what a connector answers: shorter ones turn up in
/// any token by chance.
const TELLING_DIGITS: usize = 8;

impl Clear {
    /// An empty text in pages of its own.
    ///
    /// # Errors
    /// If the kernel gives no locked pages.
    pub fn locked() -> Result<Locked<Clear>, LockError> {
        Locked::new(|| Clear {
            octets: [0; CAPACITY],
            count: 0,
            members: 0,
            marks: Marks::default(),
        })
    }

    /// What was written.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.count]
    }

    /// What was written, to be encrypted where it lies.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.octets[..self.count]
    }

    /// Begins an object.
    ///
    /// # Errors
    /// [`Full`].
    pub fn open(&mut self) -> Result<(), Full> {
        self.members = 0;
        self.push(b'{')
    }

    /// Ends the object.
    ///
    /// # Errors
    /// [`Full`].
    pub fn close(&mut self) -> Result<(), Full> {
        self.push(b'}')
    }

    /// A member whose value is no secret.
    ///
    /// # Errors
    /// [`Full`].
    pub fn member(&mut self, name: &str, value: &impl serde::Serialize) -> Result<(), Full> {
        self.name(name)?;
        serde_json::to_writer(self, value).map_err(|_| Full)
    }

    /// A member whose value is what was keyed.
    ///
    /// # Errors
    /// [`Full`].
    pub fn digits(&mut self, name: &str, digits: &SecretDigits) -> Result<(), Full> {
        digits.reveal(|ascii| self.ascii(name, ascii))
    }

    /// A member whose value is a part of what was keyed.
    ///
    /// # Errors
    /// [`Full`].
    pub fn ascii(&mut self, name: &str, ascii: &[u8]) -> Result<(), Full> {
        self.name(name)?;
        self.push(b'"')?;
        let start = self.count;
        for key in ascii {
            debug_assert!(key.is_ascii_alphanumeric() || b"*#.".contains(key), "a key");
            self.push(*key)?;
        }
        self.marks.note(start, ascii.len());
        self.push(b'"')
    }

    /// Spaces up to `length`, so that the length of what is encrypted tells nothing.
    ///
    /// # Errors
    /// [`Full`], also if more has been written already.
    pub fn pad(&mut self, length: usize) -> Result<(), Full> {
        if self.count > length {
            return Err(Full);
        }
        while self.count < length {
            self.push(b' ')?;
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), Full> {
        if self.members > 0 {
            self.push(b',')?;
        }
        self.members += 1;
        serde_json::to_writer(&mut *self, name).map_err(|_| Full)?;
        self.push(b':')
    }

    /// One octet at a time: a wide copy would leave digits behind in the processor's registers.
    fn push(&mut self, octet: u8) -> Result<(), Full> {
        *self.octets.get_mut(self.count).ok_or(Full)? = std::hint::black_box(octet);
        self.count += 1;
        Ok(())
    }
}

impl Marks {
    fn note(&mut self, start: usize, length: usize) {
        let (Ok(start), Ok(short)) = (u16::try_from(start), u8::try_from(length)) else { return };
        if length >= TELLING_DIGITS
            && let Some(place) = self.places.get_mut(self.count)
        {
            *place = (start, short);
            self.count += 1;
        }
    }
}

impl Outgoing {
    /// A text that is finished.
    #[must_use]
    pub fn new(clear: Locked<Clear>) -> Outgoing {
        struct Page(Locked<Clear>);
        impl AsRef<[u8]> for Page {
            fn as_ref(&self) -> &[u8] {
                self.0.octets()
            }
        }
        let marks = clear.marks;
        Outgoing { octets: Bytes::from_owner(Page(clear)), marks }
    }

    /// The text where it lies.
    #[must_use]
    pub fn octets(&self) -> Bytes {
        self.octets.clone()
    }

    /// Whether `text` holds one of the longer entries, whatever stands between its digits, and also
    /// without the zeros in front that a number would not have.
    #[must_use]
    pub fn is_repeated_in(&self, text: &str) -> bool {
        self.marks.places[..self.marks.count].iter().any(|(start, length)| {
            let start = usize::from(*start);
            let entry = &self.octets[start..start + usize::from(*length)];
            let zeros = entry.iter().take_while(|octet| **octet == b'0').count();
            // Not so many that what is left turns up by chance.
            let entry = &entry[zeros.min(entry.len().saturating_sub(TELLING_DIGITS))..];
            // The digits of `text` from each octet on, without a copy of them.
            (0..text.len()).any(|at| {
                let digits = text.as_bytes()[at..].iter().filter(|octet| octet.is_ascii_digit());
                digits.take(entry.len()).eq(entry)
            })
        })
    }
}

impl io::Write for Clear {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for octet in octets {
            self.push(*octet).map_err(|_| io::ErrorKind::WriteZero)?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Clear {
    fn drop(&mut self) {
        self.octets.zeroize();
        self.count.zeroize();
    }
}

/// What is delivered: the entries in their order, and the card's brand if it is beyond doubt.
/// It borrows; the digits stay where they are.
#[derive(Clone, Copy)]
pub struct Keyed<'a> {
    /// Each field and what was keyed into it.
    pub entries: &'a [(Step, &'a SecretDigits)],
    /// The brand, in the words of events.
    pub brand: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use dtmf::secret::SecretDigits;

    use super::{CAPACITY, Clear, Full, Outgoing};

    fn keyed(text: &str) -> SecretDigits {
        let mut digits = SecretDigits::new();
        for key in text.bytes() {
            digits.push(Digit::from_ascii(key).unwrap()).unwrap();
        }
        digits
    }

    #[test]
    fn json_is_written_and_padded() {
        let mut clear = Clear::locked().unwrap();
        clear.open().unwrap();
        clear.digits("payment-card-number", &keyed("4242424242424242")).unwrap();
        clear.member("description", &"a \"quoted\" one").unwrap();
        clear.close().unwrap();
        clear.pad(100).unwrap();
        assert_eq!(clear.octets().len(), 100);
        let value: serde_json::Value = serde_json::from_slice(clear.octets()).unwrap();
        assert_eq!(value["payment-card-number"], "4242424242424242");
        assert_eq!(value["description"], "a \"quoted\" one");
        assert_eq!(clear.pad(99), Err(Full));
    }

    #[test]
    fn a_full_page_takes_no_more() {
        let mut clear = Clear::locked().unwrap();
        clear.open().unwrap();
        assert_eq!(clear.member("x", &"y".repeat(CAPACITY)), Err(Full));
        assert_eq!(clear.octets().len(), CAPACITY);
    }

    #[test]
    fn an_entry_is_found_in_a_text_however_it_is_written() {
        let mut clear = Clear::locked().unwrap();
        clear.open().unwrap();
        clear.digits("n", &keyed("4242424242424242")).unwrap();
        clear.digits("c", &keyed("123")).unwrap();
        let outgoing = Outgoing::new(clear);
        for repeated in [
            "4242424242424242",
            "tok_4242424242424242_x",
            "4242-4242-4242-4242",
            "9 42424242 42424242",
            "\u{e9}4242 4242 4242 4242",
        ] {
            assert!(outgoing.is_repeated_in(repeated), "{repeated}");
        }
        let mut account = Clear::locked().unwrap();
        account.open().unwrap();
        account.digits("a", &keyed("0012345678")).unwrap();
        let account = Outgoing::new(account);
        assert!(account.is_repeated_in("12345678"), "as a number, without its zeros in front");
        assert!(account.is_repeated_in("0012345678") && !account.is_repeated_in("2345678"));
        for other in ["", "tok_123", "424242424242424", "4242424242424241", "tok_1N3XqzL"] {
            assert!(!outgoing.is_repeated_in(other), "{other}");
        }
    }
}
