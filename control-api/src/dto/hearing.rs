//! HearingBody: what an echo engine heard, as its event stream tells it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::echo::hearing::{Kind, Told};

/// The data of one `hearing` event.
#[derive(Serialize, ToSchema)]
pub struct HearingBody {
    /// When it was heard, UTC.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What it was.
    kind: HearingKind,
    /// Its mean level since the event before, in dBm0; null for digital silence, for key events and
    /// where nothing came.
    level_dbm0: Option<i8>,
}

/// A kind of audio.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HearingKind {
    /// Below -50 dBm0, or nothing at all.
    Silence,
    /// What sounds and is no tone: a voice, noise, music.
    Voice,
    /// One or two steady lines, such as a key's tones. A hum above 300 Hz may count as one.
    Tone,
    /// A key as an event (RFC 4733); which key is not told.
    KeyEvent,
}

impl HearingBody {
    /// What is told of an entry.
    #[must_use]
    pub fn of(told: Told) -> HearingBody {
        let kind = match told.tale.kind {
            Kind::Silence => HearingKind::Silence,
            Kind::Voice => HearingKind::Voice,
            Kind::Tone => HearingKind::Tone,
            Kind::KeyEvent => HearingKind::KeyEvent,
        };
        HearingBody { at: told.at, kind, level_dbm0: told.tale.level_dbm0 }
    }
}
