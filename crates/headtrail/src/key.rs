//! The fingerprint key: made at first use under the data directory, mode 0600, and kept, so that the same secret has the
//! same fingerprint in every run. Keys are numbered; the one with the highest number is used.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use headtrail_record::redact::FingerprintKey;
use rustix::rand::{GetRandomFlags, getrandom};

const PREFIX: &str = "fingerprint-";
const SUFFIX: &str = ".key";

fn name(id: u32) -> String {
    format!("{PREFIX}{id}{SUFFIX}")
}

/// The id in a key file's name.
fn id_of(file: &str) -> Option<u32> {
    file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn random() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    let mut filled = 0;
    while filled < secret.len() {
        filled += getrandom(&mut secret[filled..], GetRandomFlags::empty())?;
    }
    Ok(secret)
}

/// A key for this run alone.
pub(crate) fn ephemeral() -> io::Result<FingerprintKey> {
    Ok(FingerprintKey { id: 0, secret: random()? })
}

/// Random number of a run; it makes ids differ between runs and hosts.
pub(crate) fn run_id() -> io::Result<u64> {
    let secret = random()?;
    Ok(secret.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)))
}

fn at(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

fn read(path: &Path) -> Result<[u8; 32], String> {
    let mut text = String::new();
    fs::File::open(path).and_then(|f| f.take(256).read_to_string(&mut text)).map_err(at(path))?;
    let hex = text.trim().as_bytes();
    let mut secret = [0; 32];
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if hex.len() != 64 {
        return Err(format!("{}: a key has 64 hexadecimal digits, this has {}", path.display(), hex.len()));
    }
    for (byte, pair) in secret.iter_mut().zip(hex.as_chunks::<2>().0) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(format!("{}: a key has 64 hexadecimal digits and nothing else", path.display()));
        };
        *byte = high << 4 | low;
    }
    Ok(secret)
}

/// The key under `data_dir`, made if there is none.
pub(crate) fn load_or_make(data_dir: &Path) -> Result<FingerprintKey, String> {
    let folder = data_dir.join("keys");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
    let newest = fs::read_dir(&folder)
        .map_err(at(&folder))?
        .filter_map(|entry| id_of(entry.ok()?.file_name().to_str()?))
        .max();
    if let Some(id) = newest {
        return Ok(FingerprintKey { id, secret: read(&folder.join(name(id)))? });
    }
    make(&folder, 1)
}

/// Makes key `id`. A second process may do so at the same time: whoever links first has it, both then use it.
fn make(folder: &Path, id: u32) -> Result<FingerprintKey, String> {
    let path = folder.join(name(id));
    let draft: PathBuf = folder.join(format!(".{}.{}", name(id), std::process::id()));
    let secret = random().map_err(at(&draft))?;
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            writeln!(file, "{hex}")?;
            file.sync_all()
        })
        .and_then(|()| fs::hard_link(&draft, &path));
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => Ok(FingerprintKey { id, secret }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(FingerprintKey { id, secret: read(&path)? })
        }
        Err(error) => Err(at(&path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("headtrail-key-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = folder("once");
        let first = load_or_make(&folder).unwrap();
        let second = load_or_make(&folder).unwrap();
        assert_eq!((first.id, first.secret), (second.id, second.secret));
        let mode = fs::metadata(folder.join("keys").join(name(1))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_newest_key_is_used() {
        let folder = folder("newest");
        let first = load_or_make(&folder).unwrap();
        make(&folder.join("keys"), 7).unwrap();
        let newest = load_or_make(&folder).unwrap();
        assert_eq!(newest.id, 7);
        assert_ne!(newest.secret, first.secret);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let folder = folder("damaged");
        load_or_make(&folder).unwrap();
        let path = folder.join("keys").join(name(1));
        fs::write(&path, "12zz\n").unwrap();
        let error = load_or_make(&folder).unwrap_err();
        assert!(error.contains("fingerprint-1.key"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "12zz\n");
        fs::remove_dir_all(folder).unwrap();
    }
}
