//! Tidy: the rules of style and layering, each as a check over the text of the whole project.
//!
//! Every check is a function from a file to its faults, run twice: over the project, where it must
//! find none, and over a planted fault, which it must find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest function, in lines from its name to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Longest file, in lines above its tests.
const MAX_FILE_LINES: usize = 600;

/// One text file: its path from the top of the project, and what is in it.
struct Text {
    path: String,
    text: String,
    /// Tests, benches and examples may read clocks and unwrap.
    is_test: bool,
}

/// What is wrong, and where.
type Faults = Vec<String>;

#[test]
fn crates_depend_inward_only() {
    let members = workspace_members();
    for (member, allowed) in LAYERS {
        assert!(members.contains(*member), "{member} is a member");
        let manifest = read(&format!("{member}/Cargo.toml"));
        assert_eq!(forbidden_dependencies(&manifest, allowed), Faults::new(), "{member}");
    }
    assert_eq!(members.len(), LAYERS.len(), "every member has a layer");
}

#[test]
fn a_dependency_outward_is_found() {
    let manifest =
        planted("dtmf/Cargo.toml", "[dependencies]\nrelay.workspace = true\nserde = \"1\"\n");
    let faults = forbidden_dependencies(&manifest, &["locked-page"]);
    assert_eq!(faults, ["relay", "serde"]);
}

#[test]
fn modules_stay_in_their_layer() {
    holds_everywhere(outside_layer);
}

#[test]
fn a_name_from_an_outer_layer_is_found() {
    catches(outside_layer, "relay/src/wire/rtp.rs", "use std::net::UdpSocket;");
    catches(outside_layer, "relay/src/wire/rtp.rs", "use crate::switchboard::Call;");
    catches(outside_layer, "relay/src/switchboard/leg.rs", "fn f() { std::thread::yield_now(); }");
    catches(outside_layer, "relay/src/switchboard/leg.rs", "use crate::{io, wire};");
    catches(outside_layer, "dtmf/src/tone.rs", "use std::fs::File;");
}

#[test]
fn every_file_says_what_it_is() {
    holds_everywhere(without_first_sentence);
}

#[test]
fn a_file_without_a_first_sentence_is_found() {
    catches(without_first_sentence, "relay/src/a.rs", "use std::fmt;\n//! Late.\n");
    catches(without_first_sentence, "relay/src/a.rs", "//! no sentence\n");
    catches(without_first_sentence, "tests/peers/a.py", "import sys\n");
}

#[test]
fn functions_are_short() {
    holds_everywhere(long_functions);
}

#[test]
fn a_long_function_is_found() {
    let lines = "    let brace = '{'; // {\n".repeat(MAX_FUNCTION_LINES - 1);
    let text = format!("//! A.\npub(crate) const fn f<'a>() {{\n{lines}}}\n");
    catches(long_functions, "relay/src/a.rs", &text);
    let shorter = text.replacen("    let brace = '{'; // {\n", "", 1);
    assert_eq!(long_functions(&planted("relay/src/a.rs", &shorter)), Faults::new());
}

#[test]
fn files_are_short() {
    holds_everywhere(long_file);
}

#[test]
fn a_long_file_is_found() {
    catches(long_file, "relay/src/a.rs", &"//\n".repeat(MAX_FILE_LINES + 1));
    let tested =
        format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(MAX_FILE_LINES));
    assert_eq!(long_file(&planted("relay/src/a.rs", &tested)), Faults::new());
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    holds_everywhere(unwraps);
}

#[test]
fn an_unwrap_is_found() {
    catches(unwraps, "relay/src/a.rs", "fn f() { g().unwrap(); }");
    let tested = planted("relay/src/a.rs", "#[cfg(test)]\nmod tests {\nfn f() { g().unwrap(); } }");
    assert_eq!(unwraps(&tested), Faults::new());
}

#[test]
fn two_files_read_the_clock() {
    holds_everywhere(clock_readers);
}

#[test]
fn a_reader_of_the_clock_is_found() {
    catches(clock_readers, "relay/src/io/worker.rs", "fn f() { let now = Instant::now(); }");
    catches(clock_readers, "control-api/src/calls.rs", "let now = std::time::SystemTime::now();");
}

#[test]
fn two_crates_are_unsafe() {
    holds_everywhere(unsafe_code);
}

#[test]
fn unsafe_code_is_found() {
    catches(unsafe_code, "relay/src/io/sockets.rs", "let fd = unsafe { borrow(raw) };");
    let said = planted("relay/src/a.rs", "//! Not unsafe.\nconst A: &str = \"unsafe\";");
    assert_eq!(unsafe_code(&said), Faults::new());
}

#[test]
fn no_text_names_a_machine() {
    holds_everywhere(machine_paths);
}

