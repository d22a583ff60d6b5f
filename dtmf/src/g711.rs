//! `Law`: the two G.711 companding laws, between code octets and linear PCM.
//!
//! Linear values are 16-bit: the 14-bit (mu) and 13-bit (A) values of ITU-T G.711 shifted to the
//! top, so that both laws and plain PCM share one scale.

/// Offset that makes every mu-law segment a power of two (ITU-T G.711 table 2, in 16-bit scale).
const MU_BIAS: i32 = 0x84;
/// Largest magnitude that still fits mu-law's last segment after the bias.
const MU_CLIP: i32 = 0x7FFF - MU_BIAS;
/// The even bits of an A-law octet are sent inverted (ITU-T G.711 section 3.2).
const A_TOGGLE: u8 = 0x55;
/// Sign bit of both laws; set means positive on the wire.
const SIGN: u8 = 0x80;

/// A companding law of ITU-T G.711.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// Mu-law, RTP's PCMU, static payload type 0.
    Mu,
    /// A-law, RTP's PCMA, static payload type 8.
    A,
}

impl Law {
    /// The linear value of one code octet.
    #[must_use]
    pub const fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU_TO_LINEAR[code as usize],
            Self::A => A_TO_LINEAR[code as usize],
        }
    }

    /// The code octet whose step holds one linear value; values beyond the law's range are clipped.
    #[must_use]
    pub const fn encode(self, linear: i16) -> u8 {
        match self {
            Self::Mu => encode_mu(linear),
            Self::A => encode_a(linear),
        }
    }

    /// The code octets of linear values, as many as both have room for.
    pub fn encode_all(self, linear: &[i16], codes: &mut [u8]) {
        for (code, &linear) in codes.iter_mut().zip(linear) {
            *code = self.encode(linear);
        }
    }

    /// The linear values of code octets, as many as both have room for.
    pub fn decode_all(self, codes: &[u8], linear: &mut [i16]) {
        for (linear, &code) in linear.iter_mut().zip(codes) {
            *linear = self.decode(code);
        }
    }

    /// The octet of digital silence: positive zero.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xFF,
            Self::A => 0xD5,
        }
    }

    /// Rewrites code octets of this law as octets of `to`, in place.
    pub fn transcode(self, to: Self, codes: &mut [u8]) {
        let table = match (self, to) {
            (Self::Mu, Self::A) => &MU_TO_A,
            (Self::A, Self::Mu) => &A_TO_MU,
            (Self::Mu, Self::Mu) | (Self::A, Self::A) => return,
        };
        for code in codes {
            *code = table[usize::from(*code)];
        }
    }
}

static MU_TO_LINEAR: [i16; 256] = linear_table(Law::Mu);
static A_TO_LINEAR: [i16; 256] = linear_table(Law::A);
static MU_TO_A: [u8; 256] = transcode_table(Law::Mu);
static A_TO_MU: [u8; 256] = transcode_table(Law::A);

const fn linear_table(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = expand(law, code as u8);
        code += 1;
    }
    table
}

const fn transcode_table(from: Law) -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < table.len() {
        let linear = expand(from, code as u8);
        table[code] = match from {
            Law::Mu => encode_a(linear),
            Law::A => encode_mu(linear),
        };
        code += 1;
    }
    table
}

const fn expand(law: Law, code: u8) -> i16 {
    match law {
        Law::Mu => expand_mu(code),
        Law::A => expand_a(code),
    }
}

const fn expand_mu(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits >> 4) & 7;
    let magnitude = ((((bits & 0x0F) as i32) << 3) + MU_BIAS) << segment;
    let linear = magnitude - MU_BIAS;
    if bits & SIGN == 0 { linear as i16 } else { -linear as i16 }
}

const fn expand_a(code: u8) -> i16 {
    let bits = code ^ A_TOGGLE;
    let segment = (bits >> 4) & 7;
    let middle = (((bits & 0x0F) as i32) << 4) + 8;
    let magnitude = if segment == 0 { middle } else { (middle + 0x100) << (segment - 1) };
    if bits & SIGN == 0 { -magnitude as i16 } else { magnitude as i16 }
}

