//! KeyFile: the keys of this server, as keyed hashes in a file that only its owner reads.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::error::KeyError;
use super::pepper::{OTHERS, Pepper, replace};
use super::record::{KeyRecord, KeyState, NewKey};
use super::role::Roles;
use super::scope::Scope;
use super::table::KeyTable;
use super::token::{KeyId, Region, Token};
use crate::clock::Timestamp;

/// Keys one file may hold.
pub(super) const MAX_KEYS: usize = 1000;
/// Longest key file: a thousand records of a kilobyte each.
const MAX_FILE: u64 = 2 * 1024 * 1024;
/// How long the old key of a rotation is valid, unless something else is said.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// Where the keys are, and what holds for them here.
#[derive(Clone, Debug)]
pub struct KeyStore {
    /// The key file.
    pub path: PathBuf,
    /// Whose keys are taken.
    pub region: Region,
    /// What roles mean.
    pub roles: Roles,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<KeyRecord>,
}

/// The file that keeps the keys.
pub struct KeyFile {
    store: KeyStore,
    contents: Contents,
    pepper: Option<Arc<Pepper>>,
    /// Held while the file is changed, so that of two who change it none undoes the other's work.
    lock: Option<File>,
}

impl KeyStore {
    /// The keys of a file in the default region, with the roles that there always are.
    #[must_use]
    pub fn at(path: &Path) -> KeyStore {
        let (region, roles) = (Region::default(), Roles::default());
        KeyStore { path: path.to_owned(), region, roles }
    }

    /// Reads the file; one that is not there holds no keys.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, or is open to others than its owner.
    pub fn open(&self) -> Result<KeyFile, KeyError> {
        let contents = read(&self.path)?.unwrap_or_default();
        let pepper = Pepper::read(&self.path)?.map(Arc::new);
        if pepper.is_none() && !contents.keys.is_empty() {
            let pepper = Pepper::path_of(&self.path);
            return Err(KeyError::NoPepper { path: self.path.clone(), pepper });
        }
        Ok(KeyFile { store: self.clone(), contents, pepper, lock: None })
    }

    /// Reads the file in order to change it; nobody else can until what is returned is dropped.
    ///
    /// # Errors
    /// The same.
    pub fn edit(&self) -> Result<KeyFile, KeyError> {
        let path = self.path.with_extension("lock");
        let failed = |source| KeyError::Io { path: path.clone(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(KeyFile { lock: Some(lock), ..self.open()? })
    }

    /// The keys as a running relay takes them over. A file that is not there is a mistake then:
    /// who wants no key to be valid revokes them.
    ///
    /// # Errors
    /// If there is no file, or it is not as it should be.
    pub fn reload(&self) -> Result<KeyTable, KeyError> {
        match self.path.try_exists() {
            Ok(false) => Err(KeyError::Gone { path: self.path.clone() }),
            Ok(true) | Err(_) => self.open()?.table(),
        }
    }
}

fn read(path: &Path) -> Result<Option<Contents>, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.mode() & OTHERS != 0 => {
            return Err(KeyError::Exposed { path: path.to_owned() });
        }
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(KeyError::Damaged { path: path.to_owned(), line: 0 });
        }
        Ok(_) => fs::read_to_string(path).map_err(failed)?,
    };
    let damaged = |line| KeyError::Damaged { path: path.to_owned(), line };
    let contents: Contents = serde_json::from_str(&text).map_err(|error| damaged(error.line()))?;
    if contents.keys.len() > MAX_KEYS { Err(damaged(0)) } else { Ok(Some(contents)) }
}

impl KeyFile {
    /// The keys, oldest first.
    #[must_use]
    pub fn records(&self) -> &[KeyRecord] {
        &self.contents.keys
    }

