//! Who a tunnel's threads run as.

use std::fmt;
use std::str::FromStr;

use nix::unistd::{Group, User as Account};
use rustix::thread::{Gid, Uid};

use super::values::NotAllowed;

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    pub(crate) fn uid(&self) -> Uid {
        Uid::from_raw(self.uid)
    }

    pub(crate) fn gid(&self) -> Gid {
        Gid::from_raw(self.gid)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl FromStr for User {
    type Err = NotAllowed;

    /// A name that this host knows, or a number; a group behind a colon, else the user's own, else the group of the user's number.
    fn from_str(text: &str) -> Result<User, NotAllowed> {
        let wrong = NotAllowed::new("a user that this host knows, or UID:GID, and not root");
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let (uid, own_group) = match user.parse() {
            Ok(uid) => (uid, uid),
            Err(_) => {
                let account = Account::from_name(user).ok().flatten().ok_or(wrong)?;
                (account.uid.as_raw(), account.gid.as_raw())
            }
        };
        let gid = match group {
            None => own_group,
            Some(group) => match group.parse() {
                Ok(gid) => gid,
                Err(_) => Group::from_name(group).ok().flatten().ok_or(wrong)?.gid.as_raw(),
            },
        };
        // All ones mean `as it is` to the kernel (setresuid(2)).
        if uid == 0 || uid == u32::MAX || gid == u32::MAX { Err(wrong) } else { Ok(User { uid, gid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_users_and_root_is_none() {
        let user = |text: &str| text.parse::<User>().map(|user| user.to_string());
        assert_eq!(user("4711").unwrap(), "4711:4711");
        assert_eq!(user("4711:12").unwrap(), "4711:12");
        for wrong in [
            "",
            "root",
            "0",
            "0:5",
            "4294967295",
            "1:4294967295",
            "-1",
            "no-such-user",
            "1:no-such-group",
            "1:",
        ] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }
}
