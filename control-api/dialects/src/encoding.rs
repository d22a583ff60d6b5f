//! Encoding: how sound lies in a dialect's messages.

/// One channel of sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// G.711 u-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// 16-bit samples, little-endian, at so many Hz.
    L16(u32),
}

impl Encoding {
    /// Samples in a second.
    #[must_use]
    pub const fn rate(self) -> u32 {
        match self {
            Encoding::Pcmu | Encoding::Pcma => 8000,
            Encoding::L16(rate) => rate,
        }
    }

    /// Octets of one sample.
    #[must_use]
    pub const fn sample(self) -> usize {
        match self {
            Encoding::Pcmu | Encoding::Pcma => 1,
            Encoding::L16(_) => 2,
        }
    }

    /// Octets of so many milliseconds.
    #[must_use]
    pub const fn octets(self, milliseconds: u32) -> usize {
        (self.rate() as usize * milliseconds as usize / 1000) * self.sample()
    }

    /// Milliseconds of so many octets, rounded down.
    #[must_use]
    pub const fn milliseconds(self, octets: u64) -> u64 {
        octets * 1000 / (self.rate() as u64 * self.sample() as u64)
    }

    /// The octet that digital silence consists of.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Encoding::Pcmu => 0xff,
            Encoding::Pcma => 0xd5,
            Encoding::L16(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Encoding;

    #[test]
    fn a_frame_is_as_long_as_its_encoding_has_it() {
        assert_eq!(Encoding::Pcmu.octets(20), 160);
        assert_eq!(Encoding::L16(8000).octets(20), 320);
        assert_eq!(Encoding::L16(24000).octets(20), 960);
        assert_eq!(Encoding::L16(16000).milliseconds(640), 20);
    }
}
