//! `LanguageTag`: a language, with a region if it matters.

use std::fmt;
use std::str::FromStr;

/// A language of two or three letters and, if given, a region of two letters or three digits:
/// the part of BCP 47 (RFC 5646 section 2.1) by which prompts are told apart, such as `es` or
/// `es-MX`. Upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanguageTag {
    language: Subtag,
    region: Option<Subtag>,
}

/// Two or three ASCII characters, zero-padded.
type Subtag = [u8; 3];

/// This is no language tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a language and, if wanted, a region, such as es or es-MX")]
pub struct NotALanguage;

impl LanguageTag {
    /// English, of any region.
    pub const ENGLISH: Self = Self { language: *b"en\0", region: None };

    /// The same language without its region.
    #[must_use]
    pub const fn without_region(self) -> Self {
        Self { language: self.language, region: None }
    }
}

impl FromStr for LanguageTag {
    type Err = NotALanguage;

    fn from_str(text: &str) -> Result<Self, NotALanguage> {
        let (language, region) = match text.split_once('-') {
            Some((language, region)) => (language, Some(region)),
            None => (text, None),
        };
        let is_language =
            (2..=3).contains(&language.len()) && is_all(language, u8::is_ascii_alphabetic);
        let is_region = region.is_none_or(|region| {
            (region.len() == 2 && is_all(region, u8::is_ascii_alphabetic))
                || (region.len() == 3 && is_all(region, u8::is_ascii_digit))
        });
        if !is_language || !is_region {
            return Err(NotALanguage);
        }
        Ok(Self {
            language: subtag(language, u8::to_ascii_lowercase),
            region: region.map(|region| subtag(region, u8::to_ascii_uppercase)),
        })
    }
}

impl fmt::Display for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.language, f)?;
        let Some(region) = &self.region else { return Ok(()) };
        f.write_str("-")?;
        show(region, f)
    }
}

fn is_all(text: &str, is: impl Fn(&u8) -> bool) -> bool {
    text.bytes().all(|byte| is(&byte))
}

fn subtag(text: &str, to_case: impl Fn(&u8) -> u8) -> Subtag {
    let mut padded = Subtag::default();
    for (to, from) in padded.iter_mut().zip(text.bytes()) {
        *to = to_case(&from);
    }
    padded
}

fn show(subtag: &Subtag, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    subtag.iter().filter(|byte| **byte != 0).try_for_each(|byte| write!(f, "{}", char::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::LanguageTag;

    #[test]
    fn a_tag_is_written_in_one_way() {
        for (typed, canonical) in
            [("en", "en"), ("ES-mx", "es-MX"), ("es-419", "es-419"), ("Fil", "fil")]
        {
            let tag: LanguageTag = typed.parse().unwrap();
            assert_eq!(tag.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(tag));
        }
    }

    #[test]
    fn a_region_can_be_left_out() {
        let mexican: LanguageTag = "es-MX".parse().unwrap();
        assert_eq!(mexican.without_region().to_string(), "es");
        assert_ne!(mexican, mexican.without_region());
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for text in [
            "", "e", "engl", "e1", "en-", "en-U", "en-USA", "en-US-x", "zh-Hant", "../en", "é",
            "en_US",
        ] {
            assert!(text.parse::<LanguageTag>().is_err(), "{text}");
        }
    }
}
