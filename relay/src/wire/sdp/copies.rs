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
    /// again, and take the same keys.
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
        let agreed =
            self.streams.iter_mut().zip(answered).map(|(ours, theirs)| match theirs.audio {
                Ok(audio) => ours.accept_stream(&audio, policy).map(Some),
                Err(SdpRefusal::AudioOff) => Ok(None),
                Err(refusal) => Err(refusal),
            });
        Ok(agreed.collect::<Result<_, _>>()?)
    }
}
