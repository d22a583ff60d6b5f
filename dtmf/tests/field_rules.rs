//! Every rule of every field, as tables of what passes and what fails, keyed into a collector.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod card_table;
mod script;

use card_table::{Card, TABLE, issuers, number_of};
use dtmf::brand::{Brand, BrandSet};
use dtmf::card_mode::PUBLISHED;
use dtmf::expiry::DateOrder;
use dtmf::{
    CardMode, Check, CustomId, Drive, Field, FieldError, FieldKind, KeyedDigest, PlanRequest, Step,
};
use ring::hmac;
use script::{Script, request};

/// How many digits a number of an unknown brand has here.
const USUAL: usize = 16;

#[test]
fn every_rule_passes_what_it_should_and_fails_what_it_should() {
    let published = published_numbers();
    let (borders, lengths, others) = (brand_borders(), brand_lengths(), other_fields());
    let cases = published + borders + lengths + others;
    assert!(published > 100 && borders > 500 && lengths > 100 && others > 250);
    println!(
        "figure: field rules: {cases} cases ({published} of published numbers, {borders} of brand \
         borders, {lengths} of lengths, {others} of other fields), all as expected"
    );
}

/// What becomes of one entry, and the brand it is taken for if it is a card number.
fn keyed(kind: FieldKind, card_mode: CardMode, entry: &str) -> Result<Option<Brand>, FieldError> {
    let fields = [Field::new(kind)];
    let drive = Drive::FieldAtATime;
    let mut script = Script::of(PlanRequest { drive, card_mode, ..request(&fields) });
    script.capture(kind.step()).key(entry).key("#").wait(60_000);
    match script.errors()[..] {
        [] => {
            assert!(script.required().is_empty());
            Ok(script.collector.issuer())
        }
        [error] => Err(error),
        [..] => panic!("one capture is one attempt"),
    }
}

fn card(allowed: BrandSet, card_mode: CardMode, number: &str) -> Result<Option<Brand>, FieldError> {
    keyed(FieldKind::CardNumber { allowed }, card_mode, number)
}

/// Published numbers pass where test cards are taken and as their brand alone; with a wrong last
/// digit nowhere.
fn published_numbers() -> usize {
    let mut cases = 0;
    let not_number = Err(FieldError::InvalidCardNumber);
    for (brand, numbers) in PUBLISHED {
        let rest = Brand::ALL.into_iter().filter(|&it| it != brand);
        let others = rest.filter(|it| TABLE[*it as usize].is_common);
        let others = others.fold(BrandSet::NONE, BrandSet::with);
        for number in numbers {
            assert_eq!(card(BrandSet::COMMON, CardMode::Test, number), Ok(Some(brand)));
            let refused = card(others, CardMode::Test, number);
            assert_eq!(refused, Err(FieldError::InvalidCardType), "{number}");
            assert_eq!(card(BrandSet::COMMON, CardMode::Live, number), not_number, "{number}");
            let (stem, last) = number.split_at(number.len() - 1);
            let wrong = format!("{stem}{}", (last.parse::<u32>().unwrap() + 1) % 10);
            assert_eq!(card(BrandSet::COMMON, CardMode::Test, &wrong), not_number, "{wrong}");
            cases += 4;
        }
    }
    // Numbers that documents give for test numbers by mistake, and what is none at all.
    for number in ["3065930009020004", "6521111111111117", "5895627823453005", "9792000000000001"] {
        assert_eq!(card(BrandSet::COMMON, CardMode::Live, number), not_number, "{number}");
        cases += 1;
    }
    for number in
        ["0000000000000000", "000000000000", "4", "42424242424242424242424242424242424242"]
    {
        assert_eq!(card(BrandSet::COMMON, CardMode::Live, number), not_number, "{number}");
        cases += 1;
    }
    cases
}

/// The first and the last prefix of every span, and the ones just outside.
fn brand_borders() -> usize {
    let all = Brand::ALL.into_iter().fold(BrandSet::NONE, BrandSet::with);
    let mut cases = 0;
    for (first, last) in TABLE.iter().flat_map(Card::spans) {
        let [low, high]: [u32; 2] = [first, last].map(|prefix| prefix.parse().unwrap());
        for prefix in [low.checked_sub(1), Some(low), Some(high), Some(high + 1)] {
            let prefix = format!("{:0width$}", prefix.unwrap(), width = first.len());
            if prefix.len() == first.len() {
                check_prefix(&prefix, BrandSet::COMMON);
                check_prefix(&prefix, all);
                cases += 2;
            }
        }
    }
    cases
}

