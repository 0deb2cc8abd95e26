//! Opaque tokens: some text bound to its purpose.
//!
//! A token is no secret; the check only tells one that was issued here from one that was mangled
//! or issued for something else.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Hex digits of the check.
const CHECK: usize = 12;

/// The token for `content`, good for `purpose` only.
pub(crate) fn seal(purpose: &str, content: &str) -> String {
    check(purpose, content) + &hex(content.as_bytes())
}

/// The content of a token that was issued for `purpose`.
pub(crate) fn open(purpose: &str, token: &str) -> Option<String> {
    let (given, content) = token.split_at_checked(CHECK)?;
    let content = String::from_utf8(unhex(content)?).ok()?;
    (given == check(purpose, &content)).then_some(content)
}

fn check(purpose: &str, content: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(purpose.as_bytes());
    digest.update([0]);
    digest.update(content.as_bytes());
    let mut text = hex(&digest.finalize());
    text.truncate(CHECK);
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_for_its_own_purpose_only() {
        for content in ["", "1-31", "cp-v115x.istio-system", "ü"] {
            let token = seal("list", content);
            assert_eq!(open("list", &token).as_deref(), Some(content));
            assert_eq!(open("other", &token), None);
        }
    }

    #[test]
    fn a_mangled_token_does_not_open() {
        let token = seal("list", "shop");
        for mangled in ["", "x", "é", &token[1..], &token[..token.len() - 1], &format!("{token}00")]
        {
            assert_eq!(open("list", mangled), None, "{mangled}");
        }
    }
}
