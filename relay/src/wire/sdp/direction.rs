//! `Direction`: who sends on a stream, as its writer sees it (RFC 3264 section 5.1).

/// What the writer of a description does on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Direction {
    /// The writer sends.
    pub(super) sends: bool,
    /// The writer receives.
    pub(super) receives: bool,
}

impl Direction {
    /// What holds without an attribute.
    pub(super) const BOTH: Self = Self { sends: true, receives: true };

    /// The direction that an attribute stands for, if it is one of the four.
    pub(super) fn from_attribute(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::BOTH,
            "sendonly" => Self { sends: true, receives: false },
            "recvonly" => Self { sends: false, receives: true },
            "inactive" => Self { sends: false, receives: false },
            _ => return None,
        })
    }

    /// The attribute's name.
    pub(super) const fn attribute(self) -> &'static str {
        match (self.sends, self.receives) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }

    /// The same stream from the other side (RFC 3264 section 6.1).
    pub(super) const fn mirrored(self) -> Self {
        Self { sends: self.receives, receives: self.sends }
    }
}

#[cfg(test)]
mod tests {
    use super::Direction;

    #[test]
    fn mirroring_swaps_sending_and_receiving() {
        let pairs = [
            ("sendrecv", "sendrecv"),
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
        ];
        for (offered, answered) in pairs {
            let direction = Direction::from_attribute(offered).unwrap();
            assert_eq!(direction.attribute(), offered);
            assert_eq!(direction.mirrored().attribute(), answered);
        }
        assert_eq!(Direction::from_attribute("SENDRECV"), None);
    }
}
