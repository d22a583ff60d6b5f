//! Heard: the server's events, as far as they matter to a call.

use serde::Deserialize;

/// An event. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Heard {
    #[serde(rename = "session.updated")]
    Updated,
    #[serde(rename = "response.created")]
    Created { response: Response },
    #[serde(rename = "response.done")]
    Done { response: Response },
    #[serde(rename = "response.output_audio.delta")]
    Audio(Audio),
    #[serde(rename = "input_audio_buffer.speech_started")]
    SpeechStarted,
    #[serde(rename = "response.function_call_arguments.done")]
    Arguments(Call),
    #[serde(rename = "response.output_item.done")]
    ItemDone { item: Item },
    #[serde(rename = "error")]
    Error { error: Failure },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(super) struct Response {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Audio {
    pub(super) response_id: String,
    pub(super) item_id: String,
    pub(super) delta: String,
}

/// A call of a function.
#[derive(Deserialize)]
pub(super) struct Call {
    pub(super) call_id: String,
    /// Older servers leave it out here.
    #[serde(default)]
    pub(super) name: String,
    pub(super) arguments: String,
}

/// An item that is done, of whatever type.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Item {
    #[serde(rename = "function_call")]
    FunctionCall {
        #[serde(flatten)]
        call: Call,
        /// `completed` if it is all there.
        status: Option<String>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(super) struct Failure {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) event_id: Option<String>,
}
