//! Chooser: plans and inputs by chance, in which what makes sense is as common as what does not.

use std::time::Duration;

use dtmf::brand::{Brand, BrandSet};
use dtmf::card_mode::PUBLISHED;
use dtmf::expiry::{Date, DateOrder};
use dtmf::keys::{Keys, PoundKey, StarKey};
use dtmf::{
    CardMode, Check, CustomId, Delivery, Drive, FailReason, Field, FieldKind, KeyedDigest,
    PlanRequest, SecurePlan, Step,
};

use super::{Hint, Model, Time};
use crate::card_table::{TABLE, number_of};
use crate::chance::Chance;
use crate::rules::TODAY;

/// One thing that happens to a collector.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    Key(char),
    Prompt(Time),
    Capture(Step),
    Complete,
    Take,
    Delivered(Result<(), FailReason>),
    Cancel,
    HangUp,
    Abort,
}

/// The value that keyed digests of these plans stand for.
pub(crate) const KNOWN: &str = "24681357";

pub(crate) struct Chooser {
    pub(crate) chance: Chance,
    pub(crate) digest: KeyedDigest,
}

/// A plan that holds its fields.
pub(crate) struct Chosen {
    pub(crate) fields: Vec<Field>,
    request: PlanRequest<'static>,
}

impl Chosen {
    pub(crate) fn request(&self) -> PlanRequest<'_> {
        PlanRequest { fields: &self.fields, ..self.request }
    }
}

impl Chooser {
    fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn between(&mut self, low: u8, high: u8) -> u8 {
        low + self.below(u64::from(high - low) + 1) as u8
    }

    /// Any plan that is valid.
    pub(crate) fn plan(&mut self) -> Chosen {
        loop {
            let count = if self.one_in(8) { self.between(5, 8) } else { self.between(1, 4) };
            let fields: Vec<Field> = (0..count).map(|_| self.field()).collect();
            let (year, month, day) = TODAY;
            let today = Date::new(year as u16, month as u8, day as u8).expect("a date");
            let card_mode = self.among(&[CardMode::Test, CardMode::Live]);
            let tenths = if self.one_in(4) { 50 + self.below(1_000) } else { 3_000 };
            let request = PlanRequest {
                keys: self.keys(),
                deadline: seconds_10(tenths),
                luhn_unionpay: self.one_in(2),
                drive: self.among(&[Drive::WholePlan, Drive::FieldAtATime]),
                delivery: self.among(&[Delivery::Sink, Delivery::Sink, Delivery::Discard]),
                ..PlanRequest::new(&[], today, card_mode)
            };
            let chosen = Chosen { fields, request };
            if SecurePlan::new(chosen.request()).is_ok() {
                return chosen;
            }
        }
    }

    fn field(&mut self) -> Field {
        Field {
            attempts: self.between(1, 3),
            first_key_timeout: seconds_10(10 + self.below(200)),
            inter_key_timeout: seconds_10(10 + self.below(90)),
            field_timeout: seconds_10(50 + self.below(500)),
            keys: self.one_in(6).then(|| self.keys()),
            double_entry: self.one_in(3),
            ..Field::new(self.kind())
        }
    }

    fn keys(&mut self) -> Keys {
        let pound = if self.one_in(8) { PoundKey::Ignore } else { PoundKey::Submit };
        let star = match self.below(12) {
            0 => StarKey::Clear,
            1 => StarKey::Cancel,
            2 => StarKey::Ignore,
            3 => StarKey::DecimalPoint,
            _ => StarKey::ClearThenCancel,
        };
        Keys { pound, star }
    }

