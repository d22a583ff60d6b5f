//! Effective: a configuration with every default written out.

use dtmf::CardMode;

use super::{Config, RawCardMode, RawConfig, RecordingKeyFiles};

impl RawConfig {
    /// What was typed, with what `config`, which was made of it, has in place of what was not.
    #[must_use]
    pub fn effective(mut self, config: &Config) -> RawConfig {
        self.state_dir = Some(config.state_dir.clone());
        self.process.drain_s = Some(config.drain.as_secs());
        self.control.address = Some(config.control.to_string());
        self.control.behind_tls_proxy = Some(config.front.behind_tls_proxy);
        self.control.keys = Some(config.keys.path.clone());
        self.control.url_tickets = Some(config.url_tickets);
        self.region = Some(config.keys.region.as_str().to_owned());
        self.health.address = Some(config.health.to_string());
        self.prompts.language = Some(config.secure.language.to_string());
        self.secure_sessions.card_mode = Some(match config.secure.card_mode {
            CardMode::Test => RawCardMode::Test,
            CardMode::Live => RawCardMode::Live,
        });
        self.complete_media(config);
        self.complete_recordings(config);
        self.complete_sip(config);
        if let Some(oidc) = &config.oidc {
            self.oidc.roles_claim = Some(oidc.roles_claim.join("."));
        }
        self
    }

    fn complete_media(&mut self, config: &Config) {
        let (media, config) = (&mut self.media, &config.media);
        let v4 = config.v4.map(|address| address.to_string());
        let v6 = config.v6.map(|address| address.to_string());
        media.addresses = Some(v4.into_iter().chain(v6).collect());
        media.advertised = Some(config.advertised.iter().map(ToString::to_string).collect());
        media.ports = Some(format!("{}-{}", config.ports.start(), config.ports.end()));
        media.workers = Some(config.workers);
        media.pin = Some(config.pin);
        media.io = Some(config.io.to_string());
        media.io_interfaces = Some(config.io_interfaces.clone());
        media.timeout_s = Some(config.timeout.as_secs());
        media.srtp_only = Some(config.srtp_only);
    }

    fn complete_recordings(&mut self, config: &Config) {
        let recordings = &mut self.recordings;
        recordings.enabled = Some(config.recordings.is_some());
        let Some(config) = &config.recordings else { return };
        recordings.directory = Some(config.directory.clone());
        recordings.key_files = Some(match &config.keys {
            RecordingKeyFiles::Given(files) => files.clone(),
            RecordingKeyFiles::Own(file) => vec![file.clone()],
        });
    }

    fn complete_sip(&mut self, config: &Config) {
        let (sip, Some(config)) = (&mut self.sip, &config.sip) else { return };
        sip.realm = Some(config.realm.clone());
        sip.nat = Some(config.nat);
        sip.max_calls = Some(config.max_calls);
        sip.digest = Some(sip.digest.unwrap_or_default());
    }
}
