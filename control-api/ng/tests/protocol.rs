//! The protocol's words: made and read again, as proxies write them, and hostile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ng_protocol::{
    Command, Ice, MAX_DEPTH, MAX_MESSAGE, Malformed, Message, NotAMessage, Octets, Offerer, Reply,
    Request, Syntax, Transport, Value, first_message,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// An offer as Kamailio's module writes it, its names in no order.
const KAMAILIO: &[u8] = b"0_18771_2 d8:supportsl10:load limite3:sdp5:v=0\r\n3:ICE6:remove7:replacel6:origin\
    18:session-connectione18:transport-protocol8:RTP/SAVP8:rtcp-muxl5:offere4:SDESl17:no-NULL_HMAC_SHA1\
    e5:flagsl13:trust-address9:symmetric7:unhearde7:call-id3:abc13:received-froml3:IP49:127.0.0.1e\
    8:from-tag3:one7:command5:offere";

#[test]
fn a_proxy_s_offer_is_understood() {
    let message = Message::split(KAMAILIO).unwrap();
    assert_eq!((message.cookie, message.syntax), (&b"0_18771_2"[..], Syntax::Bencode));
    let value = Value::read(message.syntax, message.body).unwrap();
    let request = Request::read(&value).unwrap();
    assert_eq!(request.command, Command::Offer);
    assert_eq!(
        (request.call_id, request.from_tag, request.to_tag),
        (Some("abc"), Some("one"), None)
    );
    assert_eq!(request.sdp, Some(&b"v=0\r\n"[..]));
    let options = &request.options;
    assert_eq!((options.ice, options.transport), (Ice::Remove, Some(Transport::Savp)));
    assert!(options.rtcp_mux.offer && options.is_symmetric && options.knows_load_limit);
    assert_eq!(options.refused_suites, ["NULL_HMAC_SHA1"]);
    assert!(!options.no_sdes && !options.is_transport_unknown);
    assert_eq!(options.received_from, Some([127, 0, 0, 1].into()));
    assert_eq!(request.unknown, ["unheard"]);
}

#[test]
fn a_string_of_flags_says_the_same() {
    let flags = "replace-origin ICE=force UDP/TLS/RTP/SAVPF SDES-off rtcp-mux-require \
                 sotto-engine-offers record-call=yes to-tag=two";
    let value = Value::dictionary([
        ("command", Value::of_text("Offer")),
        ("rtpp_flags", Value::of_text(flags)),
    ]);
    let request = Request::read(&value).unwrap();
    let options = &request.options;
    assert_eq!((options.ice, options.transport), (Ice::Force, Some(Transport::DtlsSavpf)));
    assert!(options.no_sdes && options.rtcp_mux.require && options.record == Some(true));
    assert_eq!(options.offerer, Offerer::Engine);
    assert_eq!((request.to_tag, request.unknown.len()), (Some("two"), 0));
}

/// Parties of a subscription come as a list or within a string of flags; no more of them are kept than
/// it takes to see that they are too many.
#[test]
fn parties_of_a_subscription_are_read_wherever_they_stand() {
    let list = Value::List(["one", "two"].map(Value::of_text).to_vec());
    let many = Value::List(vec![Value::of_text("one"); 100]);
    let string = Value::of_text("siprec from-tags=[one two] SDES-off");
    for (name, value, count) in
        [("from-tags", list, 2), ("rtpp-flags", string, 2), ("from_tags", many, 4)]
    {
        let body = Value::Dictionary(vec![
            ("command".into(), Value::of_text("subscribe request")),
            (name.into(), value),
        ]);
        let request = Request::read(&body).unwrap();
        assert_eq!(request.from_tags.len(), count, "{name}");
        assert_eq!((request.from_tags[0], request.from_tag), ("one", None));
        assert!(request.unknown.is_empty() && !request.options.is_egress);
    }
    let value = Value::dictionary([
        ("command", Value::of_text("subscribe request")),
        ("flags", Value::List(["all", "SIPREC", "egress"].map(Value::of_text).to_vec())),
    ]);
    let request = Request::read(&value).unwrap();
    assert!(request.options.is_for_all && request.options.is_egress && request.unknown.is_empty());
}