    fn kind(&mut self) -> FieldKind {
        match self.below(20) {
            0..=2 => FieldKind::CardNumber { allowed: self.brands() },
            3 => FieldKind::ExpirationDate,
            4 | 5 => FieldKind::SecurityCode,
            6 => self.spanned(3, 10, |min, max| FieldKind::PostalCode { min, max }),
            7 => FieldKind::BankRoutingNumber,
            8 => self.spanned(4, 17, |min, max| FieldKind::BankAccountNumber { min, max }),
            9 => FieldKind::SocialSecurityNumber,
            10 => FieldKind::IndividualTaxpayerNumber,
            11 => FieldKind::DateOfBirth {
                order: self.among(&[
                    DateOrder::MonthDayYear,
                    DateOrder::DayMonthYear,
                    DateOrder::YearMonthDay,
                ]),
            },
            12 => FieldKind::SocialInsuranceNumber,
            13 => FieldKind::NhsNumber,
            14 => FieldKind::NationalProviderIdentifier,
            15 => {
                let check = self.check();
                self.spanned(1, 32, |min, max| FieldKind::MemberId { min, max, check })
            }
            16 => {
                let refuse_trivial = self.one_in(2);
                self.spanned(4, 8, |min, max| FieldKind::OneTimeCode { min, max, refuse_trivial })
            }
            17 => self.spanned(7, 15, |min, max| FieldKind::PhoneNumber { min, max }),
            18 => FieldKind::Amount {
                min: self.below(500),
                max: 500 + self.below(1_000_000),
                decimals: self.between(0, 4),
            },
            _ => {
                let (id, check) = (self.among(&CustomId::ALL), self.check());
                self.spanned(1, 32, |min, max| FieldKind::Custom { id, min, max, check })
            }
        }
    }

    fn spanned(&mut self, least: u8, most: u8, make: impl Fn(u8, u8) -> FieldKind) -> FieldKind {
        let min = self.between(least, most);
        let max = self.between(min, most);
        make(min, max)
    }

    fn check(&mut self) -> Check {
        let keyed = Check::Keyed(self.digest);
        self.among(&[Check::None, Check::Luhn, Check::Mod11, Check::Mod97, keyed])
    }

    fn brands(&mut self) -> BrandSet {
        match self.below(4) {
            0 => BrandSet::NONE.with(self.among(&Brand::ALL)).with(self.among(&Brand::ALL)),
            1 => BrandSet::COMMON.with(Brand::RuPay),
            2 => Brand::ALL.into_iter().fold(BrandSet::NONE, BrandSet::with),
            _ => BrandSet::COMMON,
        }
    }

    /// What happens next, each a time after the one before.
    pub(crate) fn next(&mut self, chosen: &Chosen, model: &Model) -> Vec<(Time, Input)> {
        let pause = if self.one_in(12) { self.below(300) } else { self.below(25) };
        if self.one_in(25) {
            return vec![(pause, self.anything(chosen))];
        }
        match model.hint() {
            Hint::Key { kind, first, code } => {
                let keys = self.entry(kind, first, code, model);
                let gap = if self.one_in(10) { self.below(120) } else { self.below(8) };
                let gaps = std::iter::once(pause).chain(std::iter::repeat(gap));
                gaps.zip(keys.chars().map(Input::Key)).collect()
            }
            Hint::Capture if self.one_in(5) => vec![(pause, Input::Complete)],
            Hint::Capture => {
                let step = model.wanted().filter(|_| !self.one_in(6));
                let step = step.unwrap_or_else(|| self.among(&chosen.fields).kind.step());
                vec![(pause, Input::Capture(step))]
            }
            Hint::Deliver => {
                let (later, outcome) = (self.below(350), self.outcome());
                let deliver = [(pause, Input::Take), (later, Input::Delivered(outcome))];
                deliver[usize::from(self.one_in(10))..].to_vec()
            }
            Hint::Nothing => vec![(pause, self.anything(chosen))],
        }
    }

    fn anything(&mut self, chosen: &Chosen) -> Input {
        match self.below(24) {
            0 => Input::Cancel,
            1 => Input::HangUp,
            2 => Input::Abort,
            3 => Input::Complete,
            4 | 5 => Input::Take,
            6 | 7 => Input::Delivered(self.outcome()),
            8 => Input::Capture(self.among(&Step::ALL)),
            9 => Input::Capture(self.among(&chosen.fields).kind.step()),
            10..=15 => Input::Prompt(self.below(150)),
            _ => Input::Key(self.key()),
        }
    }

    fn outcome(&mut self) -> Result<(), FailReason> {
        let [connector, validation] =
            [FailReason::PaymentConnectorError, FailReason::ValidationError];
        self.among(&[Ok(()), Ok(()), Ok(()), Err(connector), Err(validation)])
    }

