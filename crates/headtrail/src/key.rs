//! The fingerprint key: made at first use under the data directory, mode 0600, and kept, so that the same secret has the
//! same fingerprint in every run. Keys are numbered; the one with the highest number is used. No key is ever deleted
//! here: records that were made with it can be searched for a known secret as long as it is there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let secret = random()?;
    Ok(std::array::from_fn(|i| secret[i % secret.len()]))
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

/// A key that a daemon made; its id is in the name of its file.
pub(crate) fn from_file(path: &Path) -> Result<FingerprintKey, String> {
    let id = path.file_name().and_then(|name| id_of(name.to_str()?)).unwrap_or(0);
    Ok(FingerprintKey { id, secret: read(path)? })
}

/// The folder of the keys, made if there is none.
fn folder_in(data_dir: &Path) -> Result<PathBuf, String> {
    let folder = data_dir.join("keys");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
    Ok(folder)
}

/// The ids of the keys in a folder.
fn ids(folder: &Path) -> Result<Vec<u32>, String> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        ids.extend(entry.map_err(at(folder))?.file_name().to_str().and_then(id_of));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// The key under `data_dir`, made if there is none.
pub(crate) fn load_or_make(data_dir: &Path) -> Result<FingerprintKey, String> {
    let folder = folder_in(data_dir)?;
    match ids(&folder)?.last() {
        Some(&id) => Ok(FingerprintKey { id, secret: read(&folder.join(name(id)))? }),
        None => make(&folder, 1),
    }
}

/// Makes a new key, which is the one that is used from then on; returns its id. Where two do so at the same time, one
/// new key comes of it, and both return it.
pub(crate) fn rotate(data_dir: &Path) -> Result<u32, String> {
    let folder = folder_in(data_dir)?;
    let newest = ids(&folder)?.last().copied().unwrap_or(0);
    let next = newest.checked_add(1).ok_or_else(|| {
        format!("{}: there is no number above {newest} for a new key", folder.join(name(newest)).display())
    })?;
    Ok(make(&folder, next)?.id)
}

/// A key on disk.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) id: u32,
    /// Since it was made; zero where the clock was set back.
    pub(crate) age: Duration,
}

/// The keys under `data_dir`, by their ids; the last one is used. Nothing is made.
pub(crate) fn list(data_dir: &Path, now: SystemTime) -> Result<Vec<KeyFile>, String> {
    let folder = data_dir.join("keys");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let file = |id| {
        let path = folder.join(name(id));
        let made = fs::metadata(&path).and_then(|m| m.modified()).map_err(at(&path))?;
        Ok(KeyFile { id, age: now.duration_since(made).unwrap_or_default() })
    };
    ids(&folder)?.into_iter().map(file).collect()
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
    fn a_new_key_is_used_and_the_old_ones_stay() {
        let folder = folder("rotate");
        assert!(list(&folder, SystemTime::now()).unwrap().is_empty());
        let first = load_or_make(&folder).unwrap();
        assert_eq!(rotate(&folder), Ok(2));
        assert_eq!(rotate(&folder), Ok(3));
        let newest = load_or_make(&folder).unwrap();
        assert_eq!(newest.id, 3);
        assert_ne!(newest.secret, first.secret);
        assert_eq!(read(&folder.join("keys").join(name(1))).unwrap(), first.secret);
        let later = SystemTime::now() + Duration::from_secs(3600);
        let keys = list(&folder, later).unwrap();
        assert_eq!(keys.iter().map(|k| k.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(keys.iter().all(|k| (3590..3700).contains(&k.age.as_secs())), "{keys:?}");
        let mode = fs::metadata(folder.join("keys").join(name(3))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn keys_can_be_made_before_there_is_any_and_not_above_the_last_number() {
        let folder = folder("ends");
        assert_eq!(rotate(&folder), Ok(1));
        make(&folder.join("keys"), u32::MAX).unwrap();
        let error = rotate(&folder).unwrap_err();
        assert!(error.contains("fingerprint-4294967295.key"), "{error}");
        assert_eq!(list(&folder, SystemTime::now()).unwrap().len(), 2);
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
