//! `Brand`: the card brands, told apart by the first digits of a number.
//!
//! A brand owns ranges of prefixes of one to eight digits (ISO/IEC 7812 issuer identification
//! numbers). They overlap: the longest matching prefix wins, then the narrower range. Where two
//! brands are still level, the number belongs to either.

use std::fmt;

use crate::lengths::Lengths;

/// A card brand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    /// Visa
    Visa,
    /// Mastercard
    Mastercard,
    /// American Express
    Amex,
    /// Diners Club
    DinersClub,
    /// Discover
    Discover,
    /// JCB
    Jcb,
    /// China UnionPay
    UnionPay,
    /// Maestro
    Maestro,
    /// Elo (Brazil)
    Elo,
    /// Mir (Russia)
    Mir,
    /// Hiper (Brazil)
    Hiper,
    /// Hipercard (Brazil)
    Hipercard,
    /// Troy (Turkey)
    Troy,
    /// Naranja (Argentina)
    Naranja,
    /// Verve (Nigeria)
    Verve,
    /// RuPay (India). Its ranges overlap with Discover, JCB and Maestro, so it takes part only
    /// where a plan names it.
    RuPay,
    /// Universal Air Travel Plan; only where a plan names it.
    Uatp,
    /// enRoute, whose last cards have expired; only where a plan names it.
    EnRoute,
}

impl Brand {
    /// Every brand.
    pub const ALL: [Self; 18] = [
        Self::Visa,
        Self::Mastercard,
        Self::Amex,
        Self::DinersClub,
        Self::Discover,
        Self::Jcb,
        Self::UnionPay,
        Self::Maestro,
        Self::Elo,
        Self::Mir,
        Self::Hiper,
        Self::Hipercard,
        Self::Troy,
        Self::Naranja,
        Self::Verve,
        Self::RuPay,
        Self::Uatp,
        Self::EnRoute,
    ];

    /// The word for this brand in plans and events; Twilio's where it has one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "visa",
            Self::Mastercard => "mastercard",
            Self::Amex => "amex",
            Self::DinersClub => "diners-club",
            Self::Discover => "discover",
            Self::Jcb => "jcb",
            Self::UnionPay => "unionpay",
            Self::Maestro => "maestro",
            Self::Elo => "elo",
            Self::Mir => "mir",
            Self::Hiper => "hiper",
            Self::Hipercard => "hipercard",
            Self::Troy => "troy",
            Self::Naranja => "naranja",
            Self::Verve => "verve",
            Self::RuPay => "rupay",
            Self::Uatp => "uatp",
            Self::EnRoute => "enroute",
        }
    }

    /// Whether every number of this brand passes the Luhn check (ISO/IEC 7812-1 annex B). Some
    /// UnionPay numbers in use don't; enRoute never had a check digit.
    pub(crate) const fn has_check_digit(self) -> bool {
        !matches!(self, Self::UnionPay | Self::EnRoute)
    }

    /// The lengths of this brand's card numbers.
    pub(crate) const fn number_lengths(self) -> Lengths {
        match self {
            // 13 is a legacy length that test numbers still have.
            Self::Visa => Lengths::of(&[13, 16, 18, 19]),
            Self::Amex | Self::Uatp | Self::EnRoute => Lengths::of(&[15]),
            Self::DinersClub => Lengths::of(&[14, 16, 19]),
            Self::Discover => Lengths::of(&[16, 19]),
            Self::UnionPay => Lengths::between(14, 19),
            Self::Maestro => Lengths::between(12, 19),
            Self::Jcb | Self::Mir => Lengths::between(16, 19),
            Self::Verve => Lengths::of(&[16, 18, 19]),
            Self::Mastercard
            | Self::Elo
            | Self::Hiper
            | Self::Hipercard
            | Self::Troy
            | Self::Naranja
            | Self::RuPay => Lengths::of(&[16]),
        }
    }

    /// The length of this brand's security code; `None` if its cards have none.
    pub(crate) const fn code_length(self) -> Option<u8> {
        match self {
            Self::Amex => Some(4),
            Self::Uatp | Self::EnRoute => None,
            Self::Visa
            | Self::Mastercard
            | Self::DinersClub
            | Self::Discover
            | Self::Jcb
            | Self::UnionPay
            | Self::Maestro
            | Self::Elo
            | Self::Mir
            | Self::Hiper
            | Self::Hipercard
            | Self::Troy
            | Self::Naranja
            | Self::Verve
            | Self::RuPay => Some(3),
        }
    }

    const fn ranges(self) -> &'static [Range] {
        match self {
            Self::Visa => VISA,
            Self::Mastercard => MASTERCARD,
            Self::Amex => AMEX,
            Self::DinersClub => DINERS_CLUB,
            Self::Discover => DISCOVER,
            Self::Jcb => JCB,
            Self::UnionPay => UNION_PAY,
            Self::Maestro => MAESTRO,
            Self::Elo => ELO,
            Self::Mir => MIR,
            Self::Hiper => HIPER,
            Self::Hipercard => HIPERCARD,
            Self::Troy => TROY,
            Self::Naranja => NARANJA,
            Self::Verve => VERVE,
            Self::RuPay => RUPAY,
            Self::Uatp => UATP,
            Self::EnRoute => EN_ROUTE,
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of brands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrandSet(u32);

impl BrandSet {
    /// No brand.
    pub const NONE: Self = Self(0);
    /// The fifteen brands in common use.
    pub const COMMON: Self = Self::NONE
        .with(Brand::Visa)
        .with(Brand::Mastercard)
        .with(Brand::Amex)
        .with(Brand::DinersClub)
        .with(Brand::Discover)
        .with(Brand::Jcb)
        .with(Brand::UnionPay)
        .with(Brand::Maestro)
        .with(Brand::Elo)
        .with(Brand::Mir)
        .with(Brand::Hiper)
        .with(Brand::Hipercard)
        .with(Brand::Troy)
        .with(Brand::Naranja)
        .with(Brand::Verve);

    /// This set and one brand more.
    #[must_use]
    pub const fn with(self, brand: Brand) -> Self {
        Self(self.0 | brand.bit())
    }

    /// Whether the brand is in the set.
    #[must_use]
    pub const fn contains(self, brand: Brand) -> bool {
        self.0 & brand.bit() != 0
    }

    /// Whether no brand is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The brands of the set, in the order of [`Brand::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Brand> {
        Brand::ALL.into_iter().filter(move |&brand| self.contains(brand))
    }

    /// The brand, if the set is of exactly one.
    pub(crate) fn sole(self) -> Option<Brand> {
        let mut brands = self.iter();
        brands.next().filter(|_| brands.next().is_none())
    }

    /// The brands whose best prefix of `number` (ASCII digits) is unsurpassed: none for an unknown
    /// prefix, one as a rule, several where two brands claim the very same range.
    ///
    /// Ranges of the common brands always take part, so that a card of a brand which is not
    /// allowed is known for what it is; the others only if `allowed` has them.
    pub(crate) fn issuing(number: &[u8], allowed: Self) -> Self {
        let mut best = Match::NONE;
        let mut brands = Self::NONE;
        for brand in Self(Self::COMMON.0 | allowed.0).iter() {
            let matched = brand.ranges().iter().filter_map(|range| range.matched(number)).max();
            let Some(matched) = matched else { continue };
            if matched > best {
                (best, brands) = (matched, Self::NONE.with(brand));
            } else if matched == best {
                brands = brands.with(brand);
            }
        }
        brands
    }
}