    fn key(&mut self) -> char {
        self.among(b"0123456789##**ABCD").into()
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// The keys of an entry, most often a right one.
    fn entry(
        &mut self,
        kind: FieldKind,
        first: Option<&str>,
        code: Option<usize>,
        model: &Model,
    ) -> String {
        let mut keys = match first {
            Some(first) if !self.one_in(8) => as_keyed(first, kind),
            Some(_) | None => self.right(kind, code, model),
        };
        match self.below(16) {
            0 => keys = (0..self.below(8)).map(|_| self.key()).collect(),
            1 => drop(keys.pop()),
            2 => keys.push(self.key()),
            3 => keys = "9".repeat(34),
            4 if !keys.is_empty() => {
                let place = self.below(keys.len() as u64) as usize;
                keys.replace_range(place..=place, &self.key().to_string());
            }
            5 => keys.insert(0, '*'),
            _ => {}
        }
        if self.one_in(5) { keys } else { keys + "#" }
    }

    /// An entry that the field takes, if one is found in a few trials.
    fn right(&mut self, kind: FieldKind, code: Option<usize>, model: &Model) -> String {
        /// One number in 97 has the right check digits.
        const TRIALS: usize = 300;
        let mut candidate = String::new();
        for _ in 0..TRIALS {
            candidate = self.candidate(kind, code);
            if model.would_take(&candidate) {
                break;
            }
        }
        candidate
    }

    fn candidate(&mut self, kind: FieldKind, code: Option<usize>) -> String {
        match kind {
            FieldKind::CardNumber { .. } if self.one_in(2) => {
                let (_, numbers) = self.among(&PUBLISHED);
                self.among(numbers).to_owned()
            }
            FieldKind::CardNumber { .. } => {
                let card = &TABLE[self.below(18) as usize];
                let spans: Vec<_> = card.spans().collect();
                let (length, (first, last)) = (self.among(card.lengths), self.among(&spans));
                number_of(self.among(&[first, last]), length)
            }
            FieldKind::ExpirationDate => {
                format!("{:02}{:02}", 1 + self.below(12), 26 + self.below(21))
            }
            FieldKind::SecurityCode => self.digits(code.unwrap_or(3)),
            FieldKind::DateOfBirth { order } => {
                let (day, month) = (1 + self.below(31), 1 + self.below(12));
                let year = 1903 + self.below(125);
                match order {
                    DateOrder::MonthDayYear => format!("{month:02}{day:02}{year}"),
                    DateOrder::DayMonthYear => format!("{day:02}{month:02}{year}"),
                    DateOrder::YearMonthDay => format!("{year}{month:02}{day:02}"),
                }
            }
            FieldKind::Amount { max, .. } => as_keyed(&self.below(max + 1).to_string(), kind),
            FieldKind::BankRoutingNumber
            | FieldKind::SocialSecurityNumber
            | FieldKind::SocialInsuranceNumber => self.digits(9),
            FieldKind::IndividualTaxpayerNumber => format!("9{}", self.digits(8)),
            FieldKind::NhsNumber | FieldKind::NationalProviderIdentifier => self.digits(10),
            FieldKind::MemberId { check: Check::Keyed(_), .. }
            | FieldKind::Custom { check: Check::Keyed(_), .. } => KNOWN.to_owned(),
            FieldKind::PostalCode { min, max }
            | FieldKind::BankAccountNumber { min, max }
            | FieldKind::MemberId { min, max, .. }
            | FieldKind::OneTimeCode { min, max, .. }
            | FieldKind::PhoneNumber { min, max }
            | FieldKind::Custom { min, max, .. } => {
                let length = self.between(min, max);
                self.digits(length.into())
            }
        }
    }
}

/// An entry as it is keyed: of an amount, not its minor units.
fn as_keyed(accepted: &str, kind: FieldKind) -> String {
    let FieldKind::Amount { decimals: decimals @ 1.., .. } = kind else {
        return accepted.to_owned();
    };
    let padded = format!("{accepted:0>width$}", width = usize::from(decimals) + 1);
    let (whole, fraction) = padded.split_at(padded.len() - usize::from(decimals));
    format!("{whole}*{fraction}")
}

/// A duration of so many tenths of a second.
pub(crate) fn seconds_10(tenths: Time) -> Duration {
    Duration::from_millis(100 * tenths)
}