#[test]
fn what_a_party_is_to_hear_is_understood_as_members_and_as_a_string() {
    let members = Value::dictionary([
        ("command", Value::of_text("play media")),
        ("blob", Value::Text(Octets::from(&[0xff, 0][..]))),
        ("repeat times", Value::of_text("3")),
        ("start-pos", Value::Integer(50)),
        ("repeat-times", Value::of_text("4")),
        ("pause", Value::List(Vec::new())),
    ]);
    let request = Request::read(&members).unwrap();
    let playback = &request.playback;
    assert_eq!(playback.blob.unwrap().octets(), Some(&[0xff, 0][..]));
    assert_eq!(playback.repeat_times.unwrap().number(), Some(3), "the first counts");
    assert_eq!(playback.start_pos.unwrap().number(), Some(50));
    assert!(playback.pause.is_some_and(|it| it.number().is_none() && it.text().is_none()));
    assert!(request.unknown.is_empty() && playback.file.is_none());

    let string = Value::dictionary([
        ("command", Value::of_text("play DTMF")),
        ("rtpp-flags", Value::of_text("from-tag=one digit=# volume=-20 inject-DTMF")),
    ]);
    let request = Request::read(&string).unwrap();
    let playback = &request.playback;
    assert_eq!((playback.code.unwrap().key(), request.from_tag), (Some(11), Some("one")));
    assert_eq!(playback.volume.unwrap().number(), Some(-20));
    assert!(request.unknown.is_empty() && !format!("{request:?}").contains('#'));
}

#[test]
fn of_a_flag_that_is_not_known_nothing_but_its_name_is_kept() {
    let flags = ["code=5", "code7", "1234", "=5", "unheard"].map(Value::of_text);
    let value = Value::dictionary([
        ("command", Value::of_text("offer")),
        ("flags", Value::List(flags.to_vec())),
    ]);
    assert_eq!(Request::read(&value).unwrap().unknown, ["code", "code", "unheard"]);
}

#[test]
fn of_a_request_that_presses_a_key_no_unknown_word_is_kept() {
    let request = |command: &'static str| {
        let flags = ["#", "*", "A", "code:#", "5"].map(Value::of_text);
        Value::dictionary([
            ("command", Value::of_text(command)),
            ("flags", Value::List(flags.to_vec())),
            ("rtpp-flags", Value::of_text("code= # B key=[*] C")),
            ("#", Value::of_text("D")),
        ])
    };
    assert_eq!(Request::read(&request("play DTMF")).unwrap().unknown, [""; 0]);
    let other = request("play media");
    assert!(Request::read(&other).unwrap().unknown.contains(&"#"), "the control");
}

#[test]
fn every_command_is_known_by_its_name() {
    for command in Command::ALL {
        assert_eq!(Command::of(command.as_str()), Some(command));
        assert_eq!(Command::of(&command.as_str().to_uppercase().replace(' ', "-")), Some(command));
    }
    assert_eq!(Command::of("ping "), None);
}

#[test]
fn a_reply_has_the_cookie_and_the_syntax_of_its_request() {
    for (request, expected) in [
        ("c d7:command4:pinge", "c d6:result5:error12:error-reason2:noe"),
        ("c {\"command\":\"ping\"}\n", "c {\"result\":\"error\",\"error-reason\":\"no\"}"),
    ] {
        let message = Message::split(request.as_bytes()).unwrap();
        assert_eq!(*Reply::error("no").write(&message), expected.as_bytes());
    }
}

#[test]
fn what_is_no_message_gets_no_reply() {
    for octets in ["", " ", "cookie", "cookie ", " d4:pinge", "cookie x", "\u{1} d", "a b c"] {
        assert_eq!(Message::split(octets.as_bytes()), Err(NotAMessage), "{octets}");
    }
    let long = format!("{} de", "c".repeat(256));
    assert_eq!(Message::split(long.as_bytes()), Err(NotAMessage));
}

#[test]
fn bounds_are_kept() {
    let deep = [b"l".repeat(MAX_DEPTH), b"e".repeat(MAX_DEPTH)].concat();
    assert!(Value::read(Syntax::Bencode, &deep).is_ok());
    let deeper = [b"l".repeat(MAX_DEPTH + 1), b"e".repeat(MAX_DEPTH + 1)].concat();
    assert_eq!(Value::read(Syntax::Bencode, &deeper), Err(Malformed::Depth));
    let deeper = [b"[".repeat(MAX_DEPTH + 1), b"]".repeat(MAX_DEPTH + 1)].concat();
    assert_eq!(Value::read(Syntax::Json, &deeper), Err(Malformed::Depth));
    let many = [&b"l"[..], &b"i1e".repeat(4096), b"e"].concat();
    assert_eq!(Value::read(Syntax::Bencode, &many), Err(Malformed::Size));
    let many = format!("[{}1]", "1,".repeat(4096));
    assert_eq!(Value::read(Syntax::Json, many.as_bytes()), Err(Malformed::Size));
    for broken in
        ["i12", "i1x3e", "5:abc", "d1:ai1e", "i+1e", "99999999999999999999:a", "-1:a", "x"]
    {
        assert!(Value::read(Syntax::Bencode, broken.as_bytes()).is_err(), "{broken}");
    }
    assert_eq!(Value::read(Syntax::Bencode, b"dee"), Err(Malformed::Trailing));
    assert_eq!(Value::read(Syntax::Json, b"{}{"), Err(Malformed::Trailing));
    assert_eq!(Value::read(Syntax::Json, b"{\"a\":1.5}"), Err(Malformed::Syntax));
}

