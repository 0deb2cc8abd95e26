//! Times that cannot be read. Whoever may write an object can put one beyond the year 9998 into it; the API
//! server keeps it, and no list and no event that has it could be decoded. It is read as of another year.

use bytes::Bytes;

/// Replaces years that are too late; a leap year, so that every day of theirs exists.
const LATE: &[u8] = b"9996";
/// Replaces years before the first one.
const EARLY: &[u8] = b"0000";
/// What follows the year of a time in JSON; `0` stands for any digit.
const REST: &[u8] = b"-00-00T00:00:00";
/// A year has no more digits.
const MOST_DIGITS: usize = 20;

/// Mends the times of a body that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Years {
    /// The end of the piece before, where a time may have begun.
    held: Vec<u8>,
}

/// What a text is that begins with a quote.
#[derive(Debug, PartialEq, Eq)]
enum Grade {
    /// Nothing to mend.
    Fine,
    /// It ends too early to tell.
    Open,
    /// A time; its year, with its sign, has so many bytes, and is replaced.
    Unreadable(usize, &'static [u8]),
}

impl Years {
    /// The next piece, mended; what may go on in the piece after it is held back.
    pub(super) fn mend(&mut self, piece: Bytes) -> Bytes {
        let text = if self.held.is_empty() {
            piece
        } else {
            let mut text = std::mem::take(&mut self.held);
            text.extend_from_slice(&piece);
            Bytes::from(text)
        };
        let (mut mended, mut copied, mut at, mut end) = (Vec::new(), 0, 0, text.len());
        while let Some(quote) = text[at..].iter().position(|byte| *byte == b'"') {
            let quote = at + quote;
            at = quote + 1;
            match grade(&text[quote..]) {
                Grade::Fine => {}
                Grade::Open => {
                    self.held = text[quote..].to_vec();
                    end = quote;
                    break;
                }
                Grade::Unreadable(length, by) => {
                    mended.extend_from_slice(&text[copied..at]);
                    mended.extend_from_slice(by);
                    at += length;
                    copied = at;
                }
            }
        }
        if copied == 0 {
            return text.slice(..end);
        }
        mended.extend_from_slice(&text[copied..end]);
        Bytes::from(mended)
    }

    /// What is held back when no piece follows.
    pub(super) fn rest(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}

fn grade(text: &[u8]) -> Grade {
    let sign = usize::from(text.get(1) == Some(&b'-'));
    let year = &text[(1 + sign).min(text.len())..];
    let digits = year.iter().take(MOST_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = year[digits..].iter();
    if digits == 0 && rest.len() > 0 {
        return Grade::Fine;
    }
    for expected in REST {
        let is = |byte: &u8| {
            if *expected == b'0' { byte.is_ascii_digit() } else { byte == expected }
        };
        match rest.next() {
            Some(byte) if is(byte) => {}
            Some(_) => return Grade::Fine,
            None => return Grade::Open,
        }
    }
    match &year[..digits] {
        _ if sign > 0 => Grade::Unreadable(sign + digits, EARLY),
        // The last day of this one is beyond what can be read already.
        b"9999" => Grade::Unreadable(digits, LATE),
        year if year.len() > 4 => Grade::Unreadable(digits, LATE),
        _ => Grade::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        let mut years = Years::default();
        let mut all = years.mend(Bytes::from(text.to_owned())).to_vec();
        all.extend_from_slice(&years.rest());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn times_that_cannot_be_read_get_another_year() {
        for (text, expected) in [
            (r#"{"time":"10000-02-29T13:59:59Z"}"#, r#"{"time":"9996-02-29T13:59:59Z"}"#),
            (r#"["9999-12-31T23:59:59Z"]"#, r#"["9996-12-31T23:59:59Z"]"#),
            (r#"["-001-12-31T10:00:00Z","x"]"#, r#"["0000-12-31T10:00:00Z","x"]"#),
            (
                r#"["10000-01-01T00:00:00Z","123456-01-01T00:00:00Z"]"#,
                r#"["9996-01-01T00:00:00Z","9996-01-01T00:00:00Z"]"#,
            ),
            (
                r#"["2026-11-29T08:00:00Z","9998-12-31T00:00:00Z","100m","10000","-1","10000-01"]"#,
                "",
            ),
            (r#"{"a":"12345678901234567890123-01-01T","b":"\"10000-01"}"#, ""),
            (r#"["10000-01-01Thursday","9999-12-31T2","9999-12-31T23:59"]"#, ""),
            ("\"", ""),
            ("\"1", ""),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(whole(text), expected);
            for cut in 0..=text.len() {
                let (one, other) = text.split_at(cut);
                let mut years = Years::default();
                let mut all = years.mend(Bytes::from(one.to_owned())).to_vec();
                all.extend_from_slice(&years.mend(Bytes::from(other.to_owned())));
                all.extend_from_slice(&years.rest());
                assert_eq!(String::from_utf8(all).unwrap(), expected, "{one} | {other}");
            }
        }
    }

    #[test]
    fn what_is_mended_can_be_read() {
        for text in ["10000-02-29T13:59:59Z", "9999-12-31T23:59:59Z", "-001-02-28T10:00:00Z"] {
            assert!(text.parse::<jiff::Timestamp>().is_err(), "{text}");
            let mended = whole(&format!("\"{text}\""));
            assert!(mended.trim_matches('"').parse::<jiff::Timestamp>().is_ok(), "{mended}");
        }
    }
}
