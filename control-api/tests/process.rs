//! The binary: exit codes, the first key, signals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use control_api::clock;

fn sotto(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    command
}

fn state(name: &str) -> PathBuf {
    let state = std::env::temp_dir().join(format!("sotto-process-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir_all(&state).unwrap();
    state
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_does_not_start_in_reach_of_others_without_tls_and_keys() {
    let state = state("reach");
    let directory = state.to_str().unwrap();
    let bare = ["serve", "--control", "0.0.0.0:0", "--state-dir", directory];
    let behind = ["--behind-tls-proxy"];
    let cases: [(&[&str], &str); 2] = [(&[], "TLS"), (&behind, "keys.json holds no key")];
    for (more, word) in cases {
        let output = sotto(&[&bare[..], more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = stderr_of(&output);
        assert!(said.lines().count() == 1 && said.contains(word), "{said}");
        assert!(output.stdout.is_empty() && !state.join("keys.json").exists());
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_one_line() {
    let state = state("file");
    let path = state.join("sotto.toml");
    for (text, word) in [
        ("[control]\nadress = '127.0.0.1:1'\n", "line 2"),
        ("[media]\nports = 'x'\n", "media.ports"),
        ("[media\n", "line 1"),
        ("[plans.card]\nfields = [{ type = 'pin' }]\n", "plans.card.fields[0].type"),
    ] {
        std::fs::write(&path, text).unwrap();
        let directory = state.to_str().unwrap();
        let mut serve = sotto(&["serve", "--config", path.to_str().unwrap()]);
        let output = serve.args(["--state-dir", directory]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        let said = stderr_of(&output);
        assert!(said.lines().count() == 1 && said.contains(word), "{text}: {said}");
    }
}

#[test]
fn keys_are_added_listed_and_removed() {
    let state = state("keys");
    let directory = state.to_str().unwrap();
    let keys = |arguments: &[&str]| {
        let arguments = [&["keys"], arguments, &["--state-dir", directory]].concat();
        sotto(&arguments).output().unwrap()
    };
    let added = keys(&["add", "--role", "engine"]);
    assert!(stderr_of(&added).contains("keys.json was written; a running relay takes it over"));
    let token = String::from_utf8(added.stdout).unwrap();
    let id = token.trim().split('_').nth(2).unwrap().to_owned();
    let listed = String::from_utf8(keys(&["list"]).stdout).unwrap();
    assert!(listed.starts_with(&id) && listed.contains("engine") && listed.lines().count() == 1);
    assert!(!listed.contains(token.trim().rsplit('_').next().unwrap()));
    let in_use = keys(&["remove", &id]);
    assert!(in_use.status.code() == Some(78) && stderr_of(&in_use).contains("sotto keys revoke"));
    assert!(keys(&["revoke", &id]).status.success());
    assert!(String::from_utf8(keys(&["list"]).stdout).unwrap().contains("revoked"));
    assert!(keys(&["remove", &id]).status.success());
    assert_eq!(keys(&["remove", &id]).status.code(), Some(78));
    assert!(keys(&["list"]).stdout.is_empty());
}

#[test]
fn keys_have_times_names_scopes_and_successors() {
    let state = state("key-times");
    let config = state.join("sotto.toml");
    let text = "region = 'eu-1'\n[roles.cashier]\nscopes = ['secure:enter', 'secure:read']\n";
    std::fs::write(&config, text).unwrap();
    let directory = state.to_str().unwrap();
    let keys = |arguments: &[&str]| {
        let more = ["--state-dir", directory, "--config", config.to_str().unwrap()];
        sotto(&[&["keys"], arguments, &more].concat()).output().unwrap()
    };
    let token_of = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let added = keys(&[
        "add",
        "--role",
        "cashier",
        "--scope",
        "calls:read",
        "--name",
        "till 3",
        "--expires",
        "90d",
    ]);
    let first = token_of(&added);
    assert!(first.starts_with("sto_eu-1_"), "{first}{}", stderr_of(&added));
    let id = first.split('_').nth(2).unwrap();
    let rotated = token_of(&keys(&["rotate", id, "--overlap", "1h"]));
    assert!(rotated.starts_with("sto_eu-1_") && rotated != first);
    let listed = keys(&["list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let (old, new) = (&listed["data"][0], &listed["data"][1]);
    let scopes = serde_json::json!(["calls:read", "secure:enter", "secure:read"]);
    assert_eq!((&old["state"], &new["state"]), (&"expiring".into(), &"active".into()));
    assert_eq!((&new["replaces"], &new["name"]), (&id.into(), &"till 3".into()));
    assert!(old["scopes"] == scopes && new["scopes"] == scopes, "{listed}");
    let wrong: [&[&str]; 6] = [
        &["add"],
        &["add", "--role", "nobody"],
        &["add", "--scope", "calls:*"],
        &["add", "--role", "engine", "--expires", "2020-01-01"],
        &["add", "--role", "engine", "--expires", "soon"],
        &["rotate", "000000000000"],
    ];
    for wrong in wrong {
        let output = keys(wrong);
        assert!(matches!(output.status.code(), Some(2 | 78)), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
}

/// A key file that can't be read is told once, and the keys that were there stay valid.
#[test]
fn a_damaged_key_file_is_told_once() {
    let state = state("key-damage");
    let (control, health) =
        (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let mut child = sotto(&["serve", "--control", &control, "--health", &health])
        .args(["--ports", "25180-25219", "--workers", "1"])
        .args(["--state-dir", state.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut token = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let mut served = Served(child);
    stdout.read_line(&mut token).unwrap();
    let token = token.trim();
    assert!(post_call(&control, token).starts_with("HTTP/1.1 201"));
    std::fs::write(state.join("keys.json"), "{\"keys\": [").unwrap();
    std::thread::sleep(Duration::from_millis(1700));
    let answer = request(&control, token, "GET", "/v1/calls", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(Command::new("kill").arg(served.0.id().to_string()).status().unwrap().success());
    assert_eq!(served.0.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    let told = log.lines().filter(|line| line.contains("keys.json is damaged")).count();
    assert_eq!(told, 1, "{log}");
}

/// A running `sotto serve`; killed if a test fails.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_serves_and_stops_when_asked() {
    let state = state("serve");
    let (port, health) = (free_port(), free_port());
    let (control, health) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{health}"));
    let mut child = sotto(&["serve", "--control", &control, "--health", &health])
        .args(["--ports", "25100-25139", "--workers", "1"])
        .args(["--state-dir", state.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let mut served = Served(child);
    let (mut token, mut hint) = (String::new(), String::new());
    stdout.read_line(&mut token).unwrap();
    stdout.read_line(&mut hint).unwrap();
    let token = token.trim();
    assert!(token.starts_with("sto_") && hint.contains(&control), "{hint}");

    let opened = post_call(&control, token);
    assert!(opened.starts_with("HTTP/1.1 201"), "{opened}");
    let terminated = Command::new("kill").arg(served.0.id().to_string()).status().unwrap();
    assert!(terminated.success());
    let begun = clock::monotonic();
    let status = loop {
        if let Some(status) = served.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    let secret = token.rsplit('_').next().unwrap();
    assert!(!log.contains(secret) && log.contains("stopping"), "{log}");
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        // Not the millisecond: a delivery that is refused is told within one of the last key.
        assert!(entry["timestamp"].as_str().unwrap().ends_with(".000Z"), "{line}");
        assert_ne!(entry["level"], "WARN", "{line}");
    }
    // The recording and its key; the key that wraps lies elsewhere, and nothing told it.
    assert_eq!(std::fs::read_dir(state.join("recordings")).unwrap().count(), 2);
    let kek = std::fs::read_to_string(state.join("recordings.kek")).unwrap();
    assert!(!log.contains(kek.trim()) && !hint.contains(kek.trim()));
}

/// A relay that was killed in the middle of a session knows nothing of it when it is started again:
/// nothing is forwarded, and no state of a session lies on the disk.
#[test]
fn case_16_a_restarted_relay_forwards_nothing_and_knows_no_session() {
    let state = state("crash");
    let (port, health) = (free_port(), free_port());
    let (control, health) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{health}"));
    let start = || {
        let child = sotto(&["serve", "--control", &control, "--health", &health])
            .args(["--ports", "25140-25179", "--workers", "1"])
            .args(["--state-dir", state.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Served(child.unwrap())
    };
    let mut first = start();
    let mut token = String::new();
    BufReader::new(first.0.stdout.as_mut().unwrap()).read_line(&mut token).unwrap();
    let token = token.trim().to_owned();
    let opened = post_call(&control, &token);
    let location = opened.lines().find_map(|it| it.strip_prefix("location: ")).unwrap().to_owned();
    let session = format!("{location}/secure-session");
    let plan = r#"{"fields":[{"type":"payment-card-number"}]}"#;
    let entered = request(&control, &token, "POST", &session, plan);
    assert!(entered.starts_with("HTTP/1.1 201"), "the control: {entered}");
    for digit in "42424242".chars() {
        let key = format!(r#"{{"digit":"{digit}"}}"#);
        let answer = request(&control, &token, "POST", &format!("{location}/dtmf"), &key);
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    for file in files_below(&state) {
        let octets = std::fs::read(&file).unwrap();
        let holds = |word: &[u8]| octets.windows(word.len()).any(|it| it == word);
        assert!(!holds(b"42424242") && !holds(b"sec_"), "{file:?}");
    }

    let mut second = start();
    let mut console = String::new();
    BufReader::new(second.0.stdout.as_mut().unwrap()).read_line(&mut console).unwrap();
    assert_eq!(console, format!("Console: http://{control}/\n"), "all that a later start prints");
    let answer = wait_for_answer(&control, &token, &location);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let port: u16 =
        opened.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    let engine = UdpSocket::bind("127.0.0.1:40000").unwrap();
    engine.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4][..], &[0x55; 160]].concat();
    (0..10).for_each(|_| drop(caller.send_to(&packet, ("127.0.0.1", port))));
    assert!(engine.recv(&mut [0; 2048]).is_err(), "nothing is forwarded");
    let opened = post_call(&control, &token);
    assert!(opened.starts_with("HTTP/1.1 201"), "the control: set up again, it works: {opened}");
}

/// Killed right behind a `201`: its entry is on the disk, the log is whole, and says of the next start
/// that it was not closed. What is altered afterwards is found, and keeps the relay from starting.
#[test]
fn a_killed_relay_leaves_a_whole_audit_log_and_an_altered_one_is_refused() {
    let state = state("audit");
    let directory = state.to_str().unwrap();
    let (port, health) = (free_port(), free_port());
    let (control, health) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{health}"));
    let serve = || {
        let mut command = sotto(&["serve", "--control", &control, "--health", &health]);
        command.args(["--ports", "25180-25219", "--workers", "1", "--state-dir", directory]);
        command
    };
    let audit = |arguments: &[&str]| {
        let arguments = [&["audit"], arguments, &["--state-dir", directory]].concat();
        let output = sotto(&arguments).output().unwrap();
        let said = stderr_of(&output);
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let start = || Served(serve().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut first = start();
    let mut token = String::new();
    BufReader::new(first.0.stdout.as_mut().unwrap()).read_line(&mut token).unwrap();
    let token = token.trim().to_owned();
    let opened = post_call(&control, &token);
    let location = opened.lines().find_map(|it| it.strip_prefix("location: ")).unwrap().to_owned();
    let session = format!("{location}/secure-session");
    let plan = r#"{"fields":[{"type":"payment-card-number"}]}"#;
    let entered = request(&control, &token, "POST", &session, plan);
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    assert!(entered.starts_with("HTTP/1.1 201"), "{entered}");
    let id = entered.split("\"sec_").nth(1).unwrap().split('"').next().unwrap();

    let (code, told, said) = audit(&["verify"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{told}");
    let public = state.join("audit.pub");
    std::fs::write(&public, audit(&["key"]).1).unwrap();
    let public = public.to_str().unwrap();
    for format in ["json", "syslog", "ocsf"] {
        let (code, lines, said) = audit(&["export", "--format", format, "--public-key", public]);
        assert_eq!(code, Some(0), "{said}");
        let entering = lines.lines().filter(|it| it.contains("session.entering"));
        let entering: Vec<&str> = entering.collect();
        assert!(entering.len() == 1 && entering[0].contains(id), "{format}: {lines}");
        assert!(lines.contains("process.started") && lines.contains("127.0.0.1"), "{lines}");
    }
    let future = audit(&["export", "--format", "json", "--since", "2999-01-01"]);
    assert_eq!((future.0, future.1.as_str()), (Some(0), ""));

    let mut second = start();
    wait_for_answer(&control, &token, &location);
    assert_eq!(audit(&["tail", "-n", "2"]).1.lines().count(), 2, "while it runs");
    assert_eq!(audit(&["verify"]).0, Some(0), "while it runs");
    second.0.kill().unwrap();
    second.0.wait().unwrap();

    let segment = state.join("audit/audit-00000000000000000000.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    assert_eq!(text.matches("log.opened").count(), 2);
    let altered = text.replacen("\"role\":\"operator\"", "\"role\":\"script\"", 1);
    std::fs::write(&segment, altered).unwrap();
    let (code, told, said) = audit(&["verify"]);
    assert_eq!((code, told.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("audit-00000000000000000000.jsonl line "), "{said}");
    let refused = serve().output().unwrap();
    assert_eq!(refused.status.code(), Some(78), "{}", stderr_of(&refused));
    assert!(stderr_of(&refused).contains("is not as it was written"), "{}", stderr_of(&refused));
    std::fs::write(&segment, text).unwrap();
    assert_eq!(audit(&["verify"]).0, Some(0), "the control: as it was");
}

/// The answer to a question, as soon as the relay answers at all.
fn wait_for_answer(address: &str, token: &str, path: &str) -> String {
    let begun = clock::monotonic();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(15), "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    request(address, token, "GET", path, "")
}

fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|it| it.is_dir());
    files.extend(folders.iter().flat_map(|it| files_below(it)));
    files
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn post_call(address: &str, token: &str) -> String {
    let sdp = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\n\
               m=audio 9 RTP/AVP 0\\r\\n";
    let body = format!(
        "{{\"caller\":{{\"sdp\":\"{sdp}\"}},\
         \"engine\":{{\"type\":\"rtp\",\"address\":\"127.0.0.1:40000\"}}}}"
    );
    request(address, token, "POST", "/v1/calls", &body)
}

fn request(address: &str, token: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
