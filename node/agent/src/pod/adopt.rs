//! Taking up a pod where an earlier agent left it: from the containers that the runtime knows, and from the status that
//! the API holds for what it does not.

use contract::ContainerState as Known;
use jiff::Timestamp;
use kinds::core::{ContainerStateTerminated, ContainerStatus};

use super::{Worker, start};
use crate::slot::{self, Backoff, Ended, Role, Run, Slot, State, Why, labels};

impl Worker {
    /// Fills the slots; runs before anything is planned.
    pub(super) fn adopt(&mut self, containers: Vec<Known>) {
        for index in 0..self.slots.len() {
            let name = self.slots[index].name.clone();
            let shown = self.shown(&name);
            if let Some(shown) = &shown {
                let slot = &mut self.slots[index];
                slot.restarts = u32::try_from(shown.restart_count).unwrap_or_default();
                slot.image_id.clone_from(&shown.image_id);
            }
            let mut runs: Vec<&Known> = containers.iter().filter(|known| known.name == name).collect();
            runs.sort_by_key(|known| (slot::restarts_of(&known.labels), known.started_at));
            match runs.split_last() {
                Some((newest, older)) => self.adopt_run(index, newest, older.last().copied(), shown.as_ref()),
                None => self.adopt_status(index, shown.as_ref()),
            }
        }
        if containers.is_empty() {
            self.begin_anew();
        }
    }

    /// The runtime knows nothing of the pod (the machine has rebooted): what should run again runs in a new sandbox, and
    /// init containers run before it once more. What is over for good stays over.
    fn begin_anew(&mut self) {
        let runs_again = |slot: &Slot| slot.role == Role::App && matches!(slot.state, State::Exited { .. }) && slot.should_restart();
        if !self.slots.iter().any(runs_again) {
            return;
        }
        let has_ended =
            self.slots.iter().any(|slot| slot.role == Role::App && matches!(slot.state, State::Exited { .. }) && !slot.should_restart());
        for slot in &mut self.slots {
            let is_init = matches!(slot.role, Role::Init | Role::Sidecar) && !has_ended;
            if !(is_init || runs_again(slot)) {
                continue;
            }
            if let State::Exited { ended, .. } = std::mem::replace(&mut slot.state, State::Idle) {
                slot.previous = Some(ended);
            }
        }
    }

    fn shown(&self, name: &str) -> Option<ContainerStatus> {
        let status = &self.pod.status;
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).chain(&status.ephemeral_container_statuses);
        all.into_iter().find(|shown| shown.name == name).cloned()
    }

    fn adopt_run(&mut self, index: usize, newest: &Known, older: Option<&Known>, shown: Option<&ContainerStatus>) {
        let (now, wall) = (self.cx.env.instant(), self.cx.env.now());
        let started_at = Timestamp::from_nanosecond(newest.started_at.into()).unwrap_or(wall);
        let slot = &mut self.slots[index];
        slot.restarts = slot::restarts_of(&newest.labels);
        if let Some(image) = newest.labels.get(labels::IMAGE) {
            slot.image.clone_from(image);
        }
        if let Some(image_id) = newest.labels.get(labels::IMAGE_ID) {
            slot.image_id.clone_from(image_id);
        }
        let from_runtime = older.and_then(|older| older.exit.as_ref().map(|exit| slot::ended(exit, started_at, String::new())));
        slot.previous = shown.and_then(|shown| shown.last_state.terminated.as_ref()).map(ended_of).or(from_runtime);
        slot.state = match &newest.exit {
            Some(exit) => {
                let told = shown.and_then(|shown| shown.state.terminated.as_ref()).filter(|told| told.container_id.ends_with(&newest.id));
                let ended = told.map_or_else(|| slot::ended(exit, started_at, String::new()), ended_of);
                State::Exited { ended, at: now }
            }
            None => {
                // What the API shows of a run that went on all the time still holds; probes will correct it.
                let same = shown.filter(|shown| shown.container_id.ends_with(&newest.id));
                let started = !slot.has_startup_probe || same.is_some_and(|shown| shown.started == Some(true));
                let ready = !slot.has_readiness_probe || same.is_some_and(|shown| shown.ready);
                State::Running(Run { id: newest.id.clone(), started_at, started, ready, unhealthy: None, stopping: false })
            }
        };
        // As if this agent had counted the restarts.
        slot.backoff = Backoff::after(slot.restarts, now);
        if slot.is_running() {
            self.run_token(index);
            self.cx.registry.claim(&newest.id, &self.pod.metadata.uid);
            self.adopted.push(index);
        }
    }

    /// Nothing in the runtime: what the API says is all that is known.
    fn adopt_status(&mut self, index: usize, shown: Option<&ContainerStatus>) {
        let (now, wall) = (self.cx.env.instant(), self.cx.env.now());
        let Some(shown) = shown else { return };
        let slot = &mut self.slots[index];
        let id = shown.container_id.rsplit('/').next().unwrap_or_default();
        let state = &shown.state;
        slot.previous = shown.last_state.terminated.as_ref().map(ended_of);
        if let Some(terminated) = &state.terminated {
            slot.state = State::Exited { ended: ended_of(terminated), at: now };
        } else if let Some(running) = &state.running {
            let started_at = running.started_at.as_deref().and_then(schema::time::parse).unwrap_or(wall);
            slot.state = State::Exited { ended: slot::ended(&start::lost(id, wall), started_at, String::new()), at: now };
        } else if let Some(last) =
            slot.previous.take_if(|_| state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff"))
        {
            slot.state = State::Exited { ended: last, at: now };
        }
    }
}

fn ended_of(terminated: &ContainerStateTerminated) -> Ended {
    let time = |text: &Option<String>| text.as_deref().and_then(schema::time::parse).unwrap_or(Timestamp::UNIX_EPOCH);
    Ended {
        id: terminated.container_id.rsplit('/').next().unwrap_or_default().to_owned(),
        code: terminated.exit_code,
        signal: terminated.signal,
        why: Why::new(&terminated.reason, terminated.message.as_str()),
        started_at: time(&terminated.started_at),
        finished_at: time(&terminated.finished_at),
    }
}