#[test]
fn the_path_of_a_machine_is_found() {
    for root in MACHINE_ROOTS {
        catches(machine_paths, "README.md", &format!("see {root}someone/notes"));
    }
}

#[test]
fn no_build_is_sabotaged_by_default() {
    holds_everywhere(sabotage_by_default);
}

#[test]
fn default_sabotage_is_found() {
    catches(sabotage_by_default, "relay/Cargo.toml", "[features]\ndefault = [\"sabotage\"]\n");
}

#[test]
fn every_corner_case_has_one_test() {
    let names: Vec<String> = project().iter().flat_map(corner_cases).collect();
    assert_eq!(numbering_faults(&names), Faults::new());
}

#[test]
fn a_corner_case_without_a_test_or_with_two_is_found() {
    let named = |number: usize| format!("case_{number:02}_a");
    let names: Vec<String> = (1..=CORNER_CASES).map(named).collect();
    assert_eq!(numbering_faults(&names), Faults::new());
    assert_eq!(numbering_faults(&names[1..]), ["case 1: 0 tests"]);
    assert_eq!(numbering_faults(&[&names[..], &names[2..3]].concat()), ["case 3: 2 tests"]);
    let test = "#[test]\nfn case_07_it_is_so() {}\n#[tokio::test(x)]\nasync fn case_08_b() {}\n";
    let file = planted("tests/tests/a.rs", test);
    assert_eq!(corner_cases(&file), ["case_07_it_is_so", "case_08_b"]);
    let file = planted("tests/tests/a.rs", "fn case_07_no_test() {}\n// fn case_08_b()\n");
    assert_eq!(corner_cases(&file), Faults::new());
}

// The rules.

/// Corner cases of a secure session; `tests/tests/corner_cases.rs` has the table.
const CORNER_CASES: usize = 28;

/// The tests of a file that are named by a corner case.
fn corner_cases(file: &Text) -> Vec<String> {
    if extension(&file.path) != "rs" {
        return Vec::new();
    }
    let code = code_of(&file.text);
    let mut is_test = false;
    let mut names = Vec::new();
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let name = words(line).find(|word| !["pub", "async", "fn"].contains(word));
        match name {
            Some(name) if is_test && name.starts_with("case_") => names.push(name.to_owned()),
            _ => {}
        }
        is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    }
    names
}

fn numbering_faults(names: &[String]) -> Faults {
    let faults = (1..=CORNER_CASES).filter_map(|number| {
        let prefix = format!("case_{number:02}_");
        let tests = names.iter().filter(|name| name.starts_with(&prefix)).count();
        (tests != 1).then(|| format!("case {number}: {tests} tests"))
    });
    faults.collect()
}

/// Each member and the members it may name, inward only: the layering of the workspace.
const LAYERS: &[(&str, &[&str])] = &[
    ("dtmf/locked-page", &[]),
    ("dtmf", &["locked-page"]),
    ("relay/packet-ring", &[]),
    ("relay", &["dtmf", "locked-page", "packet-ring"]),
    ("loadtest", &["dtmf", "relay"]),
    ("control-api/audit", &[]),
    ("control-api/dialects", &["dtmf"]),
    ("control-api/ng", &[]),
    ("control-api/sip", &["dtmf"]),
    (
        "control-api",
        &[
            "dtmf",
            "locked-page",
            "relay",
            "loadtest",
            "audit-log",
            "dialects",
            "ng-protocol",
            "sip-server",
        ],
    ),
    ("tests", &["dtmf", "locked-page", "relay", "loadtest", "control-api"]),
];

const CRATES: [&str; 11] = [
    "dtmf",
    "locked-page",
    "relay",
    "packet-ring",
    "loadtest",
    "audit-log",
    "dialects",
    "ng-protocol",
    "sip-server",
    "control-api",
    "system-tests",
];

/// Crates of the inner layers know no serialization, no runtime and no HTTP.
const INNER: [&str; 4] = ["dtmf/locked-page", "dtmf", "relay/packet-ring", "relay"];
const OUTER_ONLY: [&str; 6] = ["serde", "serde_json", "axum", "hyper", "utoipa", "toml"];

fn forbidden_dependencies(manifest: &Text, allowed: &[&str]) -> Faults {
    let is_inner = INNER.iter().any(|member| manifest.path == format!("{member}/Cargo.toml"));
    let dependencies = section(&manifest.text, "[dependencies]");
    let names = dependencies.filter_map(|line| {
        let name = line.split(['.', '=', ' ']).next()?;
        (!name.is_empty() && !name.starts_with('#')).then_some(name)
    });
    names
        .filter(|name| {
            let outward = CRATES.contains(name) && !allowed.contains(name);
            outward || (is_inner && OUTER_ONLY.contains(name))
        })
        .map(str::to_owned)
        .collect()
}

