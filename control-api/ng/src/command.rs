//! Command: what a request asks for.

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Whether anybody is there.
    Ping,
    /// A party's offer, to be made to the other one.
    Offer,
    /// The other party's answer.
    Answer,
    /// The end of a call.
    Delete,
    /// What is known of a call.
    Query,
    /// Which calls there are.
    List,
    /// Figures of the whole relay.
    Statistics,
    /// A recording begins.
    StartRecording,
    /// A recording ends.
    StopRecording,
    /// A recording rests.
    PauseRecording,
    /// Key events are withheld.
    BlockDtmf,
    /// Key events pass again.
    UnblockDtmf,
    /// A party's media is withheld.
    BlockMedia,
    /// A party's media passes again.
    UnblockMedia,
    /// A party's media becomes silence.
    SilenceMedia,
    /// A party's media is heard again.
    UnsilenceMedia,
    /// A file is played.
    PlayMedia,
    /// What is played ends.
    StopMedia,
    /// A key is pressed.
    PlayDtmf,
    /// Media is to be copied.
    SubscribeRequest,
    /// Where copied media goes.
    SubscribeAnswer,
    /// Media is copied no longer.
    Unsubscribe,
    /// Our own: a secure session begins.
    SecureSession,
    /// Our own: a secure session ends early.
    SecureSessionCancel,
    /// Our own: where a secure session stands.
    SecureSessionQuery,
}

impl Command {
    /// Every command.
    pub const ALL: [Command; 25] = [
        Command::Ping,
        Command::Offer,
        Command::Answer,
        Command::Delete,
        Command::Query,
        Command::List,
        Command::Statistics,
        Command::StartRecording,
        Command::StopRecording,
        Command::PauseRecording,
        Command::BlockDtmf,
        Command::UnblockDtmf,
        Command::BlockMedia,
        Command::UnblockMedia,
        Command::SilenceMedia,
        Command::UnsilenceMedia,
        Command::PlayMedia,
        Command::StopMedia,
        Command::PlayDtmf,
        Command::SubscribeRequest,
        Command::SubscribeAnswer,
        Command::Unsubscribe,
        Command::SecureSession,
        Command::SecureSessionCancel,
        Command::SecureSessionQuery,
    ];

    /// The command as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Command::Ping => "ping",
            Command::Offer => "offer",
            Command::Answer => "answer",
            Command::Delete => "delete",
            Command::Query => "query",
            Command::List => "list",
            Command::Statistics => "statistics",
            Command::StartRecording => "start recording",
            Command::StopRecording => "stop recording",
            Command::PauseRecording => "pause recording",
            Command::BlockDtmf => "block DTMF",
            Command::UnblockDtmf => "unblock DTMF",
            Command::BlockMedia => "block media",
            Command::UnblockMedia => "unblock media",
            Command::SilenceMedia => "silence media",
            Command::UnsilenceMedia => "unsilence media",
            Command::PlayMedia => "play media",
            Command::StopMedia => "stop media",
            Command::PlayDtmf => "play DTMF",
            Command::SubscribeRequest => "subscribe request",
            Command::SubscribeAnswer => "subscribe answer",
            Command::Unsubscribe => "unsubscribe",
            Command::SecureSession => "secure session",
            Command::SecureSessionCancel => "secure session cancel",
            Command::SecureSessionQuery => "secure session query",
        }
    }

    /// The command of that name, in whatever case, its words joined by spaces or hyphens.
    #[must_use]
    pub fn of(name: &str) -> Option<Command> {
        Command::ALL.into_iter().find(|command| is_same(command.as_str(), name))
    }
}

/// Whether two names are one: case, hyphens, underscores and spaces make no difference.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let plain = |octet: u8| match octet {
        b' ' | b'_' => b'-',
        octet => octet.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}
