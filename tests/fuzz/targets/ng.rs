//! Fuzz target: any octets as a message of NG; what is read can be written, and is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ng_protocol::{Message, Reply, Request, Syntax, Value, first_message};

fuzz_target!(|octets: &[u8]| {
    if let Ok(Some(found)) = first_message(octets) {
        assert!(Message::split(&octets[found]).is_ok());
    }
    let Ok(message) = Message::split(octets) else { return };
    let Ok(value) = Value::read(message.syntax, message.body) else { return };
    let mut written = Vec::new();
    value.write(message.syntax, &mut written);
    // JSON leaves out what is null, and neither says more than it has read.
    assert!(Value::read(message.syntax, &written).as_ref() == Ok(&value));
    if let Ok(request) = Request::read(&value) {
        let reply = Reply::error("no").with("command", Value::of_text(request.command.as_str()));
        assert!(reply.write(&message).starts_with(message.cookie));
    }
    let mut bencode = Vec::new();
    value.write(Syntax::Bencode, &mut bencode);
    assert!(Value::read(Syntax::Bencode, &bencode).is_ok());
});
