//! Refusal: why a call was refused, as SIP says it.

use sip_server::Refusal;

use crate::problem::{Code, Problem};

/// Seconds after which a call refused for lack of room is worth another try: ports come back after
/// their quarantine.
const RETRY_AFTER_S: u32 = 5;

/// Nobody has the number that was called.
pub(super) fn unknown_number() -> Refusal {
    Refusal { status: 404, retry_after: None, advice: None }
}

/// The process is stopping.
pub(super) fn stopping() -> Refusal {
    Refusal { status: 503, retry_after: Some(RETRY_AFTER_S), advice: None }
}

/// The one before is still being looked at.
pub(super) fn too_fast() -> Refusal {
    Refusal { status: 500, retry_after: Some(RETRY_AFTER_S), advice: None }
}

/// What REST would have answered. Its words repeat nothing of the offer.
pub(super) fn of(problem: &Problem) -> Refusal {
    let (status, _, title) = problem.code.row();
    let fault = problem.faults().first().map(|fault| fault.detail.clone().into_owned());
    let advice = Some(fault.unwrap_or_else(|| title.to_owned()));
    let plain = |status| Refusal { status, retry_after: None, advice: advice.clone() };
    match status {
        // Another call has this Call-ID.
        _ if problem.code == Code::ExternalIdInUse => plain(482),
        400 => plain(400),
        // The call has ended meanwhile.
        404 | 409 => plain(481),
        // An offer that nothing can come of.
        422 => plain(488),
        503 => Refusal { retry_after: Some(RETRY_AFTER_S), ..plain(503) },
        _ => plain(500),
    }
}

#[cfg(test)]
mod tests {
    use relay::switchboard::Refusal as MediaRefusal;
    use relay::wire::sdp::{SdpError, SdpRefusal};

    use super::of;
    use crate::problem::Problem;

    #[test]
    fn what_rest_refuses_has_its_status_in_sip() {
        let refused = of(&Problem::refused_sdp("/sdp", SdpRefusal::NoCodec));
        assert_eq!((refused.status, refused.retry_after), (488, None));
        assert!(refused.advice.is_some_and(|advice| advice.contains("PCMU")));
        let no_port = of(&Problem::from(MediaRefusal::NoPort));
        assert_eq!((no_port.status, no_port.retry_after), (503, Some(5)));
        assert_eq!(of(&Problem::from(MediaRefusal::UnknownCall)).status, 481);
        assert_eq!(of(&Problem::malformed_sdp("/sdp", SdpError::TooLong)).status, 400);
        assert_eq!(of(&Problem::internal()).status, 500);
    }
}
