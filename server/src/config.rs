//! The configuration file: what belongs to the server and not to one migration.
//!
//! YAML, checked against its schema. It is read again when it changes; a file that cannot be used is
//! refused with the reason in the log, and what was in force stays in force.

mod check;
mod istiods;

pub use check::{CheckConfig, HttpConfig, IstiodConfig, JobConfig, PrometheusConfig, Tries};
pub use istiods::{Istiods, istiod};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use revshift_core::budget::Budgets;
use revshift_core::calendar::{self, Freeze};
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often the file is looked at: a mounted ConfigMap changes without any event that all file
/// systems tell of.
const LOOK: Duration = Duration::from_secs(2);

/// The file's content.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// How much may be under way at once.
    pub budgets: BudgetsConfig,
    /// When no migration begins anything.
    pub freezes: Vec<FreezeConfig>,
    /// Checks that gates name.
    pub checks: Vec<CheckConfig>,
    /// Monitoring address of every istiod replica, such as `http://10.0.0.5:15014`, by revision. A plane
    /// that is listed is asked there and nowhere else.
    pub istiods: Istiods,
}

/// A time in which no migration begins anything, rollbacks excepted.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeConfig {
    /// When it begins: RFC 3339, or date, time and time zone.
    #[serde(deserialize_with = "moment")]
    pub from: Timestamp,
    /// When it is over.
    #[serde(deserialize_with = "moment")]
    pub to: Timestamp,
    /// Why, for those who wait.
    pub reason: String,
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    calendar::moment(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Budgets, over all migrations together; what is absent has its default.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BudgetsConfig {
    /// Namespaces whose move is under way.
    pub namespaces: Option<u32>,
    /// Workloads whose restart is under way.
    pub workloads: Option<u32>,
    /// Pods of those workloads.
    pub pods: Option<u32>,
    /// Pods a second whose restart begins, for each target plane.
    pub pods_per_second: Option<u32>,
}

impl Config {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self> {
        // An empty file is no document, and means the defaults.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let config: Self = serde_norway::from_str(text)?;
        let BudgetsConfig { namespaces, workloads, pods, pods_per_second } = config.budgets;
        for (name, value) in [
            ("namespaces", namespaces),
            ("workloads", workloads),
            ("pods", pods),
            ("podsPerSecond", pods_per_second),
        ] {
            ensure!(value != Some(0), "budgets.{name} must be at least 1");
        }
        for (index, FreezeConfig { from, to, reason }) in config.freezes.iter().enumerate() {
            ensure!(from < to, "freezes[{index}].from must be before its to");
            ensure!(!reason.trim().is_empty(), "freezes[{index}].reason must say why");
        }
        let mut names = BTreeSet::new();
        for (index, check) in config.checks.iter().enumerate() {
            check.refuse_nonsense().with_context(|| format!("checks[{index}]"))?;
            let new = names.insert(&check.name);
            ensure!(new, "checks[{index}].name: `{}` is named twice", check.name);
        }
        istiods::refuse_nonsense(&config.istiods)?;
        Ok(config)
    }

    /// The same with further addresses of istiods.
    #[must_use]
    pub fn with_istiods(mut self, istiods: &[(String, String)]) -> Self {
        istiods::add(&mut self.istiods, istiods);
        self
    }

    /// The freezes.
    pub fn freezes(&self) -> Vec<Freeze> {
        let freezes = self.freezes.iter().map(|FreezeConfig { from, to, reason }| Freeze {
            from: *from,
            to: *to,
            reason: reason.clone(),
        });
        freezes.collect()
    }

    /// The check of that name.
    pub fn check(&self, name: &str) -> Option<&CheckConfig> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Names of checks that measure something before a wave begins.
    pub fn measuring(&self) -> BTreeSet<String> {
        let measuring = self.checks.iter().filter(|check| check.measures());
        measuring.map(|check| check.name.clone()).collect()
    }

    /// The budgets with their defaults.
    pub fn budgets(&self) -> Budgets {
        let defaults = Budgets::default();
        let BudgetsConfig { namespaces, workloads, pods, pods_per_second } = self.budgets;
        Budgets {
            namespaces: namespaces.unwrap_or(defaults.namespaces),
            workloads: workloads.unwrap_or(defaults.workloads),
            pods: pods.unwrap_or(defaults.pods),
            pods_per_second: pods_per_second.or(defaults.pods_per_second),
        }
    }
}

/// Reads a file once, and whenever it changes.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    text: String,
    /// Addresses of istiods that the file need not name.
    istiods: Vec<(String, String)>,
    config: watch::Sender<Config>,
}

