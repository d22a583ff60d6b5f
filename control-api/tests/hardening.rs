//! Hardening: what a relay can no longer do, seen from outside and from inside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use control_api::clock;
use control_api::hardening::{Hardening, InForce, Needs, Reach, files};

fn sotto(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    command.env_remove("SOTTO_ALLOW_ROOT");
    command
}

fn scratch(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("sotto-hardening-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn root_is_refused_unless_that_is_meant() {
    let state = scratch("root");
    let serve = ["serve", "--control", "0.0.0.0:0", "--state-dir", state.to_str().unwrap()];
    let said = |more: &[&str]| {
        let output = sotto(&[&serve[..], more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = said(&[]);
    assert_eq!(refused.contains("--allow-root"), is_root(), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    let meant = said(&["--allow-root"]);
    assert!(meant.contains("TLS"), "the control: it comes to the next thing: {meant}");
}

struct Relay {
    child: Child,
    control: String,
    token: String,
    stderr: Option<std::process::ChildStderr>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Relay {
    /// With its configuration, its keys of recordings and its state in folders of their own.
    fn start(config: &Path) -> Relay {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let control = format!("127.0.0.1:{}", port());
        let health = format!("127.0.0.1:{}", port());
        let mut child = sotto(&["serve", "--allow-root", "--config", config.to_str().unwrap()])
            .args(["--control", &control, "--health", &health])
            .args(["--ports", "25200-25239", "--workers", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut token = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut token).unwrap();
        let stderr = child.stderr.take();
        let token = token.trim().to_owned();
        assert!(token.starts_with("sto_"), "{token}");
        Relay { child, control, token, stderr }
    }

    fn status_of(&self, token: &str) -> String {
        self.ask("GET /v1/calls", token, "").split(' ').nth(1).unwrap().to_owned()
    }

    fn ask(&self, what: &str, token: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.control).unwrap();
        write!(
            stream,
            "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn stop(mut self) -> String {
        self.signal("-INT");
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        self.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// The fields of each thread's status(5).
    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let read = |task: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(task.unwrap().path().join("status")).ok()
        };
        tasks.filter_map(read).collect()
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}: {status}")).trim()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = clock::monotonic();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_thread_of_a_relay_has_given_up_what_it_had_and_keys_still_change() {
    let folder = scratch("relay");
    let (etc, state) = (folder.join("etc"), folder.join("state"));
    fs::create_dir(&etc).unwrap();
    let kek = etc.join("1.kek");
    // Of nothing but this test's recordings.
    let text = "YSBrZXkgb2YgcmVjb3JkaW5ncyBmb3IgYSB0ZXN0cyE=\n";
    write_secret(&kek, text);
    let config = etc.join("sotto.toml");
    // Keys in a folder of their own: a first start makes it, and the API writes there.
    let keys = folder.join("keys/keys.json");
    let toml = format!(
        "state_dir = {state:?}\n[control]\nkeys = {keys:?}\n[recordings]\nkey_files = [{kek:?}]\n"
    );
    fs::write(&config, toml).unwrap();
    let relay = Relay::start(&config);
    wait_until("it answers", || TcpStream::connect(&relay.control).is_ok());
    assert_eq!(relay.status_of(&relay.token), "200");

    let threads = relay.threads();
    let named = |name: &str| threads.iter().any(|it| field(it, "Name").starts_with(name));
    for name in ["sotto", "control", "media-0", "media-1", "recorder"] {
        assert!(named(name), "{name} is looked at: {threads:?}");
    }
    for status in &threads {
        let name = field(status, "Name");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(status, set), "0000000000000000", "{set} of {name}");
        }
        assert_eq!((field(status, "NoNewPrivs"), field(status, "Seccomp")), ("1", "2"), "{name}");
    }
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(field(&ours, "NoNewPrivs"), "0", "the control: who is not hardened");
    assert_eq!(field(&ours, "CapEff") != "0000000000000000", is_root(), "the control");
    println!("figure: hardening: {} threads of a relay without capabilities", threads.len());

    // A file that takes the old one's place is a new one to the kernel.
    let settings = ["--config", config.to_str().unwrap()];
    let added = sotto(&[&["keys", "add", "--role", "script"][..], &settings].concat()).output();
    let token = String::from_utf8(added.unwrap().stdout).unwrap();
    let next = etc.join("next");
    write_secret(&next, text);
    fs::rename(&next, &kek).unwrap();
    fs::rename(&config, etc.join("old")).unwrap();
    fs::copy(etc.join("old"), &config).unwrap();
    relay.signal("-HUP");
    wait_until("the new key", || relay.status_of(token.trim()) == "200");
    let made = relay.ask("POST /v1/keys", &relay.token, r#"{"roles":["engine"]}"#);
    assert!(made.starts_with("HTTP/1.1 201"), "the API makes keys: {made}");
    std::thread::sleep(Duration::from_millis(200));
    let log = relay.stop();
    assert!(log.contains("the keys of recordings were read again"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    let line = log.lines().find(|line| line.contains("files_by_landlock")).unwrap();
    let word = files::available().map_or("no", |_| "");
    assert!(line.contains(r#""calls_by_seccomp":"whole""#) && line.contains(word), "{line}");
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

const INSIDE: &str = "SOTTO_HARDENING_INSIDE";

/// In a process of its own, since nothing of it is ever taken back.
#[test]
fn from_inside_no_program_starts_and_no_foreign_file_opens() {
    if std::env::var_os(INSIDE).is_some() {
        return look_from_inside();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "from_inside_no_program_starts_and_no_foreign_file_opens"])
        .arg("--nocapture")
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    assert!(said.contains("denied:"), "{said}");
}

fn look_from_inside() {
    let (state, named) = (scratch("state"), scratch("named"));
    let secret = named.join("token");
    write_secret(&secret, "token");
    let foreign = ["/etc/passwd", "/etc/shadow"];
    let open = |path: &str| fs::read(path).map(drop).map_err(|error| error.kind());
    let run = || Command::new("/bin/true").status().map(drop).map_err(|error| error.kind());

    assert_eq!(run(), Ok(()), "the control: programs start");
    assert_eq!(open(foreign[0]), Ok(()), "the control: files open");
    assert_eq!(open(foreign[1]).is_ok(), is_root(), "the control: root's do to root");

    let reach = Reach { read: vec![secret.clone()], write: vec![state.clone()] };
    let begun = Hardening::begin(&Needs { rings: true, reach, ..Needs::default() });
    let hardening = begun.complete();
    let landlock = files::available();
    assert_eq!(hardening.files != InForce::No, landlock.is_some(), "{landlock:?}");
    assert_eq!(hardening.calls, InForce::Whole);
    assert_eq!(hardening.privileges, InForce::Whole);

    // Here and in a thread that begins now; that it can begin is seen too.
    for _ in 0..2 {
        let (secret, state) = (secret.clone(), state.clone());
        let look = move || {
            assert_eq!(run(), Err(ErrorKind::PermissionDenied), "a program of another process");
            let error = Command::new("/bin/true").exec();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "a program in its place");
            if landlock.is_some() {
                for path in foreign {
                    assert_eq!(open(path), Err(ErrorKind::PermissionDenied), "{path}");
                }
                let outside = std::env::temp_dir().join("sotto-outside");
                assert!(fs::write(outside, "x").is_err());
                assert!(fs::write(&secret, "x").is_err(), "what is named is read only");
            }
            assert_eq!(fs::read_to_string(&secret).unwrap(), "token");
            fs::write(state.join("a"), "b").unwrap();
            fs::rename(state.join("a"), state.join("b")).unwrap();
            fs::remove_file(state.join("b")).unwrap();
            println!("denied: programs, and foreign files where there is Landlock");
        };
        look.clone()();
        std::thread::spawn(look).join().unwrap();
    }
}
