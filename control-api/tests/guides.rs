//! Guides: what they tell to type is what the relay reads. Every block of configuration is loaded,
//! every request's body is read, and what they quote of a tool's answer is what it says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use control_api::clock;
use control_api::config::RawConfig;
use control_api::dto::call::CallRequest;
use control_api::dto::model::ModelTokenRequest;
use control_api::dto::named_plan::NamedPlanRequest;
use control_api::dto::plan::{PlanContext, PlanRequest};
use control_api::dto::tool::{ToolAnswer, ToolRequest};
use control_api::plans::Plans;
use control_api::secure_defaults::SecureDefaults;
use control_api::sinks::Sinks;
use control_api::story::{SessionRecord, SessionState};
use dtmf::Verdict;
use relay::switchboard::SessionId;
use serde::de::DeserializeOwned;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where guides say that files with secrets are.
const SECRETS: &str = "/etc/sotto/";
/// Where guides say that the API is.
const API: &str = "http://127.0.0.1:8080/v1/";

/// A block between fences.
struct Block {
    kind: String,
    text: String,
}

/// The guides and the README, by name.
fn guides() -> Vec<(String, String)> {
    let mut paths = vec![PathBuf::from(ROOT).join("README.md")];
    let folder = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    paths.extend(folder.map(|entry| entry.unwrap().path()));
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    paths.into_iter().map(read).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                inside = true;
                blocks.push(Block { kind: kind.to_owned(), text: String::new() });
            }
            None if inside => blocks.last_mut().unwrap().text.extend([line, "\n"]),
            None => {}
        }
    }
    assert!(!inside, "a fence is not closed");
    blocks
}

/// What a guide's configuration has names for.
#[derive(Default)]
struct Named {
    plans: BTreeSet<String>,
    engines: BTreeSet<String>,
}

/// Loads a block as a configuration file of its own, with the files that it names.
fn load(toml: &str, named: &mut Named) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("sotto-guides-{}", std::process::id()));
    let secrets = folder.join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    for name in toml.split(SECRETS).skip(1) {
        let ends = |c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c);
        let name = name.split(ends).next().unwrap();
        let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\n";
        let _ = fs::remove_file(secrets.join(name));
        let mut file = fs::OpenOptions::new();
        let mut file =
            file.write(true).create_new(true).mode(0o600).open(secrets.join(name)).unwrap();
        std::io::Write::write_all(&mut file, secret.as_bytes()).unwrap();
    }
    let path = folder.join("sotto.toml");
    fs::write(&path, toml.replace(SECRETS, &format!("{}/", secrets.display()))).unwrap();
    let raw = RawConfig::read(&path).map_err(|error| error.to_string())?;
    named.engines.extend(raw.engines.keys().cloned());
    let config = raw.resolve(&folder, 1).map_err(|error| error.to_string())?;
    let (secure, sinks) = (SecureDefaults::default(), Sinks::default());
    let context = PlanContext { today: clock::now().day(), secure: &secure, sinks: &sinks };
    let make = |request: PlanRequest| request.into_order(&context).map(|order| order.plan);
    let plans =
        Plans::check(config.plans, make).map_err(|fault| fault.member + fault.reason.as_ref());
    named.plans.extend(plans?.names().map(|name| name.as_str().to_owned()));
    Ok(())
}

/// The requests of a block of commands that have a body: the path below `/v1/`, and the body.
fn requests(commands: &str) -> Vec<(&str, &str)> {
    let bodies = commands.split(API).skip(1).filter_map(|command| {
        let (path, rest) = command.split_once([' ', '"', '\n'])?;
        let (_, body) = rest.split_once("-d '")?;
        Some((path.split('?').next()?, body.split('\'').next()?))
    });
    bodies.collect()
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| error.to_string())
}

fn known(name: &str, names: &BTreeSet<String>) -> Result<(), String> {
    names.contains(name).then_some(()).ok_or_else(|| format!("{name} is not configured"))
}

fn check_tool(body: &str, named: &Named) -> Result<(), String> {
    let request: ToolRequest = read(body)?;
    request.wait().map_err(|problem| problem.detail().to_owned())?;
    known(&request.plan, &named.plans)
}

