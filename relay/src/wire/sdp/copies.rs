//! `CopyOffer`: an offer of our own of copies: a stream for each party that is copied, which we send
//! and do not hear.

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::agreement::{Agreement, Settled};
use super::answer::{Continuation, LocalMedia, Network, line, sha256};
use super::proposal::{AnswerFault, MAX_PROPOSAL_LEN, Proposal, Wishes};
use super::{MAX_STREAMS, Offer, Policy, SdpRefusal};

/// An offer of copies, and what is needed to offer them again. It holds our keys: it has neither
/// `Debug` nor `Clone`.
pub struct CopyOffer {
    streams: Vec<Proposal>,
    continuation: Continuation,
}

impl CopyOffer {
    /// An offer of a stream for each of `wishes`, with keys of its own.
    ///
    /// # Errors
    /// [`SdpRefusal`] if one of them can't be offered, or the policy is against it.
    pub fn new(
        wishes: impl IntoIterator<Item = Wishes>,
        policy: &Policy,
        rng: &mut impl CryptoRng,
    ) -> Result<CopyOffer, SdpRefusal> {
        let streams = wishes.into_iter().take(MAX_STREAMS);
        let streams = streams.map(|wishes| Proposal::new(wishes, policy, None, rng));
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        Ok(CopyOffer { streams, continuation: Continuation::of(None, rng) })
    }

    /// The offer, which gives a place of `local` as our side of each stream. Each has its number as
    /// its label (RFC 4574), which a recorder's metadata may name. It may hold our keys.
    ///
    /// # Panics
    /// If there are not as many places as streams, or none.
    #[must_use]
    pub fn offer(&mut self, local: &[LocalMedia]) -> Zeroizing<String> {
        assert!(local.len() == self.streams.len(), "every stream has its ports");
        let first = local.first().expect("something is offered");
        // Room for all: a growing string would leave copies of the keys behind.
        let room = local.len() * MAX_PROPOSAL_LEN;
        let mut body = Zeroizing::new(String::with_capacity(room));
        line(&mut body, format_args!("s=-"));
        line(&mut body, format_args!("c={}", Network(first.rtp.ip())));
        line(&mut body, format_args!("t=0 0"));
        for (label, (stream, local)) in self.streams.iter().zip(local).enumerate() {
            stream.write_stream(*local, &mut body);
            line(&mut body, format_args!("a=label:{label}"));
        }
        let digest = sha256(body.as_bytes());
        let origin = self.continuation.origin_of(digest);
        self.continuation = Continuation { origin, previous_body: Some(digest) };
        let mut text = Zeroizing::new(String::with_capacity(room));
        origin.write(*first, &mut text);
        text.push_str(&body);
        assert!(text.len() <= room, "the bound holds for every offer");
        text
    }

    /// What an answer agrees to, stream by stream; `None` for one that it refuses. The same may come
    /// again, and take the same keys. An answer that fails has taken none.
    ///
    /// # Errors
    /// [`AnswerFault`] if it is not SDP, has not as many streams, or takes what was not offered.
    pub fn accept(
        &mut self,
        answer: &[u8],
        policy: &Policy,
    ) -> Result<Vec<Option<Agreement<Settled>>>, AnswerFault> {
        let answered = Offer::parse(answer)?.streams;
        if answered.len() != self.streams.len() {
            return Err(SdpRefusal::NotOffered.into());
        }
        let agreed = self.streams.iter().zip(answered).map(|(ours, theirs)| match theirs.audio {
            Ok(audio) => ours.settle(&audio, policy).map(Some),
            Err(SdpRefusal::AudioOff) => Ok(None),
            Err(refusal) => Err(refusal),
        });
        let agreed = agreed.collect::<Result<Vec<_>, _>>()?;
        for (ours, agreement) in self.streams.iter_mut().zip(&agreed) {
            agreement.iter().for_each(|agreement| ours.take(agreement));
        }
        Ok(agreed)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::{RtcpMux, Transport};
    use super::*;
    use crate::wire::srtp::Suite;

    const VOICE: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
        t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

    fn wishes() -> Wishes {
        let menu = Offer::parse(VOICE.as_bytes()).unwrap().menu().unwrap();
        let suites = vec![Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
        let (transport, rtcp_mux) = (Transport::Savp, RtcpMux::Offered);
        Wishes { transport, ice: false, rtcp_mux, suites, menu }
    }

    /// An answer that takes the offered key of each tag.
    fn answer(tags: [usize; 2]) -> String {
        let mut text = VOICE.split_once("m=").unwrap().0.to_owned();
        for (port, tag) in [4000, 4002].into_iter().zip(tags) {
            let tag_length = [0, 80, 32, 80][tag];
            text += &format!(
                "m=audio {port} RTP/SAVP 0\r\na=recvonly\r\n\
                 a=crypto:{tag} AES_CM_128_HMAC_SHA1_{tag_length} \
                 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
            );
        }
        text
    }

    #[test]
    fn an_answer_that_fails_has_taken_no_key() {
        let rng = &mut StdRng::seed_from_u64(1);
        let offer = &mut CopyOffer::new([wishes(), wishes()], &Policy::default(), rng).unwrap();
        let accept = |offer: &mut CopyOffer, tags| {
            let agreed = offer.accept(answer(tags).as_bytes(), &Policy::default());
            agreed.map(|agreed| agreed.iter().flatten().count())
        };
        let refused = Err(AnswerFault::Refused(SdpRefusal::NotOffered));
        assert_eq!(accept(offer, [1, 3]), refused, "the second stream has no third key");
        assert_eq!(accept(offer, [2, 1]), Ok(2), "another key of the first may be taken still");
        assert_eq!(accept(offer, [1, 1]), refused, "the control: then it is taken");
        assert_eq!(accept(offer, [2, 1]), Ok(2), "and the same answer may come again");
    }
}
