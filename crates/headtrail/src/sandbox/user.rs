//! Whose ids the daemon has.

use nix::unistd::{User, getgrouplist};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::refused;
use crate::exit::Failure;

/// The user, where none is asked for.
pub(crate) const DEFAULT: &str = "headtrail";
/// How it is made where no package did.
pub(crate) const MAKE_IT: &str =
    "useradd --system --home-dir /var/lib/headtrail --shell /usr/sbin/nologin headtrail";

/// Ids of a user.
pub(super) struct Account {
    name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    groups: Vec<Gid>,
}

/// Which ids the process shall have.
pub(super) enum Identity {
    /// Those of a user.
    Account(Account),
    /// It is not root to begin with.
    Kept,
    /// `--user root`.
    RootAsAsked,
    /// Nobody else can be had, and why.
    RootForWantOf(String),
}

impl Identity {
    /// The user to become.
    pub(super) fn account(&self) -> Option<&Account> {
        match self {
            Self::Account(account) => Some(account),
            _ => None,
        }
    }

    /// Was that what somebody wanted?
    pub(super) fn may_be_root(&self) -> bool {
        matches!(self, Self::RootAsAsked)
    }

    /// Why the ids are those of root, for people.
    pub(super) fn why_root(&self) -> String {
        match self {
            Self::RootForWantOf(why) => why.clone(),
            _ => "keeps the ids of root, as asked".to_owned(),
        }
    }
}

/// Is this process root?
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// Name of the user of this process; the number of one without.
pub(super) fn name() -> String {
    let uid = nix::unistd::geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Decides by what was asked for. A user who is asked for must exist. The default one may be missing, since a first try on
/// a fresh host shall work: the ids are then those of root without its capabilities. `nobody` is not taken in its place:
/// that user is shared by whatever else runs without a user of its own, which could then read keys and journal.
pub(super) fn identity(asked: Option<&str>) -> Result<Identity, Failure> {
    if !is_root() {
        return match asked {
            Some(name)
                if User::from_uid(nix::unistd::geteuid()).ok().flatten().is_none_or(|u| u.name != name) =>
            {
                Err(Failure::usage(format_args!("--user {name}: only root can become another user")))
            }
            _ => Ok(Identity::Kept),
        };
    }
    let name = asked.unwrap_or(DEFAULT);
    let found = User::from_name(name).map_err(|e| refused(name, &e))?;
    let Some(user) = found else {
        return match asked {
            Some(_) => Err(Failure::usage(format_args!("--user {name}: there is no such user on this host"))),
            None => Ok(Identity::RootForWantOf(format!(
                "keeps the ids of root: there is no user {DEFAULT} ({MAKE_IT})"
            ))),
        };
    };
    if user.uid.is_root() {
        return Ok(Identity::RootAsAsked);
    }
    // The groups that an administrator put this user into, to let it read a gateway's key file for instance.
    let groups = std::ffi::CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok())
        .unwrap_or_else(|| vec![user.gid]);
    Ok(Identity::Account(Account {
        name: user.name,
        uid: Uid::from_raw(user.uid.as_raw()),
        gid: Gid::from_raw(user.gid.as_raw()),
        groups: groups.into_iter().map(|group| Gid::from_raw(group.as_raw())).collect(),
    }))
}

/// Changes the ids. `keep` stay permitted across the change. In a container that may not change them the ids stay.
pub(super) fn become_it(
    identity: Identity,
    keep: CapabilitySet,
    notes: &mut Vec<String>,
) -> Result<Identity, Failure> {
    let Identity::Account(account) = &identity else { return Ok(identity) };
    if let Err(error) = set_thread_groups(&account.groups) {
        // A user namespace that denies it has no groups to give up.
        notes.push(format!("supplementary groups stay: {error}"));
    }
    let changed = set_thread_res_gid(account.gid, account.gid, account.gid)
        .and_then(|()| set_keep_capabilities(!keep.is_empty()))
        .and_then(|()| set_thread_res_uid(account.uid, account.uid, account.uid));
    match changed {
        Ok(()) if is_root() => Err(refused(&account.name, &"the kernel changed no id and said nothing")),
        Ok(()) => Ok(identity),
        Err(error) => Ok(Identity::RootForWantOf(format!(
            "keeps the ids of root: the host does not let it become {} ({error}: no CAP_SETUID or CAP_SETGID?)",
            account.name
        ))),
    }
}
