//! `sotto check`: each fault is found and told alone; and the command, on files that are there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use control_api::check::facts::{
    AuditFacts, CertificateFacts, FileFacts, FolderFacts, Kept, KeyFacts, Machine, Process,
    SecretMemory, Swap,
};
use control_api::check::{Facts, Level, Report};
use control_api::config::{RawCardMode, RawConfig};
use control_api::engines::RawEngine;
use control_api::named_files::Content;
use control_api::redacted::HiddenUrl;
use control_api::sip::config::RawDigest;
use serde_json::Value;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;
const USER: u32 = 990;

/// A relay in front of a public network, with all that there is.
const GREEN: &str = r#"
region = "eu-1"
state_dir = "/var/lib/sotto"
[process]
drain_s = 60
[control]
address = "127.0.0.1:8080"
[health]
address = "10.1.0.2:8081"
[media]
addresses = ["45.0.0.10", "2a00:0:0:1::10"]
advertised = ["45.0.0.10", "2a00:0:0:1::10"]
ports = "10000-19999"
workers = 2
io = "sockets"
srtp_only = true
[recordings]
directory = "/var/lib/sotto/recordings"
key_files = ["/etc/sotto/1.kek"]
retain_days = 90
[prompts]
directory = "/etc/sotto/prompts"
[secure_sessions]
card_mode = "live"
[outbound]
allow = ["10.1.0.0/16"]
[[sinks.connectors]]
name = "pay"
url = "https://10.1.0.5/pay"
mode = "live"
bearer_file = "/etc/sotto/pay.token"
[[webhooks]]
name = "crm"
url = "https://10.1.0.6/hooks"
secret_files = ["/etc/sotto/crm.secret"]
audience = "staff"
[engines.ava]
type = "websocket"
dialect = "twilio"
url = "wss://10.1.0.7/media"
[sip]
address = "45.0.0.10:5060"
tls_address = "45.0.0.10:5061"
tls_certificate = "/etc/sotto/sip.pem"
tls_key = "/etc/sotto/sip.key"
users_file = "/etc/sotto/sip-users"
trunks = ["45.0.1.0/24"]
digest = "sha-256"
max_calls = 2000
engine = "echo"
[ng]
address = "10.1.0.2:2223"
peers = ["10.1.0.0/24"]
[audiosocket]
address = "10.1.0.2:9092"
peers = ["10.1.0.0/24"]
[mcp]
url = "https://10.1.0.2"
[audit]
anchor = "/mnt/witness/anchor"
"#;

fn folder(path: &str) -> FolderFacts {
    FolderFacts {
        path: path.into(),
        kept: Ok(Kept { mode: 0o700, owner: USER }),
        is_writable: true,
        space: Some((100 << 30, 200 << 30)),
        is_memory: false,
    }
}

fn file(member: &str, path: &Path, content: Option<Content>) -> FileFacts {
    let mode = if content == Some(Content::Secret) { 0o600 } else { 0o644 };
    FileFacts {
        member: member.to_owned(),
        path: path.to_owned(),
        content,
        kept: Ok(Kept { mode, owner: USER }),
        folder: Some(Kept { mode: 0o750, owner: 0 }),
        is_readable: true,
        is_weak: false,
    }
}