/// Folders and the names that their code may not use.
const OUTSIDE: [(&str, &[&str]); 3] = [
    ("relay/src/wire/", &["switchboard", "crate::io", "Socket", "std::thread", "std::fs", "tokio"]),
    (
        "relay/src/switchboard/",
        &["std::thread", "UdpSocket", "TcpStream", "io", "std::fs", "tokio"],
    ),
    ("dtmf/src/", &["std::thread", "std::net", "std::fs", "std::io", "std::env"]),
];

fn outside_layer(file: &Text) -> Faults {
    let Some((_, names)) = OUTSIDE.iter().find(|(folder, _)| file.path.starts_with(folder)) else {
        return Faults::new();
    };
    let code = code_of(product_part(&file.text));
    let outside = names.iter().filter(|name| match **name {
        // A word, so that `audio` and `Some(io_error)` stay possible.
        "io" => words(&code).any(|word| word == "io"),
        "Socket" => words(&code).any(|word| word.ends_with("Socket")),
        path => code.contains(path),
    });
    outside.map(|name| format!("{} names {name}", file.path)).collect()
}

fn without_first_sentence(file: &Text) -> Faults {
    let first = file.text.lines().find(|line| !line.starts_with("#!") && !line.is_empty());
    let head: String = file.text.lines().take(4).collect::<Vec<_>>().join(" ");
    let is_sentence = match extension(&file.path) {
        "rs" => first.is_some_and(|line| line.starts_with("//! ")) && head.contains(['.', ':']),
        "py" => first.is_some_and(|line| line.starts_with("\"\"\"")),
        _ => true,
    };
    fault_unless(is_sentence, || format!("{} doesn't begin with what it is", file.path))
}

fn long_functions(file: &Text) -> Faults {
    if extension(&file.path) != "rs" {
        return Faults::new();
    }
    let code = code_of(product_part(&file.text));
    let lines: Vec<&str> = code.lines().collect();
    let starts = (0..lines.len()).filter(|&at| {
        let mut words = words(lines[at]);
        let is_signature = |word: &str| {
            matches!(
                word,
                "pub" | "crate" | "super" | "in" | "const" | "async" | "unsafe" | "extern"
            )
        };
        words.find(|word| !is_signature(word)) == Some("fn")
    });
    let long = starts.filter_map(|start| {
        let length = function_length(&lines[start..]);
        let name = lines[start].trim();
        (length > MAX_FUNCTION_LINES).then(|| format!("{}: {length} lines: {name}", file.path))
    });
    long.collect()
}

/// Lines from a signature to the brace that closes its body; 1 where it has no body.
fn function_length(lines: &[&str]) -> usize {
    let mut depth = 0_usize;
    for (index, line) in lines.iter().enumerate() {
        for character in line.chars() {
            match character {
                ';' if depth == 0 => return 1,
                '{' => depth += 1,
                '}' if depth == 1 => return index + 1,
                '}' => depth -= 1,
                // The `;` of an array's length is no end of a signature.
                '[' => depth += 1_000,
                ']' => depth -= 1_000,
                _ => {}
            }
        }
    }
    1
}

fn long_file(file: &Text) -> Faults {
    let lines = product_part(&file.text).lines().count();
    let is_code = matches!(extension(&file.path), "rs" | "py") && !file.is_test;
    fault_unless(!is_code || lines <= MAX_FILE_LINES, || format!("{}: {lines} lines", file.path))
}

fn unwraps(file: &Text) -> Faults {
    let is_product = extension(&file.path) == "rs" && !file.is_test;
    let is_unwrapped = is_product && code_of(product_part(&file.text)).contains(".unwrap()");
    fault_unless(!is_unwrapped, || format!("{} unwraps", file.path))
}

/// The files that read the clock, one for each side of the program.
const CLOCKS: [&str; 2] = ["relay/src/io/clock.rs", "control-api/src/clock.rs"];

fn clock_readers(file: &Text) -> Faults {
    let may = CLOCKS.contains(&file.path.as_str()) || file.is_test;
    if extension(&file.path) != "rs" || may {
        return Faults::new();
    }
    let code = code_of(product_part(&file.text));
    let calls = ["Instant::now", "SystemTime::now"].into_iter().filter(|call| code.contains(call));
    calls.map(|call| format!("{} calls {call}", file.path)).collect()
}

/// The crates that exist so that `unsafe` has a place.
const UNSAFE_CRATES: [&str; 2] = ["dtmf/locked-page/", "relay/packet-ring/"];

fn unsafe_code(file: &Text) -> Faults {
    let may = extension(&file.path) != "rs"
        || UNSAFE_CRATES.iter().any(|folder| file.path.starts_with(folder));
    let is_unsafe = || words(&code_of(&file.text)).any(|word| word == "unsafe");
    fault_unless(may || !is_unsafe(), || format!("{} is unsafe", file.path))
}