impl File {
    /// Reads the file for the first time: then it must be usable. These addresses of istiods count beside
    /// those that it names.
    pub async fn open(path: &Path, istiods: Vec<(String, String)>) -> Result<Self> {
        let text = read(path).await?;
        let config = Config::parse(&text)
            .with_context(|| format!("cannot use the configuration {}", path.display()))?;
        let config = watch::Sender::new(config.with_istiods(&istiods));
        Ok(Self { path: path.to_owned(), text, istiods, config })
    }

    /// What is in force.
    pub fn subscribe(&self) -> watch::Receiver<Config> {
        self.config.subscribe()
    }

    /// Follows the file for ever.
    pub async fn follow(mut self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match read(&self.path).await {
                Ok(text) if text == self.text => {}
                Ok(text) => self.take(text),
                Err(error) => warn!(%error, "the configuration stays as it was"),
            }
        }
    }

    fn take(&mut self, text: String) {
        match Config::parse(&text) {
            Ok(config) => {
                info!(path = %self.path.display(), ?config, "the configuration has changed");
                self.config.send_replace(config.with_istiods(&self.istiods));
            }
            Err(error) => warn!(
                path = %self.path.display(),
                error = format!("{error:#}"),
                "the configuration cannot be used and stays as it was"
            ),
        }
        // A file that cannot be used is complained of once, not at every look.
        self.text = text;
    }
}