fn machine() -> Machine {
    let sysctl = [
        ("fs.suid_dumpable", "0"),
        ("kernel.core_pattern", "core"),
        ("kernel.randomize_va_space", "2"),
        ("kernel.unprivileged_bpf_disabled", "2"),
        ("kernel.yama.ptrace_scope", "1"),
        ("net.core.rmem_default", "212992"),
        ("net.core.rmem_max", "4194304"),
        ("net.core.wmem_default", "212992"),
        ("net.core.wmem_max", "4194304"),
        ("net.ipv4.ip_local_port_range", "32768\t60999"),
        ("net.ipv4.ip_local_reserved_ports", ""),
        ("net.ipv6.conf.all.disable_ipv6", "0"),
    ];
    let addresses = ["127.0.0.1", "45.0.0.10", "2a00:0:0:1::10", "10.1.0.2"];
    Machine {
        kernel: (6, 12),
        sysctl: sysctl.map(|(name, value)| (name, value.to_owned())).into(),
        addresses: addresses.map(|it| it.parse().unwrap()).to_vec(),
        swaps: vec![Swap { name: "/dev/zram0".into(), is_protected: true }],
        landlock: Some(6),
        seccomp: true,
        secret_memory: SecretMemory::Secret,
        clock_is_kept: Some(true),
        time_zone: Some("Etc/UTC".into()),
        cores: 4,
    }
}

fn green() -> Facts {
    let typed: RawConfig = toml::from_str(GREEN).unwrap();
    let config = typed.clone().resolve(Path::new("/state"), 4).unwrap();
    let config = typed.effective(&config);
    let own = file("--config", Path::new("/etc/sotto/sotto.toml"), None);
    let named = config.named_files();
    let named = named.iter().map(|it| file(&it.member, &it.path, Some(it.content)));
    Facts {
        files: [own].into_iter().chain(named).collect(),
        state: folder("/var/lib/sotto"),
        recordings: Some(folder("/var/lib/sotto/recordings")),
        audit: Some(AuditFacts {
            folder: folder("/var/lib/sotto/audit"),
            newest: Some(NOW - 10),
            anchored: Some(NOW - 70),
        }),
        certificates: vec![CertificateFacts {
            member: "sip.tls_certificate".into(),
            valid: Ok((NOW - DAY, NOW + 60 * DAY)),
            matches_key: Some(true),
        }],
        keys: Ok(vec![key("one", true), key("two", false)]),
        prompt_faults: Vec::new(),
        plan_fault: None,
        machine: machine(),
        process: Process {
            user: USER,
            net_raw: false,
            net_admin: false,
            bpf: false,
            low_ports: false,
            descriptors: Some(65_536),
            locked: None,
            log_filter: Some("info".into()),
            is_sabotaged: false,
            is_debug: false,
            program: Some(Kept { mode: 0o755, owner: 0 }),
        },
        now: NOW,
        config,
    }
}

fn key(id: &str, is_operator: bool) -> KeyFacts {
    let (created, expires) = (Some(NOW - 100 * DAY), Some(NOW + 100 * DAY));
    KeyFacts { id: id.to_owned(), is_operator, created, expires }
}

type Plant = fn(&mut Facts);

fn list(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|it| (*it).to_owned()).collect())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The first file that is a secret, or is none.
fn first(facts: &mut Facts, secret: bool) -> &mut FileFacts {
    let is = |file: &&mut FileFacts| (file.content == Some(Content::Secret)) == secret;
    facts.files.iter_mut().find(is).unwrap()
}

fn kept(file: &mut Result<Kept, String>) -> &mut Kept {
    file.as_mut().unwrap()
}

