//! Options: what an operator may choose about a kind of engine.

/// What may be chosen. The default is right for an engine that expects its own vendor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Keys are told to engines that aren't always told of them: jambonz (its `passDtmf`),
    /// AudioSocket (old engines take a key for an error) and models (a text of the user). All other
    /// kinds that have a message for keys send it anyway.
    pub keys: bool,
    /// Control messages are plain text, not JSON: of chan_websocket alone.
    pub plain_text: bool,
    /// What an engine that is a model itself is told to be.
    pub model: Model,
}

/// What a model is told to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    /// Its instructions; a call's parameter `instructions` goes first.
    pub instructions: Option<String>,
    /// The name of its voice; a call's parameter `voice` goes first.
    pub voice: Option<String>,
    /// It speaks first.
    pub greets: bool,
    /// How it knows that a caller has finished.
    pub turns: Turns,
    /// The plans that it may ask a payment by; none, and it can't ask. An empty list is one plan
    /// that has no name.
    pub plans: Option<Vec<String>>,
}

/// How a model knows that a caller has finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Turns {
    /// By silence.
    #[default]
    Silence,
    /// By what is said.
    Meaning,
}
