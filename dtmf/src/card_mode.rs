//! `CardMode`: whether a plan takes real cards or the published test cards.

use crate::brand::Brand;

/// Which card numbers a plan takes. There is no default: whoever makes a plan says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardMode {
    /// Only the [`PUBLISHED`] test numbers, so that no real card gets into a trial.
    Test,
    /// Any number but those, so that no test card passes for a payment.
    Live,
}

impl CardMode {
    /// Whether a number (ASCII digits) may be taken in this mode.
    pub(crate) fn takes(self, number: &[u8]) -> bool {
        let is_published = PUBLISHED
            .iter()
            .flat_map(|(_, numbers)| *numbers)
            .any(|published| published.as_bytes() == number);
        match self {
            Self::Test => is_published,
            Self::Live => !is_published,
        }
    }
}

/// The test numbers that brands and gateways publish, each with the brand it is taken for where a
/// plan allows [`BrandSet::COMMON`](crate::brand::BrandSet::COMMON).
pub const PUBLISHED: [(Brand, &[&str]); 13] = [
    (
        Brand::Visa,
        &[
            "4111111111111111",
            "4242424242424242",
            "4000056655665556",
            "4012888888881881",
            "4222222222222",
        ],
    ),
    (
        Brand::Mastercard,
        &[
            "5555555555554444",
            "5105105105105100",
            "5200828282828210",
            "2223003122003222",
            "2223000048400011",
            "2720990000000007",
            "2221000000000009",
        ],
    ),
    (Brand::Amex, &["378282246310005", "371449635398431", "378734493671000"]),
    // The last one is BCcard's, which has no range of its own.
    (
        Brand::Discover,
        &["6011111111111117", "6011000990139424", "6011981111111113", "6555900000604105"],
    ),
    (
        Brand::DinersClub,
        &["30569309025904", "38520000023237", "36227206271667", "3056930009020004"],
    ),
    (Brand::Jcb, &["3530111333300000", "3566002020360505"]),
    (
        Brand::UnionPay,
        &["6200000000000005", "6200000000000047", "6205500000000000004", "6243030000000001"],
    ),
    (
        Brand::Maestro,
        &[
            "6759649826438453",
            "6771798021000008",
            "6304000000000000",
            // Published as Verve's, but in none of the ranges known for it.
            "5060666666666666666",
            // RuPay's, where no plan asks for RuPay.
            "6073849700004947",
        ],
    ),
    (Brand::Elo, &["5066991111111118", "6362970000457013"]),
    (Brand::Hipercard, &["6062828888666688"]),
    (Brand::Mir, &["2200770212727079", "2200000000000004"]),
    (Brand::Troy, &["9792030394440796"]),
    (Brand::Verve, &["5060990580000217499", "5061460410120223210"]),
];
