//! The secret key of sticky cookies: from a file that several front doors share, or made once in the state directory.
//!
//! Both files are text, so that one made here can be copied and named as `secret` elsewhere.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Name of the file in the state directory.
const FILE: &str = "sticky.key";

/// Shortest key that is taken, in bytes.
const SHORTEST: usize = 16;

/// Random bytes of a key made here.
const MADE_OF: usize = 32;

/// The key that authenticates sticky cookies.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey(Box<[u8]>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeyError {
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} holds {length} bytes (white space at its end does not count); a key needs at least {SHORTEST}"
    )]
    TooShort { path: PathBuf, length: usize },
    #[error("{path} cannot be created: {source}")]
    Create { path: PathBuf, source: io::Error },
}

impl StickyKey {
    /// Reads a secret file.
    pub fn load(path: &Path) -> Result<Self, LoadKeyError> {
        let text = std::fs::read(path).map_err(|source| LoadKeyError::Read { path: path.into(), source })?;
        let length = text.trim_ascii_end().len();
        Self::of_bytes(&text).ok_or_else(|| LoadKeyError::TooShort { path: path.into(), length })
    }

    /// Reads `sticky.key` in this directory, or makes it, mode 0600. Of several processes that start at once, one makes
    /// it and all get the same; none ever sees half a key.
    pub fn load_or_create(state_directory: &Path) -> Result<Self, LoadKeyError> {
        let path = state_directory.join(FILE);
        match Self::load(&path) {
            Err(LoadKeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        match create(state_directory, &path) {
            // Another process was quicker: its key is the key.
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(LoadKeyError::Create { path, source })
            }
            _ => Self::load(&path),
        }
    }

    /// `None` when too short.
    pub fn of_bytes(text: &[u8]) -> Option<Self> {
        let key = text.trim_ascii_end();
        (key.len() >= SHORTEST).then(|| Self(key.into()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(..)")
    }
}

/// Writes the key beside its place and links it there: it appears whole, and never over another.
fn create(directory: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut random = [0; MADE_OF + 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers to be had"))?;
    let (key, suffix) = random.split_at(MADE_OF);
    let fresh = directory.join(format!(".{FILE}.{}", URL_SAFE_NO_PAD.encode(suffix)));
    let written = write(&fresh, key).and_then(|()| std::fs::hard_link(&fresh, path));
    // Also when that failed; what stays behind if this fails is a key nobody uses.
    _ = std::fs::remove_file(&fresh);
    written?;
    // The key must outlive a power cut, or every client would be moved.
    File::open(directory)?.sync_all()
}

fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", URL_SAFE_NO_PAD.encode(key))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_found_again() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("lintel");
        let made = StickyKey::load_or_create(&directory).unwrap();
        assert_eq!(StickyKey::load_or_create(&directory).unwrap(), made);
        assert_eq!(StickyKey::load(&directory.join(FILE)).unwrap(), made, "it can be named as a secret");
        assert_eq!(made.bytes().len(), 43);
        let mode = std::fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(StickyKey::load_or_create(other.path()).unwrap(), made);
        assert_eq!(format!("{made:?}"), "StickyKey(..)");
    }

    #[test]
    fn processes_that_start_at_once_get_the_same_key() {
        let state = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| StickyKey::load_or_create(state.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_secret_too_short_or_missing_is_refused_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let refusal = || StickyKey::load(&path).unwrap_err().to_string();
        assert!(refusal().contains("cannot be read"));
        std::fs::write(&path, "fifteen bytes..   \n\n").unwrap();
        assert!(
            refusal()
                .contains("holds 15 bytes (white space at its end does not count); a key needs at least 16")
        );
        std::fs::write(&path, "sixteen bytes... \n").unwrap();
        assert_eq!(StickyKey::load(&path).unwrap().bytes(), b"sixteen bytes...");
        std::fs::write(directory.path().join(FILE), "short").unwrap();
        assert!(matches!(
            StickyKey::load_or_create(directory.path()),
            Err(LoadKeyError::TooShort { length: 5, .. })
        ));
    }
}
