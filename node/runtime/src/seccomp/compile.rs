//! Profiles to classic BPF: per architecture a binary search over ranges of numbers with the same outcome.

use super::{Action, Arch, Compare, Condition, Instruction, Profile, Rule};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Stands for "this rule does not apply" until the rule's length is known.
const FAIL: u8 = u8::MAX;

pub(super) fn filter(profile: &Profile) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCH)];
    for arch in &profile.arches {
        let mut body = vec![plain(LOAD, NUMBER)];
        body.extend(search(&segments(arch, profile.default)));
        program.push(jump(JUMP_EQUAL, arch.audit, 1, 0));
        program.push(plain(JUMP, body.len() as u32));
        program.append(&mut body);
    }
    program.push(ret(profile.default));
    program
}

/// A range of numbers up to the next segment's first, and what to run for it.
struct Segment {
    first: u32,
    code: Vec<Instruction>,
}

fn segments(arch: &Arch, default: Action) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut add = |first: u32, code: Vec<Instruction>| {
        if segments.last().is_none_or(|last| last.code != code) {
            segments.push(Segment { first, code });
        }
    };
    let mut next = 0;
    for (&number, rules) in &arch.rules {
        if number > next || number == 0 && next == 0 && rules.is_empty() {
            add(next, vec![ret(default)]);
        }
        add(number, decide(rules, default));
        next = number + 1;
    }
    add(next, vec![ret(default)]);
    segments
}

/// The number is in the accumulator; ends in a return for every value.
fn search(segments: &[Segment]) -> Vec<Instruction> {
    if let [only] = segments {
        return only.code.clone();
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let (below, above) = (search(low), search(high));
    let mut code = match u8::try_from(below.len()) {
        Ok(skip) => vec![jump(JUMP_GREATER_EQUAL, high[0].first, skip, 0)],
        Err(_) => vec![jump(JUMP_GREATER_EQUAL, high[0].first, 0, 1), plain(JUMP, below.len() as u32)],
    };
    code.extend(below);
    code.extend(above);
    code
}

/// Tries the rules in order.
fn decide(rules: &[Rule], default: Action) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(attempt(rule));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(ret(default));
    code
}

fn attempt(rule: &Rule) -> Vec<Instruction> {
    let mut code: Vec<_> = rule.conditions.iter().flat_map(check).collect();
    code.push(ret(rule.action));
    let length = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let out = (length - at - 1) as u8;
        if instruction.jump_true == FAIL {
            instruction.jump_true = out;
        }
        if instruction.jump_false == FAIL {
            instruction.jump_false = out;
        }
    }
    code
}

/// Falls through when the condition holds. Arguments are 64 bits wide, the accumulator 32: high half first.
fn check(condition: &Condition) -> Vec<Instruction> {
    let low = plain(LOAD, ARGUMENTS + 8 * condition.argument);
    let high = plain(LOAD, ARGUMENTS + 8 * condition.argument + 4);
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    match condition.compare {
        Compare::Equal => vec![high, jump(JUMP_EQUAL, value_high, 0, FAIL), low, jump(JUMP_EQUAL, value_low, 0, FAIL)],
        Compare::NotEqual => vec![high, jump(JUMP_EQUAL, value_high, 0, 2), low, jump(JUMP_EQUAL, value_low, FAIL, 0)],
        Compare::MaskedEqual(mask) => vec![
            high,
            plain(AND, (mask >> 32) as u32),
            jump(JUMP_EQUAL, value_high, 0, FAIL),
            low,
            plain(AND, mask as u32),
            jump(JUMP_EQUAL, value_low, 0, FAIL),
        ],
        Compare::Greater => at_least(high, low, value_high, jump(JUMP_GREATER, value_low, 0, FAIL)),
        Compare::GreaterOrEqual => at_least(high, low, value_high, jump(JUMP_GREATER_EQUAL, value_low, 0, FAIL)),
        Compare::Less => at_most(high, low, value_high, jump(JUMP_GREATER_EQUAL, value_low, FAIL, 0)),
        Compare::LessOrEqual => at_most(high, low, value_high, jump(JUMP_GREATER, value_low, FAIL, 0)),
    }
}