fn check_request(path: &str, body: &str, named: &Named) -> Result<(), String> {
    let last = path.rsplit('/').next().unwrap();
    match last {
        "calls" => {
            let request: CallRequest = read(body)?;
            request.engine.profile.map_or(Ok(()), |profile| known(&profile, &named.engines))
        }
        "secure-session" if body.contains("\"plan\"") => {
            known(&read::<NamedPlanRequest>(body)?.plan, &named.plans)
        }
        "secure-session" => read::<PlanRequest>(body).map(drop),
        "model-tokens" => read::<ModelTokenRequest>(body).map(drop),
        "collect_payment" => check_tool(body, named),
        _ => Err("nothing is known of this path's body".to_owned()),
    }
}

/// All that a tool may say, by its result.
fn sayings() -> Vec<Value> {
    let record = |state, verdict| SessionRecord {
        id: SessionId(1),
        cut_at: clock::now(),
        state,
        field: None,
        rejected: None,
        verdict,
        ended_at: None,
    };
    let passed = record(SessionState::Ended, Some(Verdict::Passed));
    let answers = [None, Some(passed), Some(record(SessionState::Collecting, None))];
    answers.map(|it| serde_json::to_value(ToolAnswer::of(it)).unwrap()).into()
}

fn check_json(text: &str, named: &Named) -> Result<(), String> {
    let value: Value = read(text)?;
    if value.get("say").is_some() {
        return sayings().contains(&value).then_some(()).ok_or("no tool says that".to_owned());
    }
    if value.get("call").is_some() && value.get("plan").is_some() {
        return check_tool(text, named);
    }
    Ok(())
}

/// What is wrong in a guide.
fn faults(guide: &str) -> Vec<String> {
    let (mut faults, mut named) = (Vec::new(), Named::default());
    let blocks = blocks(guide);
    for block in blocks.iter().filter(|block| block.kind == "toml") {
        faults.extend(load(&block.text, &mut named).err());
    }
    if !blocks.iter().any(|block| block.kind == "toml") {
        // It speaks of the example that is shipped.
        let example =
            fs::read_to_string(Path::new(ROOT).join("deploy/sotto.example.toml")).unwrap();
        faults.extend(load(&example, &mut named).err());
    }
    for block in &blocks {
        match &*block.kind {
            "json" => faults.extend(check_json(&block.text, &named).err()),
            "sh" => {
                let check = |(path, body): (&str, &str)| check_request(path, body, &named).err();
                faults.extend(requests(&block.text).into_iter().filter_map(check));
            }
            _ => {}
        }
    }
    faults
}

// One test, since all blocks are loaded from one file.
#[test]
fn what_guides_tell_to_type_is_what_is_read() {
    let guides = guides();
    assert!(guides.len() > 8);
    let mut seen = (0, 0);
    for (name, text) in &guides {
        assert_eq!(faults(text), Vec::<String>::new(), "{name}");
        for block in blocks(text) {
            seen.0 += usize::from(block.kind == "toml");
            seen.1 += if block.kind == "sh" { requests(&block.text).len() } else { 0 };
        }
    }
    assert!(seen.0 > 8 && seen.1 > 8, "{seen:?}");

    let plan = "```toml\n[plans.code]\nfields = [{ type = 'postal-code' }]\n```\n";
    let tool =
        |body: &str| format!("{plan}```sh\napi {API}tools/collect_payment -d '{body}'\n```\n");
    let good = tool(r#"{"call": "a", "plan": "code"}"#);
    assert_eq!(faults(&good), Vec::<String>::new());
    for bad in [
        "```toml\n[plan.code]\nfields = []\n```\n",
        "```toml\n[plans.code]\nfields = [{ type = 'postcode' }]\n```\n",
        "```toml\n[engines.a]\nsilence_budget_s = 0\n```\n",
        &tool(r#"{"call": "a", "plan": "other"}"#),
        &tool(r#"{"call": "a", "plan": "code", "wait": "301"}"#),
        &tool(r#"{"call": "a", "plan": "code", "card": "1"}"#),
        &format!("{plan}```sh\napi {API}calls -d '{{\"caller\": {{}}}}'\n```\n"),
        &format!(
            "{plan}```sh\napi \"{API}calls/x/secure-session?wait=1\" -d '{{\"plan\": \"b\"}}'\n```\n"
        ),
        &format!("{plan}```json\n{{\"call\": \"a\", \"plan\": \"b\"}}\n```\n"),
        "```json\n{\"result\": \"pass\", \"say\": \"Well done.\"}\n```\n",
        "```json\n{result: 1}\n```\n",
    ] {
        assert_eq!(faults(bad).len(), 1, "{bad}");
    }
}
