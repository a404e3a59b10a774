//! Compresses an old file, so that it is there once whenever the process ends: beside itself under another name, which
//! becomes the right one only when it is whole, and only then does the plain file go.

use std::fs::File;
use std::io;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::shelf::options;

/// What waits is worth more than what is compressed.
const NICENESS: i32 = 10;

/// Turns `plain` into `packed` by way of `part`, all in one folder. For a thread of its own, whose priority it lowers.
pub fn pack(plain: &Path, part: &Path, packed: &Path) -> io::Result<()> {
    let _ = rustix::process::nice(NICENESS);
    let written = compress(plain, part).and_then(|()| std::fs::rename(part, packed));
    if let Err(error) = written {
        let _ = std::fs::remove_file(part);
        return Err(error);
    }
    if let Some(folder) = packed.parent() {
        File::open(folder)?.sync_all()?;
    }
    std::fs::remove_file(plain)
}

fn compress(plain: &Path, part: &Path) -> io::Result<()> {
    let mut plain = options().read(true).open(plain)?;
    let part = options().write(true).create_new(true).open(part)?;
    let mut encoder = GzEncoder::new(part, Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    let part = encoder.finish()?;
    part.set_modified(plain.metadata()?.modified()?)?;
    part.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_packed_file_has_the_same_content_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, part, packed] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let text = "the same line again and again\n".repeat(100_000);
        std::fs::write(&plain, &text).unwrap();
        let time = std::fs::metadata(&plain).unwrap().modified().unwrap();
        pack(&plain, &part, &packed).unwrap();
        assert!(!plain.exists() && !part.exists());
        let mut content = String::new();
        flate2::read::GzDecoder::new(File::open(&packed).unwrap()).read_to_string(&mut content).unwrap();
        assert_eq!(content, text);
        let metadata = std::fs::metadata(&packed).unwrap();
        assert_eq!(metadata.modified().unwrap(), time);
        assert!(metadata.len() < 100_000, "{}", metadata.len());
    }

    #[test]
    fn a_failure_leaves_the_plain_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, part, packed] = ["a", "b", "c"].map(|name| folder.path().join(name));
        std::fs::write(&plain, "text").unwrap();
        // A file cannot be renamed to a folder.
        std::fs::create_dir(&packed).unwrap();
        pack(&plain, &part, &packed).unwrap_err();
        assert!(!part.exists());
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), "text");
    }
}