impl fmt::Debug for BrandSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// The prefixes from the first to the second, both of the same length, both included.
///
/// They are text so that keyed digits are compared where they are, without a number being made
/// of them.
#[derive(Clone, Copy)]
struct Range(&'static str, &'static str);

/// How well a range fits: the longer prefix is better, then the narrower range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    prefix_length: usize,
    narrowness: std::cmp::Reverse<u32>,
}

impl Match {
    const NONE: Self = Self { prefix_length: 0, narrowness: std::cmp::Reverse(u32::MAX) };
}

impl Range {
    fn matched(&self, number: &[u8]) -> Option<Match> {
        let Self(first, last) = self;
        let prefix = number.get(..first.len())?;
        let inside = first.as_bytes() <= prefix && prefix <= last.as_bytes();
        inside.then(|| Match {
            prefix_length: first.len(),
            narrowness: std::cmp::Reverse(value(last) - value(first)),
        })
    }
}

/// The number a prefix of at most eight digits spells.
fn value(prefix: &str) -> u32 {
    prefix.bytes().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
}

const fn one(prefix: &'static str) -> Range {
    Range(prefix, prefix)
}

const VISA: &[Range] = &[one("4")];
const MASTERCARD: &[Range] = &[Range("51", "55"), Range("2221", "2720")];
const AMEX: &[Range] = &[one("34"), one("37")];
const DINERS_CLUB: &[Range] = &[Range("300", "305"), one("3095"), one("36"), Range("38", "39")];
const DISCOVER: &[Range] = &[one("6011"), Range("644", "649"), one("65")];
const JCB: &[Range] = &[one("2131"), one("1800"), Range("3528", "3589")];
const UNION_PAY: &[Range] = &[
    one("620"),
    Range("62100", "62182"),
    Range("62184", "62197"),
    Range("62200", "62205"),
    Range("622010", "622999"),
    Range("62207", "62209"),
    Range("623", "626"),
    one("6270"),
    one("6272"),
    one("6276"),
    Range("627700", "627779"),
    Range("627781", "627799"),
    Range("6282", "6289"),
    Range("6291", "6292"),
    one("810"),
    Range("8110", "8171"),
];
const MAESTRO: &[Range] = &[
    one("493698"),
    Range("500000", "504174"),
    Range("504176", "506698"),
    Range("506779", "508999"),
    Range("56", "59"),
    one("63"),
    one("67"),
    one("6"),
];
const ELO: &[Range] = &[
    Range("401178", "401179"),
    one("438935"),
    Range("457631", "457632"),
    one("431274"),
    one("451416"),
    one("457393"),
    one("504175"),
    Range("506699", "506778"),
    Range("509000", "509999"),
    one("627780"),
    one("636297"),
    one("636368"),
    Range("650031", "650033"),
    Range("650035", "650051"),
    Range("650405", "650439"),
    Range("650485", "650538"),
    Range("650541", "650598"),
    Range("650700", "650718"),
    Range("650720", "650727"),
    Range("650901", "650978"),
    Range("651652", "651679"),
    Range("655000", "655019"),
    Range("655021", "655058"),
];
const MIR: &[Range] = &[Range("2200", "2204")];
const HIPER: &[Range] = &[
    one("637095"),
    one("637568"),
    one("637599"),
    one("637609"),
    one("637612"),
    one("63737423"),
    one("63743358"),
];
const HIPERCARD: &[Range] = &[one("606282")];
const TROY: &[Range] = &[one("9792")];
const NARANJA: &[Range] = &[one("402918"), one("527572"), one("589562")];
const VERVE: &[Range] = &[
    Range("506099", "506127"),
    one("506129"),
    Range("506133", "506150"),
    Range("506158", "506163"),
    one("506166"),
    one("506168"),
    one("506170"),
    one("506173"),
    Range("506176", "506180"),
    one("506184"),
    Range("506187", "506188"),
    one("506191"),
    one("506195"),
    one("506197"),
    Range("507865", "507866"),
    Range("507868", "507877"),
    Range("507880", "507888"),
    one("507900"),
    one("507941"),
];
const RUPAY: &[Range] =
    &[one("60"), one("65"), Range("81", "82"), one("508"), one("353"), one("356")];