/// One fault for each check.
const FAULTS: &[(&str, Plant)] = &[
    ("control-bind", |it| it.config.control.address = text("0.0.0.0:8080")),
    ("url-tickets", |it| it.config.control.url_tickets = Some(true)),
    ("health-bind", |it| it.config.health.address = text("0.0.0.0:8081")),
    ("listener-addresses", |it| it.config.ng.tcp_address = text("10.1.0.9:2223")),
    ("low-ports", |it| it.config.health.address = text("10.1.0.2:81")),
    ("sip-tls", |it| it.config.sip.tls_address = None),
    ("sip-callers", |it| (it.config.sip.users_file, it.config.sip.trunks) = (None, None)),
    ("sip-trunks", |it| it.config.sip.trunks = list(&["0.0.0.0/0"])),
    ("sip-digest", |it| it.config.sip.digest = Some(RawDigest::Md5)),
    ("ng-bind", |it| it.config.ng.address = text("0.0.0.0:2223")),
    ("ng-peers", |it| it.config.ng.peers = list(&["10.1.0.0/24", "::/0"])),
    ("audiosocket-bind", |it| it.config.audiosocket.address = text("0.0.0.0:9092")),
    ("audiosocket-peers", |it| it.config.audiosocket.peers = list(&["128.0.0.0/1"])),
    ("outbound-wide", |it| it.config.outbound.allow = list(&["0.0.0.0/0"])),
    ("outbound-metadata", |it| it.config.outbound.allow = list(&["169.254.0.0/16"])),
    ("engines-tls", |it| {
        let engine =
            RawEngine { url: Some(HiddenUrl::from("ws://10.1.0.7/")), ..Default::default() };
        it.config.engines.insert("eva".into(), engine);
    }),
    ("webhooks-tls", |it| it.config.webhooks[0].url = HiddenUrl::from("http://127.0.0.1/x")),
    ("mcp-url", |it| it.config.mcp.url = text("http://10.1.0.2")),
    ("sample-hosts", |it| {
        it.config.webhooks[0].url = HiddenUrl::from("https://crm.example.com/hooks/sotto");
    }),
    ("sample-addresses", |it| it.config.audiosocket.peers = list(&["192.0.2.0/24"])),
    ("media-addresses", |it| it.config.media.addresses = list(&["127.0.0.1"])),
    ("media-own", |it| it.config.media.addresses = list(&["45.0.0.11"])),
    ("media-advertised", |it| {
        it.config.media.advertised = list(&["10.1.0.2", "2a00:0:0:1::10"]);
    }),
    ("media-families", |it| it.config.media.advertised = list(&["45.0.0.10"])),
    ("media-ipv6", |it| set(it, "net.ipv6.conf.all.disable_ipv6", "1")),
    ("media-srtp", |it| it.config.media.srtp_only = Some(false)),
    ("media-ports-reserved", |it| set(it, "net.ipv4.ip_local_port_range", "15000\t60999")),
    ("media-ports-listeners", |it| it.config.ng.address = text("10.1.0.2:10001")),
    ("media-ports-enough", |it| it.config.sip.max_calls = Some(2501)),
    ("media-io", |it| it.config.media.io = text("packet")),
    ("media-workers", |it| it.machine.cores = 1),
    ("media-buffers", |it| set(it, "net.core.rmem_max", "4096")),
    ("files-readable", |it| first(it, true).is_readable = false),
    ("files-changeable", |it| kept(&mut first(it, false).kept).mode = 0o664),
    ("folders-changeable", |it| first(it, true).folder = Some(Kept { mode: 0o777, owner: 0 })),
    ("secrets-mode", |it| kept(&mut first(it, true).kept).mode = 0o640),
    ("secrets-owner", |it| kept(&mut first(it, true).kept).owner = USER + 1),
    ("secrets-weak", |it| first(it, true).is_weak = true),
    ("state-mode", |it| kept(&mut it.state.kept).mode = 0o750),
    ("state-owner", |it| kept(&mut it.state.kept).owner = USER + 1),
    ("state-writable", |it| it.state.is_writable = false),
    ("state-disk", |it| it.state.is_memory = true),
    ("keys-operator", |it| it.keys = Ok(vec![key("two", false)])),
    ("keys-age", |it| it.keys.as_mut().unwrap()[0].created = Some(NOW - 366 * DAY)),
    ("keys-expiry", |it| it.keys.as_mut().unwrap()[1].expires = Some(NOW + 29 * DAY)),
    ("certificates-readable", |it| it.certificates[0].valid = Err("holds nothing".into())),
    ("certificates-valid", |it| it.certificates[0].valid = Ok((NOW - DAY, NOW))),
    ("certificates-expiry", |it| it.certificates[0].valid = Ok((NOW - DAY, NOW + 29 * DAY))),
    ("certificates-key", |it| it.certificates[0].matches_key = Some(false)),
    ("recordings-mode", |it| kept(&mut it.recordings.as_mut().unwrap().kept).mode = 0o755),
    ("recordings-owner", |it| kept(&mut it.recordings.as_mut().unwrap().kept).owner = 0),
    ("recordings-writable", |it| it.recordings.as_mut().unwrap().is_writable = false),
    ("recordings-disk", |it| it.recordings.as_mut().unwrap().is_memory = true),
    ("recordings-space", |it| it.recordings.as_mut().unwrap().space = Some((1 << 20, 1 << 40))),
    ("recordings-retention", |it| it.config.recordings.retain_days = None),
    ("recordings-keys-apart", |it| {
        it.config.recordings.key_files = Some(vec!["/var/lib/sotto/recordings/1.kek".into()]);
    }),
    ("recordings-keys-named", |it| {
        it.config.recordings.key_files = Some(vec!["/var/lib/sotto/recordings.kek".into()]);
    }),
    ("audit-kept", |it| it.audit = None),
    ("audit-mode", |it| kept(&mut it.audit.as_mut().unwrap().folder.kept).mode = 0o750),
    ("audit-owner", |it| kept(&mut it.audit.as_mut().unwrap().folder.kept).owner = 0),
    ("audit-writable", |it| it.audit.as_mut().unwrap().folder.is_writable = false),
    ("audit-disk", |it| it.audit.as_mut().unwrap().folder.is_memory = true),
    ("audit-anchor", |it| it.config.audit.anchor = None),
    ("audit-anchor-age", |it| it.audit.as_mut().unwrap().anchored = Some(NOW - 3 * 3600)),
    ("card-mode", |it| it.config.secure_sessions.card_mode = Some(RawCardMode::Test)),
    ("connectors-mode", |it| it.config.sinks.connectors[0].mode = Some(RawCardMode::Test)),
    ("connectors-credentials", |it| it.config.sinks.connectors[0].bearer_file = None),
    ("plans", |it| it.plan_fault = text("plans.card: no such sink")),
    ("prompts", |it| it.prompt_faults = vec!["es: 3 prompts from elsewhere".into()]),
    ("user", |it| it.process.user = 0),
    ("descriptors", |it| it.process.descriptors = Some(1024)),
    ("locked-memory", |it| it.process.locked = Some(64 << 10)),
    ("log-level", |it| it.process.log_filter = text("info,relay=TRACE")),
    ("sabotage", |it| it.process.is_sabotaged = true),
    ("debug-build", |it| it.process.is_debug = true),
    ("program-changeable", |it| it.process.program = Some(Kept { mode: 0o775, owner: 0 })),
    ("drain", |it| it.config.process.drain_s = Some(0)),
    ("region", |it| it.config.region = text("local")),
    ("kernel", |it| it.machine.kernel = (5, 10)),
    ("landlock", |it| it.machine.landlock = None),
    ("seccomp", |it| it.machine.seccomp = false),
    ("secret-memory", |it| it.machine.secret_memory = SecretMemory::Locked),
    ("swap", |it| it.machine.swaps[0].is_protected = false),
    ("core-pattern", |it| set(it, "kernel.core_pattern", "|/usr/lib/handler %p")),
    ("suid-dumpable", |it| set(it, "fs.suid_dumpable", "2")),
    ("ptrace", |it| set(it, "kernel.yama.ptrace_scope", "0")),
    ("address-layout", |it| set(it, "kernel.randomize_va_space", "1")),
    ("unprivileged-bpf", |it| set(it, "kernel.unprivileged_bpf_disabled", "0")),
    ("clock", |it| it.machine.clock_is_kept = Some(false)),
    ("time-zone", |it| it.machine.time_zone = text("Europe/Berlin")),
];

