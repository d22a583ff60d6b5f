//! NamedFiles: every file and folder that a configuration names, and what is in it.

use std::path::{Path, PathBuf};

use crate::audit::syslog::RawSyslog;
use crate::config::RawConfig;
use crate::server::config::RawTls;

/// What the pepper of the API's keys is called.
pub const PEPPER: &str = "control.keys, pepper";

/// What is in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A secret: its owner alone may read it.
    Secret,
    /// A certificate or a public key.
    Public,
    /// A folder that is read.
    Folder,
}

/// A file that a configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFile {
    /// The member, as the file calls it.
    pub member: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
}

impl RawConfig {
    /// All that is read, but for the configuration itself.
    #[must_use]
    pub fn named_files(&self) -> Vec<NamedFile> {
        let mut list = List(Vec::new());
        list.add("control.keys", Content::Secret, self.control.keys.as_deref());
        // It has no member of its own: it lies beside the keys.
        let pepper = self.control.keys.as_ref().map(|keys| keys.with_extension("pepper"));
        list.add(PEPPER, Content::Secret, pepper.as_deref());
        let RawTls { certificate, key, client_authorities, .. } = &self.control.tls;
        list.add("control.tls.certificate", Content::Public, certificate.as_deref());
        list.add("control.tls.key", Content::Secret, key.as_deref());
        list.add("control.tls.client_authorities", Content::Public, client_authorities.as_deref());
        list.add("oidc.jwks_file", Content::Public, self.oidc.jwks_file.as_deref());
        list.add("oidc.ca_file", Content::Public, self.oidc.ca_file.as_deref());
        for path in self.recordings.key_files.iter().flatten() {
            list.add("recordings.key_files", Content::Secret, Some(path));
        }
        list.add("prompts.directory", Content::Folder, self.prompts.directory.as_deref());
        list.add("ng.media_directory", Content::Folder, self.ng.media_directory.as_deref());
        list.add("audit.key_file", Content::Secret, self.audit.key_file.as_deref());
        list.add("audit.syslog.ca_file", Content::Public, self.audit.syslog.ca_file.as_deref());
        let RawSyslog { client_cert, client_key, .. } = &self.audit.syslog;
        list.add("audit.syslog.client_cert", Content::Public, client_cert.as_deref());
        list.add("audit.syslog.client_key", Content::Secret, client_key.as_deref());
        list.add_sip(self);
        list.add_engines(self);
        list.add_sinks(self);
        list.add_webhooks(self);
        list.0
    }
}

struct List(Vec<NamedFile>);

impl List {
    fn add(&mut self, member: &str, content: Content, path: Option<&Path>) {
        self.0.extend(path.map(|path| NamedFile {
            member: member.to_owned(),
            path: path.to_owned(),
            content,
        }));
    }

    fn add_sip(&mut self, raw: &RawConfig) {
        self.add("sip.tls_certificate", Content::Public, raw.sip.tls_certificate.as_deref());
        self.add("sip.tls_key", Content::Secret, raw.sip.tls_key.as_deref());
        self.add("sip.users_file", Content::Secret, raw.sip.users_file.as_deref());
    }

    fn add_engines(&mut self, raw: &RawConfig) {
        for (name, engine) in &raw.engines {
            let member = |last: &str| format!("engines.{name}.{last}");
            self.add(&member("secret_file"), Content::Secret, engine.secret_file.as_deref());
            self.add(&member("authorities"), Content::Public, engine.authorities.as_deref());
        }
    }

    fn add_sinks(&mut self, raw: &RawConfig) {
        for key in &raw.sinks.seal.keys {
            self.add("sinks.seal.keys.file", Content::Public, Some(&key.file));
        }
        for connector in &raw.sinks.connectors {
            let member = |last: &str| format!("sinks.connectors.{}.{last}", connector.name);
            let secrets = [
                ("password_file", &connector.password_file),
                ("bearer_file", &connector.bearer_file),
                ("client_key", &connector.client_key),
            ];
            for (last, path) in secrets {
                self.add(&member(last), Content::Secret, path.as_deref());
            }
            for (last, path) in
                [("client_cert", &connector.client_cert), ("ca_file", &connector.ca_file)]
            {
                self.add(&member(last), Content::Public, path.as_deref());
            }
        }
    }

    fn add_webhooks(&mut self, raw: &RawConfig) {
        for webhook in &raw.webhooks {
            let member = |last: &str| format!("webhooks.{}.{last}", webhook.name);
            for path in &webhook.secret_files {
                self.add(&member("secret_files"), Content::Secret, Some(path));
            }
            self.add(&member("ca_file"), Content::Public, webhook.ca_file.as_deref());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use toml::{Table, Value};

    use crate::config::RawConfig;

    /// Whoever adds a member that names a file shows it in the example, and has it here.
    #[test]
    fn every_file_of_the_example_is_named() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sotto.example.toml");
        let text = std::fs::read_to_string(example).unwrap();
        let lines = text.lines().map(|line| {
            let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']));
            setting.unwrap_or(line)
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let raw: RawConfig = toml::from_str(&text).unwrap();
        let named: Vec<PathBuf> = raw.named_files().into_iter().map(|file| file.path).collect();
        let RawConfig { state_dir, recordings, audit, .. } = &raw;
        // What is written.
        let written = [state_dir, &recordings.directory, &audit.directory, &audit.anchor];
        let written: Vec<&PathBuf> = written.into_iter().flatten().collect();
        let mut paths = Vec::new();
        collect_paths(&Value::Table(text.parse::<Table>().unwrap()), &mut paths);
        assert!(paths.len() > 10, "they are found: {paths:?}");
        for path in paths {
            let path = PathBuf::from(path);
            assert!(named.contains(&path) || written.contains(&&path), "{path:?}");
        }
    }

    fn collect_paths(value: &Value, paths: &mut Vec<String>) {
        match value {
            Value::String(text) if text.starts_with('/') => paths.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|it| collect_paths(it, paths)),
            Value::Table(table) => table.values().for_each(|it| collect_paths(it, paths)),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}