/// Where a developer's files lie; written in two parts so that this file passes too.
const MACHINE_ROOTS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

fn machine_paths(file: &Text) -> Faults {
    let named = MACHINE_ROOTS.iter().filter(|root| {
        let at_word_start = |at: usize| !file.text[..at].ends_with(|c: char| c.is_alphanumeric());
        file.text.match_indices(*root).any(|(at, _)| at_word_start(at))
    });
    named.map(|root| format!("{} names {root}", file.path)).collect()
}

fn sabotage_by_default(file: &Text) -> Faults {
    let mut features = section(&file.text, "[features]");
    let is_default = file.path.ends_with("Cargo.toml")
        && features.any(|line| line.starts_with("default") && line.contains("sabotage"));
    fault_unless(!is_default, || format!("{} is sabotaged", file.path))
}

// What the rules are made of.

fn holds_everywhere(check: fn(&Text) -> Faults) {
    let project = project();
    assert!(project.len() > 50, "the project is read whole, not {} files", project.len());
    let faults: Faults = project.iter().flat_map(check).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn catches(check: fn(&Text) -> Faults, path: &str, text: &str) {
    assert_eq!(check(&planted(path, text)).len(), 1, "in {path}: {text}");
}

fn planted(path: &str, text: &str) -> Text {
    Text { path: path.to_owned(), text: text.to_owned(), is_test: is_test_path(path) }
}

fn fault_unless(holds: bool, fault: impl FnOnce() -> String) -> Faults {
    if holds { Faults::new() } else { vec![fault()] }
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_test_path(path: &str) -> bool {
    let folders = ["tests/", "benches/", "examples/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
}

/// What stands above the unit tests, which are always last.
fn product_part(text: &str) -> &str {
    const MARK: &str = "#[cfg(test)]\n";
    let begins_module = |at: &usize| {
        let mut lines = text[at + MARK.len()..].lines();
        let item = lines.find(|line| !line.starts_with("#["));
        item.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = text.match_indices(MARK).map(|(at, _)| at).find(begins_module);
    &text[..end.unwrap_or(text.len())]
}

/// Files that a neighbour declares as `#[cfg(test)] mod name;`.
fn test_modules(file: &Text) -> impl Iterator<Item = String> {
    let declared = file.text.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|rest| rest.split_once(';').map(|(name, _)| name));
    let names = names.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    names.map(move |name| format!("{folder}/{name}.rs"))
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The lines of one section of a TOML file.
fn section<'a>(text: &'a str, head: &str) -> impl Iterator<Item = &'a str> {
    let head = head.to_owned();
    let lines = text.lines().skip_while(move |line| *line != head).skip(1);
    lines.take_while(|line| !line.starts_with('['))
}

/// Rust without its comments and with its literals emptied; lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|c| *c == '\n'));
            rest = &rest[length..];
            // Keeps the words on either side apart.
            code.push(' ');
        }
    }
    code
}

/// Length of the comment or literal that `text` begins with; 0 if it begins with neither.
fn literal_or_comment(text: &str) -> usize {
    let until = |start: usize, end: &str| {
        text[start..].find(end).map_or(text.len(), |at| start + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    if let Some(raw) = text.strip_prefix("r#\"").or_else(|| text.strip_prefix("br#\"")) {
        return until(text.len() - raw.len(), "\"#");
    }
    if text.starts_with("r\"") {
        return until(2, "\"");
    }
    match text.as_bytes() {
        [b'"', ..] => 1 + escaped_length(&text[1..], '"'),
        // A lifetime has no closing quote behind its first character.
        [b'\'', b'\\', ..] => 1 + escaped_length(&text[1..], '\''),
        [b'\'', ..] => {
            let closing = text.char_indices().nth(2).filter(|(_, c)| *c == '\'');
            closing.map_or(0, |(at, _)| at + 1)
        }
        _ => 0,
    }
}

/// Length up to and with the closing quote, past escaped ones.
fn escaped_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        if character == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    text.len()
}

fn workspace_members() -> BTreeSet<String> {
    let manifest = read("Cargo.toml").text;
    let line = manifest.lines().find(|line| line.starts_with("members")).expect("members");
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Text {
    let text = fs::read_to_string(root().join(path)).expect("a file of the project");
    planted(path, &text)
}

/// Every text file of the project.
fn project() -> Vec<Text> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if ["target", ".git", "artifacts", "__pycache__"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path =
                    path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
                files.push(planted(&path, &text));
            }
        }
    }
    let test_modules: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        file.is_test |= test_modules.contains(&file.path);
    }
    files
}