fn set(facts: &mut Facts, name: &'static str, value: &str) {
    facts.machine.sysctl.insert(name, value.to_owned());
}

/// What is not as it should be.
fn reported(report: &Report) -> Vec<&'static str> {
    let bad = report.findings().iter();
    let bad = bad.filter(|(_, _, it)| matches!(it.level, Level::Warn | Level::Fail));
    bad.map(|(_, id, _)| *id).collect()
}

#[test]
fn each_fault_alone_is_reported_alone() {
    let green = green();
    let report = Report::of(&green);
    assert!(reported(&report).is_empty() && !report.has_failures(), "{:?}", reported(&report));
    let skipped = report.findings().iter().filter(|it| it.2.level == Level::Skipped);
    assert_eq!(skipped.count(), 0, "the green set-up has all that is looked at");

    let ids: Vec<&str> = report.findings().iter().map(|(_, id, _)| *id).collect();
    let planted: Vec<&str> = FAULTS.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
    assert_eq!(ids, planted, "each check has its fault");
    assert!(ids.len() >= 40);
    for (id, plant) in FAULTS {
        let mut facts = green.clone();
        plant(&mut facts);
        let report = Report::of(&facts);
        assert_eq!(reported(&report), [*id]);
        let (_, _, finding) = report.findings().iter().find(|it| it.1 == *id).unwrap();
        assert!(!finding.advice.is_empty() && !finding.found.contains('\n'), "{finding:?}");
        assert_eq!(report.has_failures(), finding.level == Level::Fail, "{id}");
    }
    println!("figure: check: {} checks, each fault reported alone", ids.len());
}