const fn encode_mu(linear: i16) -> u8 {
    let negative = linear < 0;
    let distance = (linear as i32).abs();
    let magnitude = MU_BIAS + if distance > MU_CLIP { MU_CLIP } else { distance };
    let segment = 24 - (magnitude as u32).leading_zeros();
    let mantissa = (magnitude >> (segment + 3)) & 0x0F;
    let bits = ((segment << 4) as u8) | mantissa as u8;
    !(if negative { bits | SIGN } else { bits })
}

const fn encode_a(linear: i16) -> u8 {
    let negative = linear < 0;
    // One's complement keeps -1..-16 in the first negative step, as the law's table has it.
    let magnitude = if negative { !(linear as i32) } else { linear as i32 };
    let bits = if magnitude < 0x100 {
        (magnitude >> 4) as u8
    } else {
        let segment = 24 - (magnitude as u32).leading_zeros();
        ((segment << 4) as u8) | ((magnitude >> (segment + 3)) & 0x0F) as u8
    };
    (if negative { bits } else { bits | SIGN }) ^ A_TOGGLE
}

#[cfg(test)]
mod tests {
    use super::Law;

    #[test]
    fn anchors_of_the_standard() {
        // ITU-T G.711 tables 1 and 2: extremes and zeros, scaled to 16 bits.
        let mu = [(0x00, -32124), (0x80, 32124), (0xFF, 0), (0x7F, 0), (0xFE, 8), (0x7E, -8)];
        for (code, linear) in mu {
            assert_eq!(Law::Mu.decode(code), linear, "mu {code:#04x}");
        }
        let a = [(0xAA, 32256), (0x2A, -32256), (0xD5, 8), (0x55, -8), (0x80, 5504)];
        for (code, linear) in a {
            assert_eq!(Law::A.decode(code), linear, "A {code:#04x}");
        }
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                let back = law.encode(law.decode(code));
                // Mu-law has two zeros; the encoder knows only the positive one.
                let expected = if law == Law::Mu && code == 0x7F { 0xFF } else { code };
                assert_eq!(back, expected, "{law:?} {code:#04x}");
            }
        }
    }

    #[test]
    fn encoding_is_monotone_and_within_half_a_step() {
        for law in [Law::Mu, Law::A] {
            let mut last = i16::MIN;
            for linear in i16::MIN..=i16::MAX {
                let code = law.encode(linear);
                let decoded = law.decode(code);
                assert!(decoded >= last, "{law:?} {linear}");
                last = decoded;
                let (segment, clip) = match law {
                    Law::Mu => ((!code >> 4) & 7, 32_635),
                    Law::A => ((((code ^ 0x55) >> 4) & 7).max(1), 32_767),
                };
                let wanted = i32::from(linear).clamp(-clip - 1, clip);
                let error = (i32::from(decoded) - wanted).abs();
                assert!(error <= 4 << segment, "{law:?} {linear}: off by {error}");
            }
        }
    }

    #[test]
    fn silence_is_the_smallest_positive_value() {
        assert_eq!(Law::Mu.decode(Law::Mu.silence()), 0);
        assert_eq!(Law::A.decode(Law::A.silence()), 8);
        assert_eq!(Law::Mu.encode(0), Law::Mu.silence());
        assert_eq!(Law::A.encode(0), Law::A.silence());
    }

    #[test]
    fn transcoding_is_decoding_then_encoding() {
        for (from, to) in [(Law::Mu, Law::A), (Law::A, Law::Mu), (Law::Mu, Law::Mu)] {
            let mut codes: Vec<u8> = (0..=255).collect();
            from.transcode(to, &mut codes);
            for (code, transcoded) in (0..=255).zip(codes) {
                let expected = if from == to { code } else { to.encode(from.decode(code)) };
                assert_eq!(transcoded, expected, "{from:?} {code:#04x}");
            }
        }
    }
}
