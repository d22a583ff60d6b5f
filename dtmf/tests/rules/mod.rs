//! Rules: what each field takes, a second time, over strings and without thought of speed.

use dtmf::brand::Brand;
use dtmf::card_mode::PUBLISHED;
use dtmf::expiry::DateOrder;
use dtmf::{Check, FieldError, FieldKind};

use crate::card_table::{issuers, passes_luhn};

/// Today, in all plans of the model.
pub(crate) const TODAY: (i32, i32, i32) = (2026, 8, 15);

/// What is known besides the entry.
pub(crate) struct Facts {
    pub(crate) is_test: bool,
    pub(crate) luhn_unionpay: bool,
    /// Check digits of cards are not looked at: a rule broken on purpose.
    pub(crate) no_luhn: bool,
    /// The value that a keyed digest stands for.
    pub(crate) known: String,
    /// How long the security code is, if the card number says it.
    pub(crate) code: Option<usize>,
}

/// The lengths that an entry which begins so may have.
pub(crate) fn lengths(kind: FieldKind, entry: &str, facts: &Facts) -> Vec<usize> {
    match kind {
        FieldKind::CardNumber { allowed } => {
            let brands: Vec<Brand> = allowed.iter().collect();
            let issuers = issuers(entry, &brands);
            if issuers.is_empty() {
                return (12..=19).collect();
            }
            let mut all: Vec<usize> =
                issuers.iter().flat_map(|card| card.lengths).copied().collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        FieldKind::ExpirationDate => vec![4],
        FieldKind::SecurityCode => facts.code.map_or(vec![3, 4], |length| vec![length]),
        FieldKind::DateOfBirth { .. } => vec![8],
        FieldKind::BankRoutingNumber
        | FieldKind::SocialSecurityNumber
        | FieldKind::IndividualTaxpayerNumber
        | FieldKind::SocialInsuranceNumber => vec![9],
        FieldKind::NhsNumber | FieldKind::NationalProviderIdentifier => vec![10],
        FieldKind::Amount { .. } => (1..=16).collect(),
        FieldKind::PostalCode { min, max }
        | FieldKind::BankAccountNumber { min, max }
        | FieldKind::MemberId { min, max, .. }
        | FieldKind::OneTimeCode { min, max, .. }
        | FieldKind::PhoneNumber { min, max }
        | FieldKind::Custom { min, max, .. } => (min.into()..=max.into()).collect(),
    }
}

/// What is handed over of an entry, or why it is refused.
pub(crate) fn judge(kind: FieldKind, entry: &str, facts: &Facts) -> Result<String, FieldError> {
    if let FieldKind::CardNumber { allowed } = kind {
        let brands: Vec<Brand> = allowed.iter().collect();
        return judge_card(entry, &brands, facts).map(|()| entry.to_owned());
    }
    let refused = refusal(kind);
    if !lengths(kind, entry, facts).contains(&entry.len()) {
        return Err(refused);
    }
    if let FieldKind::Amount { min, max, decimals } = kind {
        let amount = amount(entry, decimals.into()).ok_or(refused)?;
        let is_good = (u128::from(min)..=u128::from(max)).contains(&amount);
        return if is_good { Ok(amount.to_string()) } else { Err(refused) };
    }
    if fits(kind, entry, facts) { Ok(entry.to_owned()) } else { Err(refused) }
}

fn refusal(kind: FieldKind) -> FieldError {
    let is_expiry = kind == FieldKind::ExpirationDate;
    let word = format!("invalid-{}", if is_expiry { "date" } else { kind.step().as_str() });
    FieldError::ALL.into_iter().find(|error| error.as_str() == word).expect("an error each")
}

fn judge_card(entry: &str, allowed: &[Brand], facts: &Facts) -> Result<(), FieldError> {
    let (not_number, not_type) = (FieldError::InvalidCardNumber, FieldError::InvalidCardType);
    if entry.bytes().all(|digit| digit == b'0') {
        return Err(not_number);
    }
    let checked = facts.no_luhn || passes_luhn(entry);
    let all = issuers(entry, allowed);
    if all.is_empty() {
        return Err(if checked && (12..=19).contains(&entry.len()) {
            not_type
        } else {
            not_number
        });
    }
    let needs_check = all.len() > 1
        || all[0].has_check_digit
        || (all[0].brand == Brand::UnionPay && facts.luhn_unionpay);
    let fitting: Vec<_> = all.iter().filter(|card| card.lengths.contains(&entry.len())).collect();
    if fitting.is_empty() || (needs_check && !checked) {
        return Err(not_number);
    }
    if !fitting.iter().any(|card| allowed.contains(&card.brand)) {
        return Err(not_type);
    }
    let is_published = PUBLISHED.iter().any(|(_, numbers)| numbers.contains(&entry));
    if is_published == facts.is_test { Ok(()) } else { Err(not_number) }
}

/// Whether an entry of the right length is one of its kind.
fn fits(kind: FieldKind, entry: &str, facts: &Facts) -> bool {
    let digits: Vec<u32> = entry.chars().map(|key| key.to_digit(10).expect("a digit")).collect();
    let part = |from: usize, to: usize| -> i32 { entry[from..to].parse().expect("digits") };
    match kind {
        FieldKind::ExpirationDate => is_expiry(part(0, 2), part(2, 4)),
        FieldKind::BankRoutingNumber => {
            let sum = 3 * (digits[0] + digits[3] + digits[6])
                + 7 * (digits[1] + digits[4] + digits[7])
                + (digits[2] + digits[5] + digits[8]);
            let district = part(0, 2);
            let is_given = district <= 12
                || (21..=32).contains(&district)
                || (61..=72).contains(&district)
                || district == 80;
            sum.is_multiple_of(10) && is_given && part(0, 9) != 0
        }
        FieldKind::SocialSecurityNumber => {
            let area = part(0, 3);
            let void = ["078051120", "219099999"].contains(&entry);
            let zero = area == 0 || part(3, 5) == 0 || part(5, 9) == 0;
            !void && !zero && area != 666 && area < 900
        }
        FieldKind::IndividualTaxpayerNumber => {
            let group = part(3, 5);
            digits[0] == 9 && group >= 50 && ![66, 67, 68, 69, 89, 93].contains(&group)
        }
        FieldKind::SocialInsuranceNumber => digits[0] != 0 && digits[0] != 8 && passes_luhn(entry),
        FieldKind::NhsNumber => {
            let sum: u32 = (0..9).map(|place| digits[place] * (10 - place as u32)).sum();
            entry != "0000000000" && (11 - sum % 11) % 11 == digits[9]
        }
        FieldKind::NationalProviderIdentifier => passes_luhn(&format!("80840{entry}")),
        FieldKind::DateOfBirth { order } => match order {
            DateOrder::MonthDayYear => is_birth(part(4, 8), part(0, 2), part(2, 4)),
            DateOrder::DayMonthYear => is_birth(part(4, 8), part(2, 4), part(0, 2)),
            DateOrder::YearMonthDay => is_birth(part(0, 4), part(4, 6), part(6, 8)),
        },
        FieldKind::OneTimeCode { refuse_trivial, .. } => {
            let runs = ["01234567890123456789", "98765432109876543210"];
            let same = digits.iter().all(|&digit| digit == digits[0]);
            !(refuse_trivial && (same || runs.iter().any(|run| run.contains(entry))))
        }
        FieldKind::MemberId { check, .. } | FieldKind::Custom { check, .. } => {
            passes(check, entry, &digits, facts)
        }
        FieldKind::CardNumber { .. }
        | FieldKind::SecurityCode
        | FieldKind::PostalCode { .. }
        | FieldKind::BankAccountNumber { .. }
        | FieldKind::PhoneNumber { .. }
        | FieldKind::Amount { .. } => true,
    }
}

fn passes(check: Check, entry: &str, digits: &[u32], facts: &Facts) -> bool {
    match check {
        Check::None => true,
        Check::Luhn => passes_luhn(entry),
        Check::Mod11 => {
            let mut weight = 1;
            let mut sum = 0;
            for digit in digits.iter().rev() {
                sum += digit * weight;
                weight = if weight == 10 { 2 } else { weight + 1 };
            }
            sum % 11 == 0
        }
        Check::Mod97 => entry.parse::<u128>().expect("32 digits") % 97 == 1,
        Check::Keyed(_) => entry == facts.known,
    }
}

fn amount(entry: &str, decimals: usize) -> Option<u128> {
    let (whole, fraction) = entry.split_once('*').unwrap_or((entry, ""));
    if fraction.contains('*')
        || fraction.len() > decimals
        || (whole.is_empty() && fraction.is_empty())
    {
        return None;
    }
    Some(format!("0{whole}{fraction:0<decimals$}").parse().expect("digits"))
}

/// A card is good until the day after the last of its month, and for twenty years.
fn is_expiry(month: i32, year_of_century: i32) -> bool {
    let (year, this_month, _) = TODAY;
    let near = (year - 50..year + 50).find(|it| it % 100 == year_of_century).expect("one of them");
    let next = if month == 12 { (near + 1, 1) } else { (near, month + 1) };
    (1..=12).contains(&month)
        && TODAY <= (next.0, next.1, 1)
        && (near - year) * 12 + month - this_month <= 240
}

fn is_birth(year: i32, month: i32, day: i32) -> bool {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let exists = (1..=12).contains(&month) && (1..=days[month as usize - 1]).contains(&day);
    let tomorrow = (TODAY.0, TODAY.1, TODAY.2 + 1);
    exists && (year, month, day) <= tomorrow && (year + 121, month, day) > TODAY
}
