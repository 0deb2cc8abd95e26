//! The gate that a migration stands at.

use super::Migration;
use crate::gate::{Check, Outcome, Verdict, checks_after};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A check that is to be made now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueCheck {
    /// The wave after which it is made.
    pub wave: u32,
    /// The check.
    pub check: Check,
    /// The run that it is of.
    pub run: u32,
}

/// When the checks after a wave were to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// The run, from 1.
    pub run: u32,
    /// When it was asked for.
    pub at: Timestamp,
}

impl Migration {
    /// The wave that is over, and after which something has yet to hold before anything else begins.
    /// None as well where nothing of a wave was moved: there is nothing to look at.
    pub fn gating(&self) -> Option<u32> {
        if self.spec.gates.is_empty() || self.control.cancelled {
            return None;
        }
        // A retry may add to a wave that was looked at long ago.
        let mut over = self.moves.moved_before(self.wave());
        over.find(|wave| {
            !self.control.accepted.contains_key(wave) && self.unproven(*wave).is_some()
        })
    }

    /// The check that is to be made now; none while nobody waits for one.
    pub fn due_check(&self) -> Option<DueCheck> {
        if self.ended.is_some() || self.paused().is_some() || self.retried().next().is_some() {
            return None;
        }
        let wave = self.gating()?;
        let check = self.unproven(wave)?;
        Some(DueCheck { wave, check, run: self.run_of(wave) })
    }

    /// The check that has not passed in the present run, and stops the migration.
    pub fn stopped_by(&self) -> Option<(DueCheck, &Verdict)> {
        let wave = self.gating()?;
        let check = self.unproven(wave)?;
        let run = self.run_of(wave);
        let verdict = self.verdict(wave, &check).filter(|verdict| verdict.run >= run)?;
        Some((DueCheck { wave, check, run }, verdict))
    }

    /// The run that the checks after a wave are in, from 0.
    fn run_of(&self, wave: u32) -> u32 {
        self.control.reruns.get(&wave).map_or(0, |rerun| rerun.run)
    }

    /// When the soak after a wave has begun: once its last move was over, or when it was asked for
    /// again. None where nothing was moved.
    pub fn soak_begun(&self, wave: u32) -> Option<Timestamp> {
        let last = self.moves.last_moved(wave)?;
        let again = self.control.reruns.get(&wave).map(|rerun| rerun.at);
        Some(again.map_or(last, |again| again.max(last)))
    }

    /// The wave that may begin as soon as these checks have measured something before it, with those
    /// that have not. None while it may not begin anyway, or has begun.
    pub fn unmeasured(&self, measuring: &BTreeSet<String>) -> Option<(u32, Vec<String>)> {
        if self.spec.gates.is_empty() || measuring.is_empty() {
            return None;
        }
        let wave = self.moves.first_pending()?;
        let begun = self.moves.iter().any(|m| m.wave == wave && m.attempt > 0);
        let waits = self.wave() != Some(wave)
            || self.paused().is_some()
            || self.gating().is_some()
            || self.wave_to_approve().is_some();
        if begun || waits || self.control.cancelled || self.ended.is_some() {
            return None;
        }
        let missing: Vec<String> = checks_after(&self.spec.gates, wave)
            .into_iter()
            .filter_map(|check| match check {
                Check::Named(name) if measuring.contains(&name) => Some(name),
                Check::Named(_) | Check::Soak => None,
            })
            .filter(|name| !self.baselines.contains_key(&(wave, name.clone())))
            .collect();
        (!missing.is_empty()).then_some((wave, missing))
    }

    /// The first check after a wave that has not passed.
    fn unproven(&self, wave: u32) -> Option<Check> {
        checks_after(&self.spec.gates, wave).into_iter().find(|check| {
            let verdict = self.verdict(wave, check);
            verdict.is_none_or(|verdict| verdict.outcome != Outcome::Pass)
        })
    }

    /// What has come of a check after all that its wave has moved by now; none where more was moved since.
    fn verdict(&self, wave: u32, check: &Check) -> Option<&Verdict> {
        let moved = self.moves.last_moved(wave)?;
        self.verdicts.get(&(wave, check.clone())).filter(|verdict| verdict.at >= moved)
    }
}
