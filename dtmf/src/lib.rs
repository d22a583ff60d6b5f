//! Hearing keypad digits and judging what was keyed, without I/O.
//!
//! What a caller keys comes as telephone events ([`event_receiver`]), as tones in the audio
//! ([`tone`]), or as digits beside the media. The [`Detector`] makes one [`KeyPress`] of each
//! physical press; the [`Collector`] walks through the fields of a plan with them and ends in a
//! [`Verdict`], which holds no digit.
//!
//! Nothing here reads a clock, allocates, or prints what was keyed: times are arguments, state
//! is of fixed size so that it fits a locked page, and [`Digit`] has no printable form.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use dtmf::event_receiver::{EventPacket, EventReceiver};
//! use dtmf::expiry::Date;
//! use dtmf::{
//!     CardMode, Collector, Detector, Field, FieldKind, PlanRequest, SecurePlan, Verdict,
//! };
//!
//! # fn main() -> Result<(), dtmf::PlanError> {
//! let now = Instant::now();
//! let today = Date::new(2030, 1, 31).expect("a date that exists");
//! let postal_code = Field::new(FieldKind::PostalCode { min: 3, max: 3 });
//! let plan = SecurePlan::new(PlanRequest::new(&[postal_code], today, CardMode::Live))?;
//! let mut collector = Collector::new(plan, now);
//! let mut detector = Detector::new(now, &EventReceiver::new(8000));
//!
//! // Three keys, each heard in two packets of 20 and 40 ms, the second one final.
//! for (sequence, key) in [1, 0, 1].into_iter().enumerate() {
//!     for (order, flags, duration) in [(0, 0x0A, 160), (1, 0x8A, 320_u16)] {
//!         let [high, low] = duration.to_be_bytes();
//!         let packet = EventPacket {
//!             arrival: now + Duration::from_millis(200 * sequence as u64 + 20 * order + 20),
//!             ssrc: 0x5EED,
//!             sequence: (10 * sequence as u64 + order) as u16,
//!             timestamp: 1600 * sequence as u32,
//!             marker: order == 0,
//!             payload: &[key, flags, high, low],
//!         };
//!         detector.hear_event(packet, &mut |press| {
//!             collector.handle_key(packet.arrival, press.digit);
//!         });
//!     }
//! }
//! assert!(matches!(collector.verdict(), Some(Verdict::Passed)));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod accepted;
pub mod amount;
pub mod brand;
pub mod capture_error;
pub mod card_mode;
mod card_number;
pub mod check;
pub mod collector;
pub mod decimate;
pub mod detector;
pub mod digit;
mod elapsed;
pub mod event_receiver;
pub mod expiry;
pub mod field;
pub mod field_error;
pub mod g711;
mod goertzel;
mod heard_event;
mod hop_rows;
mod identifier;
pub mod keys;
mod lengths;
pub mod plan;
pub mod progress;
mod recent_presses;
pub mod redundancy;
pub mod secret;
pub mod step;
#[cfg(feature = "synth")]
pub mod synth;
pub mod telephone_event;
pub mod tone;
mod tone_ear;
mod tone_judge;
mod tone_trace;
pub mod verdict;

pub use accepted::Accepted;
pub use capture_error::CaptureError;
pub use card_mode::CardMode;
pub use check::{Check, KeyedDigest};
pub use collector::{Collector, Phase};
pub use detector::{Detector, KeyPress};
pub use digit::Digit;
pub use field::{Field, FieldKind};
pub use field_error::FieldError;
pub use plan::{Delivery, Drive, PlanError, PlanRequest, SecurePlan};
pub use progress::Progress;
pub use step::{CustomId, Step};
pub use verdict::{FailReason, Verdict};
