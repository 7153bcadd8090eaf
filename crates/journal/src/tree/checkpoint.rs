//! Checkpoints: the size and root of a tree as a signed note, C2SP [tlog-checkpoint](https://c2sp.org/tlog-checkpoint).

use std::fmt;

use super::hash::Hash;
use super::note::{NoteError, SignedNote, Signer, VerifierKey};
use super::text;
use super::tile::TREE_SIZE_MAX;

/// What a checkpoint says. `Display` writes the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    /// Leaves of the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Further lines, without a meaning here. Headtrail writes none.
    pub extensions: Vec<String>,
}

/// Why a text is not a checkpoint of the log that the key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is no note that the key has signed.
    Note(NoteError),
    /// A line that has to be there is missing, empty, or has a line feed in it.
    Lines,
    /// The second line is not a size in decimal, or beyond [`TREE_SIZE_MAX`].
    Size,
    /// The third line is not a hash in base64.
    Root,
    /// It is about another log than the one that the key is named after.
    Origin,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => error.fmt(f),
            Self::Lines => {
                f.write_str("a checkpoint is made of lines that are not empty: origin, size, root")
            }
            Self::Size => f.write_str("the checkpoint's second line is not a size"),
            Self::Root => f.write_str("the checkpoint's third line is not a hash in base64"),
            Self::Origin => f.write_str("the checkpoint is not of the log that the key is named after"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl From<NoteError> for CheckpointError {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

impl Checkpoint {
    /// Reads the text of a checkpoint, which nothing vouches for yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Lines);
        let origin = line()?.to_owned();
        let size =
            text::decimal(line()?).filter(|&size| size <= TREE_SIZE_MAX).ok_or(CheckpointError::Size)?;
        let root = Hash::from_base64(line()?).ok_or(CheckpointError::Root)?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Lines);
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// The signed note of it.
    ///
    /// # Errors
    /// It could not be read back, or is about another log than the key is named after.
    pub fn sign(&self, signer: &Signer) -> Result<String, CheckpointError> {
        let text = self.to_string();
        if Self::parse(&text)? != *self {
            return Err(CheckpointError::Lines);
        }
        if self.origin != signer.verifier().name() {
            return Err(CheckpointError::Origin);
        }
        Ok(signer.sign(&text)?)
    }

    /// Reads a signed note and checks that the key has signed it and is named as the log.
    ///
    /// # Errors
    /// Why it is not to be believed.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse(SignedNote::parse(note)?.verify(key)?)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
