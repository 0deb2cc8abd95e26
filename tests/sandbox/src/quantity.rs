//! Quantities of resources, such as `100m`, `1.5` and `128Mi`.

use serde_json::Value;

/// A quantity in thousandths, which is as fine as quotas count.
pub(crate) fn parse(value: &Value) -> Option<i128> {
    let owned;
    let text = if let Some(text) = value.as_str() {
        text
    } else {
        owned = value.as_number()?.to_string();
        &owned
    };
    let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+' | '-'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = u32::try_from(fraction.len()).ok()?;
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(value.checked_mul(factor)? / 10_i128.checked_pow(digits)?)
}

/// The shortest form that Kubernetes gives, with the suffixes of the resource.
pub(crate) fn show(resource: &str, thousandths: i128) -> String {
    if thousandths % 1_000 != 0 {
        return format!("{thousandths}m");
    }
    let whole = thousandths / 1_000;
    let binary = resource.ends_with("memory") || resource.ends_with("storage");
    if binary && whole != 0 {
        for (suffix, shift) in [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
            if whole % (1 << shift) == 0 {
                return format!("{}{suffix}", whole >> shift);
            }
        }
    }
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_and_shown() {
        for (given, resource, shown) in [
            (json!("100m"), "cpu", "100m"),
            (json!("1.5"), "requests.cpu", "1500m"),
            (json!("2000m"), "cpu", "2"),
            (json!(3), "pods", "3"),
            (json!("128Mi"), "memory", "128Mi"),
            (json!("1024Mi"), "requests.memory", "1Gi"),
            (json!("1k"), "memory", "1000"),
            (json!("0"), "limits.memory", "0"),
        ] {
            assert_eq!(show(resource, parse(&given).unwrap()), shown, "{given}");
        }
        for nonsense in [json!("a"), json!("1x"), json!(""), json!(null), json!("1.2.3")] {
            assert_eq!(parse(&nonsense), None, "{nonsense}");
        }
    }
}
