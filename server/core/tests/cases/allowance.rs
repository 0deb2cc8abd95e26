//! Allowances as they are asked for.

use revshift_core::allowance;

#[test]
fn an_allowance_has_a_known_code_once_and_a_reason() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(code, why)| ((*code).to_owned(), (*why).to_owned())).collect();
        allowance::parse(&pairs)
    };
    assert_eq!(of(&[("RS2020", "so"), ("RS2013", "so")]).map(|it| it.len()), Ok(2));
    let long = "x".repeat(501);
    for (pairs, fields) in [
        (&[("RS9999", "so")][..], &["code"][..]),
        (&[("RS1003", "I want it")], &["code"]),
        (&[("RS1107", "so")], &["code"]),
        (&[("RS6026", "so")], &["code"]),
        (&[("RS2020", " ")], &["reason"]),
        (&[("RS2020", &*long)], &["reason"]),
        (&[("RS2020", "so"), ("RS2020", "so")], &["code"]),
    ] {
        let violations = of(pairs).unwrap_err();
        let told: Vec<&str> =
            violations.iter().filter_map(|it| it.field.rsplit('.').next()).collect();
        assert_eq!(told, fields, "{pairs:?}");
    }
}
