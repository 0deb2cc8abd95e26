//! What a plan of a retirement stands for.

use super::{Subject, Terms};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The hash of what is retired and on which terms. What uses the plane is not part of it: while anything
/// does, nothing is accepted.
pub fn plan_hash(plane: &Subject, terms: &Terms) -> String {
    let Subject { revision, source, name, namespace, uid } = plane;
    let window = terms.rollback_window.as_millis();
    let mut text = format!("1\n{revision}\n{source:?}\n{namespace}\n{name}\n{uid}\n{window}\n");
    for allowance in &terms.allowed {
        let _ = writeln!(text, "{} {:?}", allowance.code.as_str(), allowance.reason);
    }
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
