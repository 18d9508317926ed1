//! One kubectl against one cluster, and what it got wrong so far.

use std::time::{Duration, Instant};

use crate::machine::{Machine, Outcome, Running};

/// (arguments, what the output must contain)
pub(crate) type Row = (&'static [&'static str], &'static [&'static str]);

pub(crate) struct Session<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) program: &'a str,
    /// `--kubeconfig=…`, before every command's own arguments.
    config: String,
    commands: usize,
    wrong: Vec<String>,
    /// When the last command ended.
    since: Instant,
    /// How long each command took, and which it was.
    took: Vec<(Duration, String)>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(machine: &'a Machine, program: &'a str) -> Self {
        let config = format!("--kubeconfig={}", machine.kubeconfig().display());
        Self { machine, program, config, commands: 0, wrong: Vec::new(), since: Instant::now(), took: Vec::new() }
    }

    /// Rows in order: later ones may build on earlier ones.
    pub(crate) fn rows(&mut self, rows: &[Row]) {
        for (args, wanted) in rows {
            self.shows(args, wanted);
        }
    }

    /// The command succeeds, and its output contains all that is wanted.
    pub(crate) fn shows(&mut self, args: &[&str], wanted: &[&str]) {
        self.ends_with(0, args, wanted);
    }

    /// The command ends with this exit code and tells all that is wanted.
    pub(crate) fn ends_with(&mut self, code: i32, args: &[&str], wanted: &[&str]) {
        let mut outcome = self.machine.kubectl_of(self.program, args);
        // These minors read from an exec's connection before they have made its streams, and drop what came too early.
        if outcome.stderr.contains("Unknown stream id") {
            outcome = self.machine.kubectl_of(self.program, args);
        }
        self.judge(args, &outcome, code, wanted);
    }

    /// As `ends_with`, with `input` on the command's standard input.
    pub(crate) fn ends_with_fed(&mut self, code: i32, input: &str, args: &[&str], wanted: &[&str]) {
        let outcome = self.machine.run_fed(self.program, &self.all(args), input);
        self.judge(args, &outcome, code, wanted);
    }

    /// As `shows`, of the command as a person types it, on a terminal of 41 rows and 101 columns.
    pub(crate) fn on_terminal(&mut self, code: i32, typed: &str, wanted: &[&str]) {
        let line = format!("stty rows 41 cols 101; {} {} {typed}", self.program, self.config);
        let outcome = self.machine.run("script", &["-qec", &line, "/dev/null"]);
        self.judge(&[typed], &outcome, code, wanted);
    }

    /// As `shows`, with an editor that replaces `from` by `to`.
    pub(crate) fn edits(&mut self, args: &[&str], from: &str, to: &str, wanted: &[&str]) {
        let editor = format!("KUBE_EDITOR=sed -i s/{from}/{to}/");
        let outcome = self.machine.run("env", &[vec![editor.as_str(), self.program], self.all(args)].concat());
        self.judge(args, &outcome, 0, wanted);
    }

    /// Starts a command that goes on until it is dropped.
    pub(crate) fn start(&mut self, args: &[&str]) -> Running {
        self.commands += 1;
        self.machine.start(self.program, &self.all(args))
    }

    /// Notes `what` unless it is so.
    pub(crate) fn holds(&mut self, what: &str, so: bool) {
        if !so {
            self.wrong.push(what.to_owned());
        }
    }

    /// The trimmed output of a command that must succeed.
    pub(crate) fn value(&mut self, args: &[&str]) -> String {
        self.commands += 1;
        self.machine.kubectl_of(self.program, args).expect_ok(&args.join(" ")).trim().to_owned()
    }

    /// As `value`, again until there is one: for what a controller writes in its time.
    pub(crate) fn until_value(&mut self, args: &[&str]) -> String {
        let machine = self.machine;
        machine.wait_for(&args.join(" "), || !machine.kubectl_of(self.program, args).stdout.trim().is_empty());
        self.value(args)
    }

    /// Panics with all that went wrong.
    pub(crate) fn finish(mut self) {
        self.took.sort();
        let slowest: Vec<_> =
            self.took.iter().rev().take(8).map(|(took, command)| format!("{:.1} s {command}", took.as_secs_f32())).collect();
        eprintln!("{}: slowest:\n  {}", self.program.rsplit('/').next().unwrap_or_default(), slowest.join("\n  "));
        assert!(self.wrong.is_empty(), "{} of {} commands:\n{}", self.wrong.len(), self.commands, self.wrong.join("\n"));
        eprintln!("{}: {} commands passed", self.program.rsplit('/').next().unwrap_or_default(), self.commands);
    }

    fn all<'b>(&'b self, args: &[&'b str]) -> Vec<&'b str> {
        std::iter::once(self.config.as_str()).chain(args.iter().copied()).collect()
    }

    fn judge(&mut self, args: &[&str], outcome: &Outcome, code: i32, wanted: &[&str]) {
        self.commands += 1;
        self.took.push((self.since.elapsed(), args.join(" ")));
        self.since = Instant::now();
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        let missing: Vec<_> = wanted.iter().filter(|part| !text.contains(**part)).collect();
        if outcome.code != Some(code) || !missing.is_empty() {
            self.wrong.push(format!("kubectl {}\n  ended with {:?}, lacks {missing:?} in: {text}", args.join(" "), outcome.code));
        }
    }
}
