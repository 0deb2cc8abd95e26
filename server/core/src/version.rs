//! Versions of Istio, as far as skew is concerned.

use std::fmt;

/// Major and minor version; patch levels do not matter for skew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

impl Minor {
    /// Reads `1.15.3`, `v1.27.0` or `1.31-alpha.abc`; none for anything else.
    pub fn of(version: &str) -> Option<Self> {
        let mut parts = version.trim_start_matches('v').split('.');
        let major = parts.next()?.parse().ok()?;
        let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
        Some(Self { major, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