fn at_least(high: Instruction, low: Instruction, value_high: u32, last: Instruction) -> Vec<Instruction> {
    vec![high, jump(JUMP_GREATER, value_high, 3, 0), jump(JUMP_EQUAL, value_high, 0, FAIL), low, last]
}

fn at_most(high: Instruction, low: Instruction, value_high: u32, last: Instruction) -> Vec<Instruction> {
    vec![high, jump(JUMP_GREATER, value_high, FAIL, 0), jump(JUMP_EQUAL, value_high, 0, 2), low, last]
}

fn plain(code: u16, value: u32) -> Instruction {
    jump(code, value, 0, 0)
}

fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

fn ret(action: Action) -> Instruction {
    plain(
        RETURN,
        match action {
            Action::Allow => 0x7fff_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
            Action::Trap => 0x0003_0000,
            Action::Log => 0x7ffc_0000,
        },
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Runs a filter as the kernel would; also the number of steps.
    pub(crate) fn interpret(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let mut data = vec![number, arch, 0, 0];
        data.extend(arguments.iter().flat_map(|&argument| [argument as u32, (argument >> 32) as u32]));
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[at];
            let branch = |taken: bool| usize::from(if taken { jump_true } else { jump_false });
            at += 1;
            steps += 1;
            match code {
                LOAD => accumulator = data[value as usize / 4],
                AND => accumulator &= value,
                JUMP => at += value as usize,
                JUMP_EQUAL => at += branch(accumulator == value),
                JUMP_GREATER => at += branch(accumulator > value),
                JUMP_GREATER_EQUAL => at += branch(accumulator >= value),
                RETURN => return (value, steps),
                _ => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
        let argument = arguments[condition.argument as usize];
        match condition.compare {
            Compare::Equal => argument == condition.value,
            Compare::NotEqual => argument != condition.value,
            Compare::Less => argument < condition.value,
            Compare::LessOrEqual => argument <= condition.value,
            Compare::Greater => argument > condition.value,
            Compare::GreaterOrEqual => argument >= condition.value,
            Compare::MaskedEqual(mask) => argument & mask == condition.value,
        }
    }

    fn any_value() -> impl Strategy<Value = u64> {
        prop_oneof![0..4u64, Just(1 << 32), Just((1 << 32) + 1), Just(u64::MAX)]
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let compare = prop_oneof![
            Just(Compare::Equal),
            Just(Compare::NotEqual),
            Just(Compare::Less),
            Just(Compare::LessOrEqual),
            Just(Compare::Greater),
            Just(Compare::GreaterOrEqual),
            any_value().prop_map(Compare::MaskedEqual),
        ];
        let condition = (0..2u32, compare, any_value()).prop_map(|(argument, compare, value)| Condition { argument, compare, value });
        (1..5u16, proptest::collection::vec(condition, 0..3))
            .prop_map(|(errno, conditions)| Rule { action: Action::Errno(errno), conditions })
    }

    proptest! {
        #[test]
        fn the_filter_decides_as_its_rules_say(
            rules in proptest::collection::btree_map(0..400u32, proptest::collection::vec(any_rule(), 1..4), 0..120),
            number in 0..420u32, first in any_value(), second in any_value(), native in any::<bool>(),
        ) {
            let profile = Profile { default: Action::Errno(99), arches: vec![
                Arch { audit: 7, rules: BTreeMap::new() }, Arch { audit: 8, rules },
            ] };
            let arguments = [first, second, 0, 0, 0, 0];
            let rules = profile.arches[1].rules.get(&number).filter(|_| native);
            let expected = rules.into_iter().flatten()
                .find(|rule| rule.conditions.iter().all(|condition| holds(condition, arguments)))
                .map_or(profile.default, |rule| rule.action);
            let (outcome, _) = interpret(&filter(&profile), if native { 8 } else { 7 }, number, arguments);
            prop_assert_eq!(outcome, ret(expected).value);
        }
    }
}
