//! Which devices a container may open: directories on v1, programs on v2.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sys::bpf::Instruction;

use super::{Cgroups, Devices, make, named};

/// One allowed device; None means any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    /// Making nodes only.
    make_only: bool,
}

/// Nodes of any kind may be made; null, zero, full, random, urandom, tty, console, ptmx and terminals may be used.
const HARMLESS: [Rule; 10] = [
    Rule { block: false, major: None, minor: None, make_only: true },
    Rule { block: true, major: None, minor: None, make_only: true },
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, None),
    character(136, None),
    // tun: harmless without CAP_NET_ADMIN, and upstream allows it.
    character(10, Some(200)),
];

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { block: false, major: Some(major), minor, make_only: false }
}

impl Cgroups {
    /// v1: makes the directory that the container joins. v2: puts a program on the group.
    pub(super) fn restrict_devices(&self, group: &Path, devices: &Devices) -> io::Result<()> {
        let rules = match devices {
            Devices::All => return Ok(()),
            Devices::Confined => HARMLESS.to_vec(),
            Devices::Also(paths) => {
                HARMLESS.into_iter().map(Ok).chain(paths.iter().map(|path| rule_of(path))).collect::<io::Result<_>>()?
            }
        };
        match self.device_folder(group, devices) {
            None => self.attach_program(group, &rules),
            Some(folder) if folder.is_dir() => Ok(()),
            Some(folder) => confine(&folder, &rules),
        }
    }

    /// v1: the directory whose `tasks` a container joins. None: nothing to join.
    pub(super) fn device_folder(&self, group: &Path, devices: &Devices) -> Option<PathBuf> {
        let root = self.v1("devices")?;
        match devices {
            Devices::All => None,
            Devices::Confined => Some(root.join(group.components().next()?).join("confined")),
            Devices::Also(_) => Some(root.join(group)),
        }
    }

    /// What [`Cgroups::device_folder`] may have made for this group alone.
    pub(super) fn own_device_folder(&self, group: &Path) -> Option<PathBuf> {
        self.v1("devices").map(|root| root.join(group))
    }

    fn attach_program(&self, group: &Path, rules: &[Rule]) -> io::Result<()> {
        let Some(root) = self.v2() else { return Ok(()) };
        let folder = root.join(group);
        let program = sys::bpf::load_device_program(&program(rules))?;
        let target = rustix::fs::open(&folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        sys::bpf::attach_device_program(target, program).map_err(|error| named(&folder, error))
    }
}

/// Two containers may do this at once: each finds the same rules, and "deny all" first never opens anything.
fn confine(folder: &Path, rules: &[Rule]) -> io::Result<()> {
    make(folder)?;
    let write = |file: &str, line: &str| {
        let path = folder.join(file);
        fs::write(&path, line).map_err(|error| named(&path, error))
    };
    write("devices.deny", "a")?;
    rules.iter().try_for_each(|rule| write("devices.allow", &line(*rule)))
}

fn line(rule: Rule) -> String {
    let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
    let kind = if rule.block { 'b' } else { 'c' };
    format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), if rule.make_only { "m" } else { "rwm" })
}

fn rule_of(path: &Path) -> io::Result<Rule> {
    let metadata = fs::metadata(path).map_err(|error| named(path, error))?;
    let (block, character) = (metadata.file_type().is_block_device(), metadata.file_type().is_char_device());
    if !block && !character {
        return Err(named(path, io::Error::new(io::ErrorKind::InvalidInput, "not a device")));
    }
    let device = metadata.rdev();
    Ok(Rule { block, major: Some(rustix::fs::major(device)), minor: Some(rustix::fs::minor(device)), make_only: false })
}

const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;

/// Context in r1: access << 16 | type, major, minor. Registers: r2 type, r3 access, r4 major, r5 minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![load(2, 0), register(COPY, 3, 2), immediate(SHIFT_RIGHT, 3, 16), immediate(AND, 2, 0xffff), load(4, 4), load(5, 8)];
    for rule in rules {
        let mut checks = vec![(2, if rule.block { BLOCK } else { CHARACTER })];
        checks.extend(rule.make_only.then_some((3, MAKE)));
        checks.extend(rule.major.map(|major| (4, major as i32)));
        checks.extend(rule.minor.map(|minor| (5, minor as i32)));
        // A check that fails jumps over the later checks and the two instructions that say yes.
        for (at, (register, value)) in checks.iter().enumerate() {
            let offset = (checks.len() - at - 1 + 2) as i16;
            code.push(Instruction { code: JUMP_NOT_EQUAL, registers: *register, offset, immediate: *value });
        }
        code.extend([immediate(SET, 0, 1), immediate(EXIT, 0, 0)]);
    }
    code.extend([immediate(SET, 0, 0), immediate(EXIT, 0, 0)]);
    code
}

fn load(target: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: target | 1 << 4, offset, immediate: 0 }
}

fn register(code: u8, target: u8, source: u8) -> Instruction {
    Instruction { code, registers: target | source << 4, offset: 0, immediate: 0 }
}

fn immediate(code: u8, target: u8, value: i32) -> Instruction {
    Instruction { code, registers: target, offset: 0, immediate: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program on one access.
    fn allowed(rules: &[Rule], kind: i32, access: i32, major: i64, minor: i64) -> bool {
        let context = [i64::from(access << 16 | kind), major, minor];
        let (mut registers, code) = ([0i64; 10], program(rules));
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = code[at];
            let (target, source) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            match code {
                LOAD_WORD => registers[target] = context[offset as usize / 4],
                COPY => registers[target] = registers[source],
                SET => registers[target] = i64::from(immediate),
                AND => registers[target] &= i64::from(immediate),
                SHIFT_RIGHT => registers[target] >>= immediate,
                JUMP_NOT_EQUAL if registers[target] != i64::from(immediate) => at += offset as usize,
                JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                _ => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_program_says_what_the_lines_say() {
        for (kind, access, major, minor, expected) in [
            (CHARACTER, 2, 1, 3, true),
            (CHARACTER, 6, 5, 2, true),
            (CHARACTER, 2, 1, 1, false),
            (BLOCK, MAKE, 254, 0, true),
            (BLOCK, 2, 254, 0, false),
            (BLOCK, 3, 254, 0, false),
        ] {
            assert_eq!(allowed(&HARMLESS, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        assert_eq!(line(HARMLESS[0]), "c *:* m");
        assert_eq!(line(HARMLESS[7]), "c 5:* rwm");
    }
}