fn check_prefix(prefix: &str, allowed: BrandSet) {
    let brands: Vec<Brand> = allowed.iter().collect();
    // Two digits of a longer prefix behind it may belong to another brand: zeros, as keyed.
    let number = number_of(prefix, USUAL);
    let issuing = issuers(&number, &brands);
    let length = issuing.first().map_or(USUAL, |card| card.lengths[0]);
    let number = number_of(prefix, length);
    if PUBLISHED.iter().any(|(_, numbers)| numbers.contains(&number.as_str())) {
        return;
    }
    let expected = match issuing[..] {
        [] => Err(FieldError::InvalidCardType),
        [one] => Ok(Some(one.brand)),
        [..] => Ok(None),
    };
    assert_eq!(card(allowed, CardMode::Live, &number), expected, "{prefix}");
}

/// Every length of every brand, and every other.
fn brand_lengths() -> usize {
    let mut cases = 0;
    for it in &TABLE {
        let allowed = BrandSet::NONE.with(it.brand);
        let (prefix, _) = it.spans().next().unwrap();
        // With a single length the entry ends there, and a longer one can't be keyed.
        let longest = if let &[only] = it.lengths { only } else { 20 };
        for length in 11..=longest {
            let number = number_of(prefix, length);
            let expected = if it.lengths.contains(&length) {
                Ok(Some(it.brand))
            } else {
                Err(FieldError::InvalidCardNumber)
            };
            assert_eq!(card(allowed, CardMode::Live, &number), expected, "{:?} {length}", it.brand);
            cases += 1;
        }
        cases += security_codes(it);
    }
    cases
}

/// Every length of the brand's security code, and every other.
fn security_codes(it: &Card) -> usize {
    let Some(right) = it.code else { return 0 };
    let allowed = BrandSet::NONE.with(it.brand);
    let fields = [FieldKind::CardNumber { allowed }, FieldKind::SecurityCode].map(Field::new);
    let number = number_of(it.spans().next().unwrap().0, it.lengths[0]);
    for length in 1..=right {
        let drive = Drive::FieldAtATime;
        let request = PlanRequest { drive, card_mode: CardMode::Live, ..request(&fields) };
        let mut script = Script::of(request);
        script.capture(Step::PaymentCardNumber).key(&number).key("#").wait(5_000);
        script.capture(Step::SecurityCode).key(&"1234"[..length]).key("#").wait(60_000);
        let expected = if length == right { None } else { Some(FieldError::InvalidSecurityCode) };
        assert_eq!(script.errors().first().copied(), expected, "{:?} {length}", it.brand);
    }
    right
}

/// A field, what passes, what fails.
type Rule = (FieldKind, Vec<String>, Vec<String>);

fn other_fields() -> usize {
    let rules = numbers_given_out().into_iter().chain(dates()).chain(lengths()).chain(checks());
    let mut cases = 0;
    for (kind, pass, fail) in rules {
        for entry in &pass {
            assert_eq!(keyed(kind, CardMode::Test, entry), Ok(None), "{kind:?} {entry}");
        }
        for entry in &fail {
            let refused = keyed(kind, CardMode::Test, entry).unwrap_err();
            let word = if kind == FieldKind::ExpirationDate {
                "invalid-date".to_owned()
            } else {
                format!("invalid-{}", kind.step().as_str())
            };
            assert_eq!(refused.as_str(), word, "{entry}");
        }
        cases += pass.len() + fail.len();
    }
    cases
}

fn rule(kind: FieldKind, pass: &str, fail: &str) -> Rule {
    let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    (kind, list(pass), list(fail))
}

fn numbers_given_out() -> Vec<Rule> {
    let groups = |wanted: bool| -> String {
        let given = |group: &u32| matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99) == wanted;
        (0..100).filter(given).map(|group| format!("912{group:02}3456 ")).collect()
    };
    let districts = |wanted: bool| -> String {
        let given = |it: &u32| matches!(it, 0..=12 | 21..=32 | 61..=72 | 80) == wanted;
        (0..100).filter(given).map(|district| format!("{} ", routing_number(district))).collect()
    };
    vec![
        rule(
            FieldKind::BankRoutingNumber,
            &(districts(true) + "021000021 110000000"),
            &(districts(false) + "021000022 021000201 201000021 000000000 1 02100002"),
        ),
        rule(
            FieldKind::SocialSecurityNumber,
            "001010001 665990001 667123456 899999999 123456789 078051121",
            "000123456 666123456 900123456 999999999 123006789 123450000 078051120 219099999 \
             987654320 987654321 987654329 12345678",
        ),
        rule(
            FieldKind::IndividualTaxpayerNumber,
            &groups(true),
            &(groups(false) + "812703456 012703456 91270345"),
        ),
        rule(
            FieldKind::SocialInsuranceNumber,
            "130692544 193456787",
            "046454286 846454287 130692545 130692454 13069254",
        ),
        rule(FieldKind::NhsNumber, "9434765919", "9434765918 9434765991 0000000000 943476591"),
        rule(
            FieldKind::NationalProviderIdentifier,
            "1234567893",
            "1234567890 1234567983 123456789 0000000000",
        ),
    ]
}

