//! Request: what a peer wants, its members found and its flags understood.

use crate::command::{Command, is_same};
use crate::flags::{self, Word};
use crate::options::Options;
use crate::playback::Playback;
use crate::value::Value;

/// Names of members and flags that were not known, kept for a log: more tell no more.
const MAX_UNKNOWN: usize = 8;
/// Longest of them that is kept; a longer one is no name.
const MAX_UNKNOWN_LEN: usize = 40;
/// Parties that are read of those whom a subscription names: more than a call has.
const MAX_FROM_TAGS: usize = 4;

/// Why a request can't be understood. None of them repeats a word of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRequest {
    /// The body is no dictionary.
    #[error("the body is no dictionary")]
    NoDictionary,
    /// It has no command.
    #[error("the request has no command")]
    NoCommand,
    /// Its command is not known.
    #[error("the command is not known")]
    UnknownCommand,
}

/// What a peer wants.
#[derive(Clone, PartialEq, Debug)]
pub struct Request<'v> {
    /// What is to be done.
    pub command: Command,
    /// The call.
    pub call_id: Option<&'v str>,
    /// The party that the request is of, or the caller of the SIP dialog.
    pub from_tag: Option<&'v str>,
    /// The parties whose media a subscription copies, if there are several.
    pub from_tags: Vec<&'v str>,
    /// The other party, once it is known; the subscription, where one is meant.
    pub to_tag: Option<&'v str>,
    /// The session description.
    pub sdp: Option<&'v [u8]>,
    /// How the SDP for the other party is to be made.
    pub options: Options,
    /// Most entries of a list.
    pub limit: Option<i64>,
    /// Our own: the plan of a secure session, as REST has it, or its name.
    pub plan: Option<&'v Value<'v>>,
    /// What a party is to hear.
    pub playback: Playback<'v>,
    /// Members and flags that were not known; none of a request that presses a key.
    pub unknown: Vec<&'v str>,
}

impl<'v> Request<'v> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadRequest`], if it is no dictionary or has no command that is known.
    pub fn read(body: &'v Value<'v>) -> Result<Request<'v>, BadRequest> {
        let Value::Dictionary(members) = body else { return Err(BadRequest::NoDictionary) };
        let command = body.get("command").and_then(Value::text).ok_or(BadRequest::NoCommand)?;
        let command = Command::of(command).ok_or(BadRequest::UnknownCommand)?;
        let mut request = Request {
            command,
            call_id: None,
            from_tag: None,
            from_tags: Vec::new(),
            to_tag: None,
            sdp: None,
            options: Options::default(),
            limit: None,
            plan: None,
            playback: Playback::default(),
            unknown: Vec::new(),
        };
        for (name, value) in members {
            if let Some(name) = name.text() {
                request.take(name, value);
            }
        }
        Ok(request)
    }

    fn take(&mut self, name: &'v str, value: &'v Value<'v>) {
        let is = |known| is_same(known, name);
        if is("sdp") {
            self.sdp = self.sdp.or(value.octets());
        } else if is("limit") {
            self.limit = match value {
                Value::Integer(limit) => Some(*limit),
                Value::Boolean(_) | Value::Text(_) | Value::List(_) | Value::Dictionary(_) => None,
            };
        } else if is("plan") {
            self.plan = self.plan.or(Some(value));
        } else if is("from-tags") {
            self.take_from_tags(value.texts());
        } else if is("flags") {
            value.texts().for_each(|flag| self.take_flag(flag));
        } else if is("rtpp-flags") {
            value.texts().for_each(|string| self.take_string(string));
        } else if !(is("command")
            || self.take_id(name, value.text())
            || self.playback.member(name, value))
        {
            let is_known = self.options.member(name, value.texts());
            self.note(is_known, name);
        }
    }

    /// Takes in what names a call or a party; false if it is nothing of this kind.
    fn take_id(&mut self, name: &str, value: Option<&'v str>) -> bool {
        let is = |known| is_same(known, name);
        let place = if is("call-id") {
            &mut self.call_id
        } else if is("from-tag") {
            &mut self.from_tag
        } else if is("to-tag") {
            &mut self.to_tag
        } else {
            // Branches of one call are told apart by their tags alone.
            return is("via-branch");
        };
        *place = place.or(value);
        true
    }

    fn take_from_tags(&mut self, tags: impl Iterator<Item = &'v str>) {
        let room = MAX_FROM_TAGS - self.from_tags.len();
        self.from_tags.extend(tags.take(room));
    }

    fn take_flag(&mut self, flag: &'v str) {
        let is_known = self.options.flag(flag);
        self.note(is_known, flag);
    }

    fn take_string(&mut self, string: &'v str) {
        for word in flags::words(string) {
            match word {
                Word::Flag(flag) => self.take_flag(flag),
                Word::Member(name, value)
                    if self.take_id(name, Some(value)) || self.playback.word(name, value) => {}
                Word::Member(name, value) if is_same("from-tags", name) => {
                    self.take_from_tags(flags::values(value));
                }
                Word::Member(name, value) => {
                    let is_known = self.options.member(name, flags::values(value));
                    self.note(is_known, name);
                }
            }
        }
    }

    /// Keeps the name of what was not known. Behind the name of a flag there may be a value, such as
    /// a key: nothing from `=` on is kept, and no digit. Where a key is pressed, any word may be it, with
    /// its sign or its letter.
    fn note(&mut self, is_known: bool, name: &'v str) {
        if self.command == Command::PlayDtmf {
            return;
        }
        let end = name.find(|it: char| it == '=' || it.is_ascii_digit()).unwrap_or(name.len());
        let name = &name[..end];
        let is_name = name.len() <= MAX_UNKNOWN_LEN && name.bytes().all(|it| it.is_ascii_graphic());
        if !is_known && !name.is_empty() && is_name && self.unknown.len() < MAX_UNKNOWN {
            self.unknown.push(name);
        }
    }
}
