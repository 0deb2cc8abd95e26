//! The metrics of an istiod, in Prometheus' text format.

use std::collections::BTreeMap;

/// How often proxies have rejected what was sent, over all kinds.
const REJECTS: &str = "pilot_total_xds_rejects";
/// The same by kind and proxy; a proxy that rejects nothing any more stays there.
const REJECTING: [(&str, &str); 4] = [
    ("pilot_xds_cds_reject", "clusters"),
    ("pilot_xds_lds_reject", "listeners"),
    ("pilot_xds_rds_reject", "routes"),
    ("pilot_xds_eds_reject", "endpoints"),
];
/// What every istiod has, whether anything was rejected or not.
const ALWAYS: &str = "pilot_info";

/// How often proxies have rejected what an istiod had for them since it started.
pub(super) fn rejects(body: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(body).map_err(|error| format!("no metrics: {error}"))?;
    // A counter that has not counted anything yet is not told.
    let known = text.lines().any(|line| value(line, ALWAYS).is_some());
    let values = text.lines().filter_map(|line| value(line, REJECTS));
    let sum: f64 = values.sum();
    if !known && sum == 0.0 {
        return Err("it has no metrics as an istiod has".to_owned());
    }
    // A count has no parts, and none that matters is beyond the largest exact one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(sum.max(0.0) as u64)
}

/// The proxies, as `POD.NAMESPACE`, that have ever rejected something, and what of it first.
pub(super) fn rejecting(body: &[u8]) -> BTreeMap<String, &'static str> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let mut found = BTreeMap::new();
    for (name, kind) in REJECTING {
        let lines = text.lines().filter(|line| value(line, name).is_some_and(|value| value > 0.0));
        for node in lines.filter_map(|line| line.split_once("node=\"")?.1.split('"').next()) {
            found.entry(node.to_owned()).or_insert(kind);
        }
    }
    found
}

/// The value of a sample of `name`; none of any other line.
fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    // Values of labels may have any character but an unescaped quote; the last brace ends them.
    let rest = match rest.as_bytes().first()? {
        b'{' => rest.rsplit_once('}')?.1,
        b' ' | b'\t' => rest,
        _ => return None,
    };
    rest.split_ascii_whitespace().next()?.parse().ok()
}
