//! Who a process runs as, from numbers, names and the container's own `/etc/passwd` and `/etc/group`.

use crate::plan::UserSpec;

/// The answer: numbers, and the home directory when the user is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Option<String>,
}

/// Files over 1 MB are no user database.
pub(crate) const DATABASE_MAX: u64 = 1 << 20;

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `spec`; the error names the user or group that is not there, in runc's words.
pub(crate) fn resolve(spec: &UserSpec, passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match spec.name.as_deref().unwrap_or("").split_once(':') {
        Some((name, group)) => (name, group),
        None => (spec.name.as_deref().unwrap_or(""), ""),
    };
    let (uid, mut gid) = if spec.uid != 0 || name.is_empty() { (spec.uid, spec.gid) } else { named_user(name, passwd)? };
    let entry = entries(passwd).find(|entry| entry.uid == uid);
    if spec.uid != 0 && !name.is_empty() {
        gid = entry.as_ref().map_or(0, |entry| entry.gid);
    }
    if !group_name.is_empty() {
        gid = named_group(group_name, group)?;
    }
    if spec.gid != 0 {
        gid = spec.gid;
    }
    let mut groups = spec.additional_gids.clone();
    groups.extend(entry.iter().flat_map(|entry| memberships(entry.name, group)));
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity { uid, gid, groups, home: entry.map(|entry| entry.home.to_owned()).filter(|home| !home.is_empty()) })
}

fn named_user(name: &str, passwd: &str) -> Result<(u32, u32), String> {
    let found = entries(passwd).find(|entry| entry.name == name || name.parse() == Ok(entry.uid));
    match (found, name.parse()) {
        (Some(entry), _) => Ok((entry.uid, entry.gid)),
        (None, Ok(uid)) => Ok((uid, 0)),
        (None, Err(_)) => Err(format!("unable to find user {name}: no matching entries in passwd file")),
    }
}

fn named_group(name: &str, group: &str) -> Result<u32, String> {
    let found = groups(group).find(|(known, gid, _)| *known == name || name.parse() == Ok(*gid)).map(|(_, gid, _)| gid);
    found.or_else(|| name.parse().ok()).ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn memberships<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group).filter(move |(_, _, members)| members.split(',').any(|member| member == user)).map(|(_, gid, _)| gid)
}

fn entries(passwd: &str) -> impl Iterator<Item = Passwd<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Passwd { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:web,other\n";

    fn check(uid: u32, gid: u32, name: Option<&str>) -> Result<(u32, u32, Vec<u32>, Option<String>), String> {
        let spec = UserSpec { uid, gid, additional_gids: vec![], name: name.map(Into::into) };
        resolve(&spec, PASSWD, GROUP).map(|id| (id.uid, id.gid, id.groups, id.home))
    }

    #[test]
    fn names_numbers_and_what_is_said_explicitly() {
        let web = Some("/var/www".to_owned());
        assert_eq!(check(0, 0, None), Ok((0, 0, vec![], Some("/root".into()))));
        assert_eq!(check(0, 0, Some("web")), Ok((33, 34, vec![50], web.clone())));
        assert_eq!(check(0, 0, Some("33")), Ok((33, 34, vec![50], web.clone())));
        assert_eq!(check(0, 0, Some("web:logs")), Ok((33, 50, vec![50], web.clone())));
        assert_eq!(check(0, 0, Some("1000")), Ok((1000, 0, vec![], None)));
        assert_eq!(check(0, 0, Some("1000:1001")), Ok((1000, 1001, vec![], None)));
        assert_eq!(check(33, 0, None), Ok((33, 0, vec![50], web.clone())));
        assert_eq!(check(33, 7, Some("root")), Ok((33, 7, vec![50], web)));
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(check(0, 0, Some("nobody")), Err("unable to find user nobody: no matching entries in passwd file".into()));
        assert_eq!(check(0, 0, Some("web:none")), Err("unable to find group none: no matching entries in group file".into()));
    }
}