#[test]
fn what_does_not_concern_a_set_up_is_skipped_with_its_reason() {
    let mut facts = green();
    facts.recordings = None;
    facts.config.sip = control_api::sip::config::RawSip::default();
    facts.config.sinks.connectors.clear();
    let report = Report::of(&facts);
    assert!(reported(&report).is_empty(), "{:?}", reported(&report));
    for id in ["recordings-space", "sip-tls", "connectors-mode"] {
        let (_, _, finding) = report.findings().iter().find(|it| it.1 == id).unwrap();
        assert!(finding.level == Level::Skipped && !finding.found.is_empty(), "{finding:?}");
    }
}

fn sotto(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    command.args(arguments).output().unwrap()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A set-up on this machine: settings, a certificate with its key, secrets and an operator's key.
fn set_up(name: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("sotto-check-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let (etc, state) = (folder.join("etc"), folder.join("state"));
    for made in [&etc, &state] {
        fs::create_dir_all(made).unwrap();
        fs::set_permissions(made, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let pair = rcgen::generate_simple_self_signed(vec!["relay".to_owned()]).unwrap();
    write(&etc.join("sip.pem"), &pair.cert.pem(), 0o644);
    write(&etc.join("sip.key"), &pair.signing_key.serialize_pem(), 0o600);
    write(&etc.join("crm.secret"), "whsec_b25lIHNlY3JldCBvZiBhIHRlc3QgYWxvbmU=", 0o600);
    let config = etc.join("sotto.toml");
    let text = format!(
        "state_dir = {state:?}\n\
         [sip]\naddress = '127.0.0.1:5060'\ntls_address = '127.0.0.1:5061'\n\
         tls_certificate = {:?}\ntls_key = {:?}\n\
         [[webhooks]]\nname = 'crm'\nurl = 'https://10.1.0.6/hooks/t0ken'\n\
         secret_files = [{:?}]\naudience = 'staff'\n",
        etc.join("sip.pem"),
        etc.join("sip.key"),
        etc.join("crm.secret")
    );
    write(&config, &text, 0o644);
    let config_text = config.to_str().unwrap();
    assert!(
        sotto(&["keys", "add", "--role", "operator", "--config", config_text]).status.success()
    );
    (etc, config)
}

fn levels(output: &Output) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    checks.map(|it| (text(&it["id"]), text(&it["level"]))).collect()
}

/// Ids and times of all files, so that what is made or changed is seen.
fn files_below(folder: &Path) -> BTreeSet<(PathBuf, std::time::SystemTime)> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files.insert((path.clone(), fs::metadata(&path).unwrap().modified().unwrap()));
        if path.is_dir() {
            files.extend(files_below(&path));
        }
    }
    files
}

#[test]
fn the_command_tells_what_is_planted_and_changes_nothing() {
    let (etc, config) = set_up("command");
    let folder = etc.parent().unwrap();
    let check = || sotto(&["check", "--json", "--config", config.to_str().unwrap()]);
    let before = files_below(folder);
    let good = check();
    assert_eq!(files_below(folder), before, "nothing is made or changed");
    let good_levels = levels(&good);
    let failed: Vec<_> = good_levels.iter().filter(|(_, level)| *level == "fail").collect();
    // Its media is on loopback, which no caller elsewhere reaches.
    assert!(
        good_levels["media-addresses"] == "fail" && good.status.code() == Some(1),
        "{failed:?}"
    );
    for id in ["certificates-valid", "certificates-key", "keys-operator", "secrets-weak", "plans"] {
        assert_eq!(good_levels[id], "pass", "{id}");
    }

    type Change<'a> = &'a dyn Fn();
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    let certificate = fs::read_to_string(etc.join("sip.pem")).unwrap();
    let other_pem = other.cert.pem();
    let faults: [(&str, Change<'_>, Change<'_>); 4] = [
        (
            "secrets-mode",
            &|| fs::set_permissions(etc.join("crm.secret"), mode(0o644)).unwrap(),
            &|| fs::set_permissions(etc.join("crm.secret"), mode(0o600)).unwrap(),
        ),
        ("certificates-key", &|| write(&etc.join("sip.pem"), &other_pem, 0o644), &|| {
            write(&etc.join("sip.pem"), &certificate, 0o644)
        }),
        ("secrets-weak", &|| write(&etc.join("crm.secret"), "changeme", 0o600), &|| {
            write(&etc.join("crm.secret"), "whsec_b25lIHNlY3JldCBvZiBhIHRlc3Q=", 0o600)
        }),
        ("folders-changeable", &|| fs::set_permissions(&etc, mode(0o777)).unwrap(), &|| {
            fs::set_permissions(&etc, mode(0o700)).unwrap()
        }),
    ];
    for (id, plant, heal) in faults {
        plant();
        let found = levels(&check());
        let changed: Vec<&String> =
            found.iter().filter(|(id, level)| good_levels[*id] != **level).map(|it| it.0).collect();
        assert_eq!(changed, [id]);
        assert_eq!(found[id], "fail");
        heal();
        assert_eq!(levels(&check()), good_levels, "{id} healed");
    }
}

fn mode(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode)
}

#[test]
fn people_read_it_by_theme_and_settings_that_cant_be_read_are_78() {
    let (etc, config) = set_up("people");
    let output = sotto(&["check", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    for line in ["reach", "media", "files", "recordings", "payment", "process", "host"] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
    assert!(said.lines().last().unwrap().contains(" checks: "), "{said}");
    assert!(said.contains("  FAIL  media-addresses: ") && said.contains("        -> "), "{said}");
    let shown = sotto(&["config", "show", "--config", config.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("control.address = \"127.0.0.1:8080\"  # default"), "{shown}");
    for text in [&said, &shown] {
        assert!(!text.contains("t0ken") && !text.contains("b25lIHNlY3"), "{text}");
    }
    write(&config, "[media]\nadress = 't0ken'\n", 0o644);
    for command in [&["check"][..], &["config", "show"]] {
        let output = sotto(&[command, &["--config", config.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(78));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("did you mean media.addresses?"), "{error}");
        assert!(error.lines().count() == 1 && !error.contains("t0ken"), "{error}");
    }
    fs::remove_dir_all(etc.parent().unwrap()).unwrap();
}