async fn read(path: &Path) -> Result<String> {
    tokio::fs::read_to_string(path)
        .await
        .with_context(|| format!("cannot read the configuration {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_its_default() {
        let defaults = Budgets::default();
        for text in ["", "# nothing yet\n", "budgets: {}\n"] {
            assert_eq!(Config::parse(text).unwrap().budgets(), defaults, "{text:?}");
        }
        let some = Config::parse("budgets:\n  namespaces: 4\n  podsPerSecond: 7\n").unwrap();
        let expected = Budgets { namespaces: 4, pods_per_second: Some(7), ..defaults };
        assert_eq!(some.budgets(), expected);
    }

    #[test]
    fn freezes_are_read_with_an_offset_or_a_time_zone() {
        let text = "freezes:\n- {from: 2026-12-20T00:00:00Z, to: 2027-01-02 00:00 Europe/Berlin, \
                    reason: holidays}\n";
        let freezes = Config::parse(text).unwrap().freezes();
        let (from, to) = ("2026-12-20T00:00:00Z", "2027-01-01T23:00:00Z");
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(freezes, [Freeze { from, to, reason: "holidays".to_owned() }]);
    }

    #[test]
    fn what_is_unknown_or_makes_no_sense_is_refused_by_name() {
        for (text, word) in [
            ("budget: {}", "budget"),
            ("budgets:\n  namespace: 1", "namespace"),
            ("budgets:\n  pods: -1", "pods"),
            ("budgets:\n  pods: 0", "budgets.pods must be at least 1"),
            ("budgets:\n  pods: many", "many"),
            (
                "freezes:\n- {from: 2026-12-20, to: 2027-01-02T00:00:00Z, reason: x}",
                "`2026-12-20` is",
            ),
            ("freezes:\n- {from: 2026-12-20T00:00:00Z, reason: x}", "`to`"),
            (
                "freezes:\n- {from: 2026-12-20T00:00:00Z, to: 2026-12-20 01:00 Europe/Berlin, reason: x}",
                "freezes[0].from must be before its to",
            ),
            (
                "freezes:\n- {from: 2026-12-20T00:00:00Z, to: 2026-12-21T00:00:00Z, reason: ''}",
                "freezes[0].reason must say why",
            ),
            (
                "freezes:\n- {from: 2026-12-20T00:00:00Z, until: 2026-12-21T00:00:00Z, reason: x}",
                "until",
            ),
            (
                "checks:\n- {name: a}",
                "checks[0]: needs exactly one of http, prometheus, istiod and job",
            ),
            ("checks:\n- {name: '', http: {url: 'http://x'}}", "checks[0]: name must not be empty"),
            ("checks:\n- {name: a, http: {url: x}}", "`x` must begin with http:// or https://"),
            (
                "checks:\n- {name: a, http: {url: 'ftp://x'}}",
                "checks[0]: http.url: `ftp://x` must begin",
            ),
            ("checks:\n- {name: a, http: {url: 'http://x', every: 1s}}", "every"),
            ("checks:\n- {name: a, http: {url: 'http://x', timeout: soon}}", "`soon` is no time"),
            ("checks:\n- {name: a, http: {url: 'http://x', timeout: 0s}}", "`0s` must be more"),
            (
                "checks:\n- {name: a, prometheus: {url: 'http://x', query: up}}",
                "checks[0]: prometheus needs a threshold",
            ),
            (
                "checks:\n- {name: a, prometheus: {url: 'http://x', query: up, atMost: .nan}}",
                "thresholds must be numbers",
            ),
            (
                "checks:\n- {name: a, http: {url: 'http://x'}}\n- {name: a, http: {url: 'http://x'}}",
                "checks[1].name: `a` is named twice",
            ),
            ("checks:\n- {name: a, job: {spec: {}}}", "containers must name a container"),
            (
                "checks:\n- {name: a, job: {spec: {template: {spec: {containers: [{name: x}]}}}}}",
                "restartPolicy must be Never or OnFailure",
            ),
            ("istiods: {1-31: []}", "istiods.1-31 must name an address"),
            ("istiods: {1-31: [x]}", "istiods.1-31[0]: `x` must begin with http:// or https://"),
            ("istiods: {1-31: ['http://x?a']}", "must have neither path nor query"),
            ("istiods: {'': ['http://x']}", "istiods must name a revision"),
            ("- 1", "Config"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn checks_are_found_by_name_with_their_defaults() {
        let text = "checks:\n- {name: smoke, http: {url: 'https://x/healthz', timeout: 1m30s}}\n\
                    - {name: errors, prometheus: {url: 'http://p', query: up, atMostAboveBaseline: 0.1}}\n";
        let config = Config::parse(text).unwrap();
        let tries = config.check("smoke").unwrap().tries();
        let timeout = Duration::from_secs(90);
        assert_eq!(tries, Tries { timeout, retries: 2, interval: Duration::from_secs(5) });
        assert_eq!(config.measuring(), BTreeSet::from(["errors".to_owned()]));
        assert!(config.check("other").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_file_is_refused_and_the_old_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revshift.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        assert!(File::open(&path, Vec::new()).await.is_err());
        write("budgets:\n  pods: 0");
        assert!(File::open(&path, Vec::new()).await.is_err());
        write("budgets:\n  pods: 3");
        let flags = vec![("1-31".to_owned(), "http://x:15014".to_owned())];
        let file = File::open(&path, flags.clone()).await.unwrap();
        let mut config = file.subscribe();
        let following = tokio::spawn(file.follow());
        write("budgets:\n  pods: lots");
        write("budgets:\n  pods: 5");
        config.changed().await.unwrap();
        assert_eq!(config.borrow_and_update().budgets.pods, Some(5));
        assert_eq!(config.borrow().istiods["1-31"], ["http://x:15014"]);
        write("nonsense: 1");
        tokio::time::sleep(LOOK * 2).await;
        assert_eq!(config.borrow().budgets.pods, Some(5));
        following.abort();
    }
}
