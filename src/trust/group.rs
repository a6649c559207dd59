//! Members of a group of the system. Owns how they are found; never decides who is trusted.

use std::fs;

use nix::unistd::{Gid, Group, User};

/// Whether a group has a member who is not trusted. A group that the system does not know has one, unless it is `own`.
pub(super) fn has_strangers(group: u32, own: u32, is_trusted: impl Fn(u32) -> bool) -> bool {
    let members = match Group::from_gid(Gid::from_raw(group)) {
        Ok(Some(found)) => found.mem,
        Ok(None) if group == own => Vec::new(),
        Ok(None) | Err(_) => return true,
    };
    let named = members.iter().filter_map(|name| User::from_name(name).ok()?).map(|user| user.uid.as_raw());
    named.chain(primary_members(group)).any(|user| !is_trusted(user))
}

/// Returns the users whose first group this is: the list of a group does not name them.
fn primary_members(group: u32) -> Vec<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        let (user, of) = (fields.next()?.ok()?, fields.next()?.ok()?);
        (of == group).then_some(user)
    };
    users.lines().filter_map(member).collect()
}