#[test]
fn null_is_as_good_as_nothing() {
    let value = Value::read(Syntax::Json, b"{\"a\":null,\"b\":[1,null]}").unwrap();
    assert_eq!(value, Value::dictionary([("b", Value::List(vec![Value::Integer(1)]))]));
}

/// Values with names that differ, as both syntaxes can say them.
fn any_value(syntax: Syntax) -> impl Strategy<Value = Value<'static>> {
    let octets = match syntax {
        Syntax::Bencode => vec(any::<u8>(), 0..20).boxed(),
        Syntax::Json => ".{0,10}".prop_map(String::into_bytes).boxed(),
    };
    let leaf = match syntax {
        Syntax::Bencode => any::<i64>().prop_map(Value::Integer).boxed(),
        Syntax::Json => prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            any::<bool>().prop_map(Value::Boolean)
        ]
        .boxed(),
    };
    let leaf = prop_oneof![leaf, octets.prop_map(|octets| Value::Text(Octets::from(octets)))];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let named = vec(inner.clone(), 0..8).prop_map(|values| {
            let named = values.into_iter().enumerate();
            Value::Dictionary(named.map(|(at, it)| (format!("m{at}").into(), it)).collect())
        });
        prop_oneof![vec(inner, 0..8).prop_map(Value::List), named]
    })
}

proptest! {
    #[test]
    fn what_is_made_is_read_again(value in any_value(Syntax::Bencode), json in any_value(Syntax::Json)) {
        for (syntax, value) in [(Syntax::Bencode, value), (Syntax::Json, json)] {
            let mut octets = Vec::new();
            value.write(syntax, &mut octets);
            prop_assert_eq!(Value::read(syntax, &octets).unwrap(), value);
        }
    }

    #[test]
    fn a_stream_is_split_where_messages_end(
        bodies in vec((any_value(Syntax::Bencode), any_value(Syntax::Json)), 1..4),
        blanks in "[ \r\n]{0,3}",
    ) {
        let mut stream = Vec::new();
        let mut ends = Vec::new();
        for (bencode, json) in bodies {
            for (syntax, value) in [(Syntax::Bencode, bencode), (Syntax::Json, json)] {
                stream.extend(format!("{blanks}cookie ").bytes());
                Value::dictionary([("a", value)]).write(syntax, &mut stream);
                ends.push(stream.len());
            }
        }
        let mut start = 0;
        for end in ends {
            for part in [start, start + 1, (start + end) / 2, end - 1] {
                prop_assert_eq!(first_message(&stream[start..part]), Ok(None));
            }
            let message = first_message(&stream[start..]).unwrap().unwrap();
            prop_assert_eq!(start + message.end, end);
            let split = Message::split(&stream[start..][message]).unwrap();
            prop_assert!(Value::read(split.syntax, split.body).is_ok());
            start = end;
        }
    }

    #[test]
    fn nothing_panics(octets in vec(any::<u8>(), 0..200), start in 0..4_usize) {
        let start = [&b""[..], b"c ", b"c d", b"c {\"command\":"][start];
        let octets = [start, &octets].concat();
        let _ = first_message(&octets);
        if let Ok(message) = Message::split(&octets)
            && let Ok(value) = Value::read(message.syntax, message.body)
            && let Ok(request) = Request::read(&value)
        {
            prop_assert!(request.unknown.len() <= octets.len());
        }
    }

    #[test]
    fn flags_never_panic(flags in ".{0,80}") {
        let value = Value::dictionary([
            ("command", Value::of_text("offer")),
            ("rtpp-flags", Value::of_text(flags)),
        ]);
        prop_assert!(Request::read(&value).is_ok());
    }
}

#[test]
fn a_stream_that_never_ends_a_message_is_given_up() {
    let endless = [b"c {\"".to_vec(), vec![b'a'; MAX_MESSAGE]].concat();
    assert_eq!(first_message(&endless), Err(NotAMessage));
    assert_eq!(first_message(b"c x"), Err(NotAMessage));
    assert_eq!(first_message(b"c"), Ok(None));
}