/// A routing number of a district, with the check digit that makes it right; not of zeros only.
fn routing_number(district: u32) -> String {
    let weigh = |number: &str| {
        let weights = [3, 7, 1].into_iter().cycle();
        number.bytes().zip(weights).map(|(digit, by)| u32::from(digit - b'0') * by).sum::<u32>()
    };
    let numbers = (0..10).map(|last| format!("{district:02}000001{last}"));
    numbers.into_iter().find(|number| weigh(number) % 10 == 0).unwrap()
}

/// Today is the 15th of August 2026.
fn dates() -> Vec<Rule> {
    let birth = |order| FieldKind::DateOfBirth { order };
    vec![
        rule(
            FieldKind::ExpirationDate,
            "0826 0926 1226 0127 0846",
            "0726 0825 0946 0047 1327 9927 0876 12 127",
        ),
        rule(
            birth(DateOrder::MonthDayYear),
            "08151990 02292000 12311999 08152026 08162026 08161905",
            "15081990 02291900 02302000 08172026 08152027 08151905 13011990 00011990 0815199",
        ),
        rule(birth(DateOrder::DayMonthYear), "15081990 29022000 31121999", "08151990 31041990"),
        rule(birth(DateOrder::YearMonthDay), "19900815 20000229 19991231", "15081990 19990229"),
    ]
}

fn lengths() -> Vec<Rule> {
    let spans: [(FieldKind, usize, usize); 6] = [
        (FieldKind::PostalCode { min: 3, max: 10 }, 3, 10),
        (FieldKind::BankAccountNumber { min: 4, max: 17 }, 4, 17),
        (FieldKind::PhoneNumber { min: 7, max: 15 }, 7, 15),
        (FieldKind::OneTimeCode { min: 4, max: 8, refuse_trivial: false }, 4, 8),
        (FieldKind::MemberId { min: 2, max: 12, check: Check::None }, 2, 12),
        (custom(Check::None, 1, 31), 1, 31),
    ];
    let ones =
        |lengths: &mut dyn Iterator<Item = usize>| lengths.map(|it| "1".repeat(it)).collect();
    let mut rules: Vec<Rule> = spans
        .map(|(kind, min, max)| {
            (kind, ones(&mut (min..=max)), ones(&mut (1..min).chain(max + 1..max + 3)))
        })
        .into();
    rules.push(rule(
        FieldKind::OneTimeCode { min: 4, max: 8, refuse_trivial: true },
        "1357 1212 1235 90125 0000001 1122",
        "0000 99999999 1234 4321 7890 0987 23456789 98765432",
    ));
    rules.push(rule(
        FieldKind::Amount { min: 500, max: 100_000, decimals: 2 },
        "5 5* 5*0 5*00 005*5 1000 1000*0 999*99 0000000000000005",
        "0 4*99 1000*01 1001 5*000 5**0 * ** 5*5* *5 00000000000000005",
    ));
    rules.push(rule(
        FieldKind::Amount { min: 0, max: 99, decimals: 0 },
        "0 00 99 7",
        "100 0000000000000099999",
    ));
    rules
}

fn checks() -> Vec<Rule> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    let digest = hmac::sign(&key, b"24681357").as_ref().try_into().unwrap();
    let keyed = Check::Keyed(KeyedDigest::new([7; 32], digest));
    let member = FieldKind::MemberId { min: 2, max: 32, check: Check::Luhn };
    vec![
        rule(custom(Check::Luhn, 2, 32), "79927398713 18 00", "79927398710 81 7"),
        rule(member, "79927398713 18", "79927398710 81 1"),
        rule(custom(Check::Mod11, 2, 32), "9434765919 0306406152 19", "9434765918 91 1"),
        rule(custom(Check::Mod97, 3, 32), "79444 098", "79445 97444 98"),
        rule(custom(keyed, 4, 8), "24681357", "24681358 2468135 2468 24681357000"),
    ]
}

fn custom(check: Check, min: u8, max: u8) -> FieldKind {
    FieldKind::Custom { id: CustomId::ALL[0], min, max, check }
}
