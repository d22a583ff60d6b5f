//! Card table: the brands, their prefixes and lengths, written down a second time for tests, with
//! a search that is plain and slow.

#![allow(dead_code, reason = "not every test needs all of it")]

use dtmf::brand::Brand;

/// What is known of one brand.
pub(crate) struct Card {
    pub(crate) brand: Brand,
    /// Prefixes and spans of prefixes.
    prefixes: &'static str,
    pub(crate) lengths: &'static [usize],
    pub(crate) has_check_digit: bool,
    pub(crate) code: Option<usize>,
    /// Whether it takes part in plans that don't name it.
    pub(crate) is_common: bool,
}

impl Card {
    /// First and last prefix of each span.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let words = self.prefixes.split_whitespace();
        words.map(|word| word.split_once('-').unwrap_or((word, word)))
    }
}

const fn card(brand: Brand, prefixes: &'static str, lengths: &'static [usize]) -> Card {
    Card { brand, prefixes, lengths, has_check_digit: true, code: Some(3), is_common: true }
}

pub(crate) const TABLE: [Card; 18] = [
    card(Brand::Visa, "4", &[13, 16, 18, 19]),
    card(Brand::Mastercard, "51-55 2221-2720", &[16]),
    Card { code: Some(4), ..card(Brand::Amex, "34 37", &[15]) },
    card(Brand::DinersClub, "300-305 3095 36 38-39", &[14, 16, 19]),
    card(Brand::Discover, "6011 644-649 65", &[16, 19]),
    card(Brand::Jcb, "2131 1800 3528-3589", &[16, 17, 18, 19]),
    Card {
        has_check_digit: false,
        ..card(
            Brand::UnionPay,
            "620 62100-62182 62184-62197 62200-62205 622010-622999 62207-62209 623-626 6270 6272 \
             6276 627700-627779 627781-627799 6282-6289 6291-6292 810 8110-8171",
            &[14, 15, 16, 17, 18, 19],
        )
    },
    card(
        Brand::Maestro,
        "493698 500000-504174 504176-506698 506779-508999 56-59 63 67 6",
        &[12, 13, 14, 15, 16, 17, 18, 19],
    ),
    card(
        Brand::Elo,
        "401178-401179 438935 457631-457632 431274 451416 457393 504175 506699-506778 \
         509000-509999 627780 636297 636368 650031-650033 650035-650051 650405-650439 \
         650485-650538 650541-650598 650700-650718 650720-650727 650901-650978 651652-651679 \
         655000-655019 655021-655058",
        &[16],
    ),
    card(Brand::Mir, "2200-2204", &[16, 17, 18, 19]),
    card(Brand::Hiper, "637095 637568 637599 637609 637612 63737423 63743358", &[16]),
    card(Brand::Hipercard, "606282", &[16]),
    card(Brand::Troy, "9792", &[16]),
    card(Brand::Naranja, "402918 527572 589562", &[16]),
    card(
        Brand::Verve,
        "506099-506127 506129 506133-506150 506158-506163 506166 506168 506170 506173 \
         506176-506180 506184 506187-506188 506191 506195 506197 507865-507866 507868-507877 \
         507880-507888 507900 507941",
        &[16, 18, 19],
    ),
    Card { is_common: false, ..card(Brand::RuPay, "60 65 81-82 508 353 356", &[16]) },
    Card { is_common: false, code: None, ..card(Brand::Uatp, "1", &[15]) },
    Card {
        is_common: false,
        has_check_digit: false,
        code: None,
        ..card(Brand::EnRoute, "2014 2149", &[15])
    },
];

/// The brands that may have issued a number: those with the longest prefix, and of these the ones
/// with the narrowest span.
pub(crate) fn issuers(number: &str, allowed: &[Brand]) -> Vec<&'static Card> {
    for length in (1..=number.len().min(8)).rev() {
        let prefix: u32 = number[..length].parse().expect("digits");
        let mut found: Vec<(u32, &Card)> = Vec::new();
        for card in TABLE.iter().filter(|it| it.is_common || allowed.contains(&it.brand)) {
            for (first, last) in card.spans().filter(|(first, _)| first.len() == length) {
                let [first, last]: [u32; 2] = [first, last].map(|it| it.parse().expect("digits"));
                if (first..=last).contains(&prefix) {
                    found.push((last - first, card));
                }
            }
        }
        if let Some(&(narrowest, _)) = found.iter().min_by_key(|(width, _)| width) {
            found.retain(|&(width, _)| width == narrowest);
            return found.into_iter().map(|(_, card)| card).collect();
        }
    }
    Vec::new()
}

/// Luhn's rule by its table of doubled digits.
pub(crate) fn passes_luhn(number: &str) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let mut doubled = false;
    let mut sum = 0;
    for digit in number.bytes().rev().map(|byte| u32::from(byte - b'0')) {
        sum += if doubled { DOUBLED[digit as usize] } else { digit };
        doubled = !doubled;
    }
    sum % 10 == 0
}

/// A number of this length that begins so and passes Luhn's rule; zeros in between, and a seven
/// so that it is not of zeros alone.
pub(crate) fn number_of(prefix: &str, length: usize) -> String {
    let stem = format!("{prefix:0<width$}7", width = length - 2);
    (0..10)
        .map(|last| format!("{stem}{last}"))
        .find(|number| passes_luhn(number))
        .expect("one of ten")
}