const UATP: &[Range] = &[one("1")];
const EN_ROUTE: &[Range] = &[one("2014"), one("2149")];

#[cfg(test)]
mod tests {
    use super::{Brand, BrandSet};

    fn issuing(number: &str) -> BrandSet {
        BrandSet::issuing(number.as_bytes(), BrandSet::COMMON)
    }

    #[test]
    fn every_range_is_well_formed() {
        for brand in Brand::ALL {
            for range in brand.ranges() {
                assert_eq!(range.0.len(), range.1.len());
                assert!((1..=8).contains(&range.0.len()) && range.0 <= range.1);
                assert!(range.0.bytes().chain(range.1.bytes()).all(|byte| byte.is_ascii_digit()));
            }
        }
    }

    #[test]
    fn every_brand_has_a_word_and_a_bit_of_its_own() {
        for (index, brand) in Brand::ALL.into_iter().enumerate() {
            assert_eq!(brand as usize, index);
            let same = Brand::ALL.into_iter().filter(|other| other.as_str() == brand.as_str());
            assert_eq!(same.count(), 1);
        }
        assert_eq!(BrandSet::COMMON.iter().count(), 15);
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_narrower_range() {
        for (number, brand) in [
            ("4111", Brand::Visa),
            ("401178", Brand::Elo),
            ("402918", Brand::Naranja),
            ("493698", Brand::Maestro),
            ("527572", Brand::Naranja),
            ("527573", Brand::Mastercard),
            ("2720", Brand::Mastercard),
            ("2204", Brand::Mir),
            ("506099", Brand::Verve),
            ("506698", Brand::Maestro),
            ("506699", Brand::Elo),
            ("507867", Brand::Maestro),
            ("507868", Brand::Verve),
            ("606282", Brand::Hipercard),
            ("627779", Brand::UnionPay),
            ("627780", Brand::Elo),
            ("63737423", Brand::Hiper),
            ("63737424", Brand::Maestro),
            ("650034", Brand::Discover),
            ("650035", Brand::Elo),
            ("6", Brand::Maestro),
        ] {
            assert_eq!(issuing(number).sole(), Some(brand), "{number}");
        }
        assert!(issuing("2221").sole() == Some(Brand::Mastercard) && issuing("2220").is_empty());
        assert!(issuing("").is_empty() && issuing("0").is_empty() && issuing("1").is_empty());
    }

    #[test]
    fn a_brand_outside_the_common_ones_takes_part_where_it_is_allowed() {
        let allowed = BrandSet::COMMON.with(Brand::RuPay).with(Brand::Uatp);
        let issuing = |number: &str| BrandSet::issuing(number.as_bytes(), allowed);
        assert_eq!(issuing("607384").sole(), Some(Brand::RuPay));
        assert_eq!(issuing("100000").sole(), Some(Brand::Uatp));
        assert_eq!(issuing("180000").sole(), Some(Brand::Jcb));
        let tie = BrandSet::NONE.with(Brand::Discover).with(Brand::RuPay);
        assert!(issuing("652111") == tie && tie.sole().is_none());
    }
}
