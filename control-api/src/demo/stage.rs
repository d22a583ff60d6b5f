//! Stage: the relay that the demo plays on, and a client for each party that speaks to it.

use std::path::PathBuf;

use loadtest::client::Client;
use loadtest::relay_process::{Failure, RelayFolder, RelayProcess};

/// A protection that the relay is told to break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The cut no longer withholds the caller.
    Masking,
}

/// The name by which the relay knows the merchant's key.
pub(super) const MERCHANT_KEY: &str = "merchant";

/// A running relay, and access to it.
pub(super) struct Stage {
    pub(super) relay: RelayProcess,
    pub(super) operator: Client,
    pub(super) engine: Client,
    pub(super) payment: Client,
}

impl Stage {
    /// Starts a relay with API keys for an operator, an engine and a merchant, whose public key it
    /// seals to. It logs all it can, since the log is part of the evidence.
    pub(super) fn set(merchant_key: &str, broken: Option<Broken>) -> Result<Stage, Failure> {
        let folder = RelayFolder::new(sotto()?, "sotto-demo")?;
        let key_file = folder.write("merchant.jwk", merchant_key)?;
        let config = format!(
            "[[sinks.seal.keys]]\nid = '{MERCHANT_KEY}'\nfile = '{}'\n",
            key_file.display()
        );
        let [operator, engine, payment] = ["operator", "engine", "payment"];
        let keys = [folder.add_key(operator)?, folder.add_key(engine)?, folder.add_key(payment)?];
        let mut arguments = vec!["--media-ip", "127.0.0.1", "--workers", "1"];
        match broken {
            Some(Broken::Masking) => arguments.extend(["--break", "masking"]),
            None => {}
        }
        let relay = RelayProcess::start(folder, &config, &arguments, &[("RUST_LOG", "trace")])?;
        let [operator, engine, payment] = keys.map(|key| relay.client(&key));
        Ok(Stage { relay, operator, engine, payment })
    }
}

fn sotto() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::kernel("find its own program"))
}
