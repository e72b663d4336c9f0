//! The name of a user who asks, from the machine's own list of users.

use std::fs;

use super::request::Uid;

/// The file with the machine's own users. A user of a directory service is shown by number: asking
/// such a service could take as long as a network does.
const USERS: &str = "/etc/passwd";

/// The user's name, or the number where the machine's own list does not have it.
pub(super) fn name(Uid(uid): Uid) -> String {
    let users = fs::read(USERS).unwrap_or_default();
    name_in(&String::from_utf8_lossy(&users), uid).unwrap_or_else(|| format!("user {uid}"))
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    let line =
        users.lines().find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid))?;
    line.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_by_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("ada"));
        assert_eq!(name_in(users, 7), None);
    }
}