    /// The key of an id.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, id: &str) -> Result<&KeyRecord, KeyError> {
        let found = self.contents.keys.iter().find(|record| record.id.as_str() == id);
        found.ok_or(KeyError::Unknown)
    }

    /// Whether a key was made on this server and for this region: no other is taken.
    #[must_use]
    pub fn is_taken_here(&self, record: &KeyRecord) -> bool {
        record.region == self.store.region
            && self.pepper.as_ref().is_some_and(|pepper| pepper.mark() == record.server)
    }

    /// Makes a key and keeps its hash. The token is given out here and never again.
    ///
    /// # Errors
    /// If such a key can't be, the file is full or can't be written.
    pub fn add(&mut self, new: NewKey, now: Timestamp) -> Result<(KeyId, Token), KeyError> {
        new.check(&self.store.roles, now)?;
        self.make(new, None, now)
    }

    /// Makes a key with the rights and name of another one, which ends after `overlap`, or sooner if
    /// it would have.
    ///
    /// # Errors
    /// If there is no such key, it is over, or the file is full or can't be written.
    pub fn rotate(
        &mut self,
        id: &str,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<(KeyId, Token), KeyError> {
        let old = self.find(id)?;
        if old.state(now).is_over() {
            return Err(KeyError::Over);
        }
        // As long as the old one was meant to last; without an end if it had none.
        let life = old.expires_at.map(|end| old.not_before.unwrap_or(old.created_at).until(end));
        let new = NewKey {
            name: old.name.clone(),
            roles: old.roles.clone(),
            scopes: old.scopes.clone(),
            not_before: None,
            expires_at: life.map(|life| now.after(life)),
        };
        let (old, end) = (old.id.clone(), now.after(overlap));
        for record in self.contents.keys.iter_mut().filter(|record| record.id == old) {
            record.expires_at = Some(record.expires_at.map_or(end, |expires| expires.min(end)));
        }
        self.make(new, Some(old), now)
    }

    fn make(
        &mut self,
        new: NewKey,
        replaces: Option<KeyId>,
        now: Timestamp,
    ) -> Result<(KeyId, Token), KeyError> {
        if self.contents.keys.len() >= MAX_KEYS {
            return Err(KeyError::Full);
        }
        let pepper = match &self.pepper {
            Some(pepper) => Arc::clone(pepper),
            None => Arc::new(Pepper::make(&self.store.path)?),
        };
        self.pepper = Some(Arc::clone(&pepper));
        let id = KeyId::generate()?;
        let token = Token::generate(&self.store.region, &id)?;
        let NewKey { name, roles, scopes, not_before, expires_at } = new;
        let hash = pepper.hash(super::table::secret_of(&token));
        self.contents.keys.push(KeyRecord {
            id: id.clone(),
            name,
            roles,
            scopes,
            region: self.store.region.clone(),
            server: pepper.mark().to_owned(),
            created_at: now,
            not_before,
            expires_at,
            replaces,
            revoked_at: None,
            secret_hmac: BASE64_STANDARD.encode(hash),
        });
        self.save()?;
        Ok((id, token))
    }

    /// Ends a key at once. One that has been ended stays so.
    ///
    /// # Errors
    /// If there is no such key, or the file can't be written.
    pub fn revoke(&mut self, id: &str, now: Timestamp) -> Result<(), KeyError> {
        let record = self.contents.keys.iter_mut().find(|record| record.id.as_str() == id);
        record.ok_or(KeyError::Unknown)?.revoked_at.get_or_insert(now);
        self.save()
    }

    /// The same, unless nobody could manage keys then.
    ///
    /// # Errors
    /// The same; and [`KeyError::LastManager`].
    pub fn revoke_but_last(&mut self, id: &str, now: Timestamp) -> Result<(), KeyError> {
        let managers = self.contents.keys.iter().filter(|record| self.manages(record, now));
        let mut managers = managers.map(|record| record.id.as_str());
        // One whose end is near does not count: soon there would be none.
        if managers.any(|manager| manager == id) && self.managers(now) == 1 {
            return Err(KeyError::LastManager);
        }
        self.revoke(id, now)
    }

    fn managers(&self, now: Timestamp) -> usize {
        self.contents.keys.iter().filter(|record| self.manages(record, now)).count()
    }

    fn manages(&self, record: &KeyRecord, now: Timestamp) -> bool {
        record.state(now) == KeyState::Active
            && self.is_taken_here(record)
            && record.rights(&self.store.roles).has(Scope::KeysManage)
    }

    /// Forgets a key that is over; any with `force`.
    ///
    /// # Errors
    /// If there is none of that id, it is not over, or the file can't be written.
    pub fn remove(&mut self, id: &str, force: bool, now: Timestamp) -> Result<(), KeyError> {
        if !force && !self.find(id)?.state(now).is_over() {
            return Err(KeyError::InUse);
        }
        let before = self.contents.keys.len();
        self.contents.keys.retain(|record| record.id.as_str() != id);
        if self.contents.keys.len() == before {
            return Err(KeyError::Unknown);
        }
        self.save()
    }

    /// The keys, ready to verify tokens with.
    ///
    /// # Errors
    /// If a hash is damaged.
    pub fn table(&self) -> Result<KeyTable, KeyError> {
        let region = self.store.region.clone();
        let mut table = KeyTable::new(region, self.pepper.clone())?;
        for record in &self.contents.keys {
            let hash = BASE64_STANDARD.decode(&record.secret_hmac).ok();
            let hash = hash.and_then(|octets| octets.try_into().ok());
            let damaged = || KeyError::Damaged { path: self.store.path.clone(), line: 0 };
            table.keep(record, record.rights(&self.store.roles), hash.ok_or_else(damaged)?);
            for role in record.roles.iter().filter(|role| self.store.roles.find(role).is_none()) {
                let key = record.id.as_str();
                tracing::warn!(
                    key,
                    role,
                    "a key has a role that is no longer in the configuration"
                );
            }
        }
        Ok(table)
    }

    /// Replaces the file in one step.
    fn save(&self) -> Result<(), KeyError> {
        let path = &self.store.path;
        let failed = |source| KeyError::Io { path: path.clone(), source };
        assert!(self.lock.is_some(), "a key file is changed by whoever has its lock");
        let text = serde_json::to_string_pretty(&self.contents).map_err(|e| failed(e.into()))?;
        replace(path, text.as_bytes()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::{KeyFile, KeyStore};
    use crate::clock::Timestamp;
    use crate::keys::pepper::Pepper;
    use crate::keys::{Denied, KeyError, KeyId, KeyState, NewKey, Region, Role, Scope, Token};

    const DAY: Duration = Duration::from_hours(24);

    fn scratch(name: &str) -> KeyStore {
        let directory = std::env::temp_dir().join(format!("sotto-keys-{}", std::process::id()));
        let directory = directory.join(name);
        let _ = fs::remove_dir_all(&directory);
        KeyStore::at(&directory.join("keys.json"))
    }

    fn start() -> Timestamp {
        Timestamp::parse("2026-06-01").unwrap()
    }

    fn add(store: &KeyStore, new: NewKey) -> (KeyId, Token) {
        store.edit().unwrap().add(new, start()).unwrap()
    }

    fn verify(store: &KeyStore, token: &Token, now: Timestamp) -> Result<KeyId, Denied> {
        let table = store.open().and_then(|file| file.table()).unwrap();
        table.verify(token.reveal(), now).map(|principal| principal.key)
    }

    fn edit(store: &KeyStore) -> KeyFile {
        store.edit().unwrap()
    }

    #[test]
    fn a_key_opens_and_its_end_closes() {
        let store = scratch("open");
        let (id, token) = add(&store, NewKey::of(Role::Script));
        let table = store.open().unwrap().table().unwrap();
        let principal = table.verify(token.reveal(), start()).unwrap();
        assert_eq!(
            (&principal.key, principal.role, &*principal.roles),
            (&id, Role::Script, "script")
        );
        assert_eq!(table.standing(&principal, start()), Some(None));

        assert!(matches!(edit(&store).remove(id.as_str(), false, start()), Err(KeyError::InUse)));
        edit(&store).revoke(id.as_str(), start()).unwrap();
        assert_eq!(verify(&store, &token, start()), Err(Denied::Revoked));
        edit(&store).revoke(id.as_str(), start().after(DAY)).unwrap();
        assert_eq!(store.open().unwrap().records()[0].revoked_at, Some(start()), "it stays so");
        edit(&store).remove(id.as_str(), false, start()).unwrap();
        assert_eq!(verify(&store, &token, start()), Err(Denied::Wrong));
        assert!(matches!(edit(&store).remove(id.as_str(), true, start()), Err(KeyError::Unknown)));
    }

    #[test]
    fn a_key_is_good_from_its_first_moment_to_before_its_last() {
        let store = scratch("times");
        let (begin, end) = (start().after(DAY), start().after(30 * DAY));
        let (not_before, expires_at) = (Some(begin), Some(end));
        let new = NewKey { not_before, expires_at, ..NewKey::of(Role::Engine) };
        let (id, token) = add(&store, new.clone());
        let moment = Duration::from_millis(1);
        let cases = [
            (begin.before(moment), Err(Denied::Pending), KeyState::Pending),
            (begin, Ok(id.clone()), KeyState::Active),
            (end.before(moment), Ok(id.clone()), KeyState::Expiring),
            (end, Err(Denied::Expired), KeyState::Expired),
        ];
        for (now, verified, state) in cases {
            assert_eq!(verify(&store, &token, now), verified);
            assert_eq!(store.open().unwrap().records()[0].state(now), state);
        }
        for bad in [Some(begin), Some(start()), Some(start().before(DAY))] {
            let new = NewKey { expires_at: bad, ..new.clone() };
            assert!(matches!(edit(&store).add(new, start()), Err(KeyError::BadTimes)));
        }
    }

    #[test]
    fn a_rotated_key_is_good_for_the_overlap() {
        let store = scratch("rotate");
        let month = Some(start().after(30 * DAY));
        let name = Some("till 3".to_owned());
        let new = NewKey { name: name.clone(), expires_at: month, ..NewKey::of(Role::Script) };
        let (old, first) = add(&store, new);
        let now = start().after(10 * DAY);
        let (new, second) = edit(&store).rotate(old.as_str(), DAY, now).unwrap();
        let file = store.open().unwrap();
        let record = file.find(new.as_str()).unwrap();
        assert_eq!((&record.name, record.replaces.as_ref()), (&name, Some(&old)));
        assert_eq!(
            record.expires_at,
            Some(now.after(30 * DAY)),
            "as long as the old one was meant to"
        );
        assert_eq!(verify(&store, &second, now), Ok(new));
        assert_eq!(verify(&store, &first, now), Ok(old.clone()));
        assert_eq!(verify(&store, &first, now.after(DAY)), Err(Denied::Expired));
        // A long overlap makes no key last longer, and what is over is not made to go on.
        edit(&store).rotate(old.as_str(), 90 * DAY, now).unwrap();
        assert_eq!(verify(&store, &first, now.after(DAY)), Err(Denied::Expired));
        let late = edit(&store).rotate(old.as_str(), DAY, now.after(DAY));
        assert!(matches!(late, Err(KeyError::Over)));
    }

    #[test]
    fn another_server_and_another_region_take_no_key_of_this_one() {
        let (here, there) = (scratch("here"), scratch("there"));
        let (_, token) = add(&here, NewKey::of(Role::Operator));
        add(&there, NewKey::of(Role::Operator));
        fs::copy(&here.path, &there.path).unwrap();
        assert!(verify(&here, &token, start()).is_ok(), "the control");
        assert_eq!(verify(&there, &token, start()), Err(Denied::ForeignServer));
        let file = there.open().unwrap();
        assert!(!file.is_taken_here(&file.records()[0]));
        let elsewhere = KeyStore { region: Region::parse("us-2").unwrap(), ..here.clone() };
        assert_eq!(verify(&elsewhere, &token, start()), Err(Denied::ForeignRegion));
        // Without the pepper nothing is verified, and nothing is made up in its place.
        fs::remove_file(Pepper::path_of(&here.path)).unwrap();
        assert!(matches!(here.open(), Err(KeyError::NoPepper { .. })));
        assert!(matches!(here.edit(), Err(KeyError::NoPepper { .. })));
    }

    #[test]
    fn the_files_hold_no_secret_and_are_private() {
        let store = scratch("private");
        let (_, token) = add(&store, NewKey::of(Role::Engine));
        let secret = token.reveal().rsplit('_').next().unwrap();
        let holds = |path: PathBuf, text: &str| {
            let octets = fs::read(path).unwrap();
            octets.windows(text.len()).any(|it| it == text.as_bytes())
        };
        let folder = store.path.parent().unwrap();
        let files = || fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        assert!(files().count() >= 3, "keys, pepper, lock");
        for path in files() {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path:?}");
            assert!(!holds(path, &secret[..16]));
        }
        let planted = folder.join("planted");
        fs::write(&planted, format!("x{}", token.reveal())).unwrap();
        assert!(files().any(|path| holds(path, &secret[..16])), "the control");
        fs::remove_file(planted).unwrap();
        for path in [store.path.clone(), Pepper::path_of(&store.path)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(store.open(), Err(KeyError::Exposed { .. })), "{path:?}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn nothing_but_the_whole_token_is_let_in() {
        let store = scratch("whole");
        let (id, token) = add(&store, NewKey::of(Role::Operator));
        let (other, second) = add(&store, NewKey::of(Role::Operator));
        let table = store.open().unwrap().table().unwrap();
        let whole = token.reveal();
        let wrong = |text: &str| table.verify(text, start()).unwrap_err();
        for text in
            ["", "sto_", "sto___", &whole[4..], &whole[..whole.len() - 1], &whole.to_uppercase()]
        {
            assert_eq!(wrong(text), Denied::Malformed, "{text}");
        }
        let swapped = second.reveal().replace(other.as_str(), id.as_str());
        assert_eq!(wrong(&swapped), Denied::Checksum);
        // With a checksum of its own, as somebody would make it who guesses.
        let guess = Token::generate(&Region::default(), &id).unwrap();
        assert_eq!(wrong(guess.reveal()), Denied::Wrong);
        let unknown = Token::generate(&Region::default(), &KeyId::generate().unwrap()).unwrap();
        assert_eq!(wrong(unknown.reveal()), Denied::Wrong);
        assert!(table.verify(whole, start()).is_ok());
    }

    #[test]
    fn a_changed_key_is_no_longer_who_it_was() {
        let store = scratch("changed");
        let (id, token) = add(&store, NewKey::of(Role::Script));
        let principal =
            store.open().unwrap().table().unwrap().verify(token.reveal(), start()).unwrap();
        let mut file = edit(&store);
        file.contents.keys[0].scopes.push(Scope::RecordingsRead);
        file.save().unwrap();
        let table = file.table().unwrap();
        assert_eq!(table.standing(&principal, start()), None, "{id}");
        let again = table.verify(token.reveal(), start()).unwrap();
        assert!(again.allows(Scope::RecordingsRead) && table.standing(&again, start()).is_some());
    }

    #[test]
    fn somebody_can_always_manage_keys_by_the_api() {
        let store = scratch("last");
        let (one, _) = add(&store, NewKey::of(Role::Operator));
        let (script, _) = add(&store, NewKey::of(Role::Script));
        let soon = NewKey { expires_at: Some(start().after(DAY)), ..NewKey::of(Role::Operator) };
        add(&store, soon);
        let last = |id: &KeyId| edit(&store).revoke_but_last(id.as_str(), start());
        assert!(matches!(last(&one), Err(KeyError::LastManager)));
        assert!(last(&script).is_ok());
        add(&store, NewKey::with(&[Scope::KeysManage]));
        assert!(last(&one).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let store = scratch("sense");
        let refused = |new: NewKey| edit(&store).add(new, start()).err().unwrap();
        assert!(matches!(refused(NewKey::default()), KeyError::NoScope));
        let nobody = NewKey { roles: vec!["nobody".to_owned()], ..NewKey::default() };
        assert!(matches!(refused(nobody), KeyError::UnknownRole(_)));
        for name in ["", "a\nb", "\u{1b}[2J", &"x".repeat(65)] {
            let new = NewKey { name: Some(name.to_owned()), ..NewKey::of(Role::Engine) };
            assert!(matches!(refused(new), KeyError::BadName), "{name:?}");
        }
        fs::write(&store.path, "{\"keys\": [\n{}]}").unwrap();
        fs::set_permissions(&store.path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(store.open(), Err(KeyError::Damaged { line: 2, .. })));
        fs::remove_file(&store.path).unwrap();
        assert!(store.open().unwrap().records().is_empty());
        assert!(matches!(store.reload(), Err(KeyError::Gone { .. })));
    }
}
