//! What label files write in more than one way, read alike by every reader of them.

/// Whether a flag is set: a number above 0 (`1`, `1.0`) or the word `true` in any case, with blanks around it or not.
///
/// ```
/// use effdet_core::label_text::is_set;
///
/// assert!(is_set("1.0") && is_set("True"));
/// assert!(!is_set("0") && !is_set("-1") && !is_set("no"));
/// ```
pub fn is_set(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("true") || text.parse::<f64>().is_ok_and(|number| number > 0.0)
}

/// The name before the flag (`-1`, `0` or `1`) of a line of Pascal VOC's lists per class; `None` for a line without one.
///
/// A name may itself end so, after a blank: whoever knows the names has to ask for the whole line first.
///
/// ```
/// use effdet_core::label_text::before_flag;
///
/// assert_eq!(before_flag("000012 -1"), Some("000012"));
/// assert_eq!(before_flag("my picture"), None);
/// ```
pub fn before_flag(line: &str) -> Option<&str> {
    let (name, flag) = line.trim().rsplit_once(char::is_whitespace)?;
    matches!(flag, "-1" | "0" | "1").then(|| name.trim_end())
}

/// What Python writes for numbers that are not finite, and reads; JSON has no such thing.
const NON_FINITE: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// The JSON with the `NaN` and `Infinity` that Python writes replaced by null, if there are any outside of strings.
pub fn without_non_finite(json: &[u8]) -> Option<Vec<u8>> {
    let mut clean = Vec::with_capacity(json.len());
    let (mut rest, mut in_string, mut found) = (json, false, false);
    while let Some((&byte, tail)) = rest.split_first() {
        if in_string {
            clean.push(byte);
            rest = tail;
            if byte == b'\\' {
                if let Some((&escaped, tail)) = rest.split_first() {
                    clean.push(escaped);
                    rest = tail;
                }
            } else if byte == b'"' {
                in_string = false;
            }
            continue;
        }
        if let Some(token) = NON_FINITE.into_iter().find(|token| rest.starts_with(token)) {
            clean.extend_from_slice(b"null");
            rest = &rest[token.len()..];
            found = true;
            continue;
        }
        in_string = byte == b'"';
        clean.push(byte);
        rest = tail;
    }
    found.then_some(clean)
}

/// Whether a piece of JSON may break off inside of a `NaN` or `Infinity`, or holds one outside of strings: what follows
/// it decides whether [`without_non_finite`] makes JSON of it.
pub fn may_hold_non_finite(piece: &[u8]) -> bool {
    let is_cut = |token: &[u8]| (1..token.len()).any(|length| piece.ends_with(&token[..length]));
    NON_FINITE.into_iter().any(is_cut) || without_non_finite(piece).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_set_by_positive_numbers_and_the_word_true() {
        for text in ["1", "1.0", "2", "0.5", "true", "True", "TRUE", " 1 ", "\ttrue\n"] {
            assert!(is_set(text), "{text:?}");
        }
        for text in ["", " ", "0", "0.0", "-1", "-0", "false", "False", "no", "nan", "1 1", "trueish"] {
            assert!(!is_set(text), "{text:?}");
        }
    }

    #[test]
    fn only_a_flag_behind_a_blank_is_taken_from_a_name() {
        for (line, name) in [
            ("000012  1", Some("000012")),
            (" 000012 -1 ", Some("000012")),
            ("my picture\t0", Some("my picture")),
            ("picture 2", None),
            ("my picture", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(before_flag(line), name, "{line:?}");
        }
    }

    #[test]
    fn what_python_writes_becomes_null_and_strings_stay() {
        let clean =
            |json: &str| without_non_finite(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
        let json = r#"{"NaN\"": [NaN, 1, -Infinity], "s": "Infinity \\", "x": Infinity}"#;
        let expected = r#"{"NaN\"": [null, 1, null], "s": "Infinity \\", "x": null}"#;
        assert_eq!(clean(json).as_deref(), Some(expected));
        for json in ["{}", r#"{"a": "NaN"}"#, r#"{"a": "\"NaN"}"#, ""] {
            assert_eq!(clean(json), None, "{json}");
        }
        for piece in [r#"{"a": Na"#, r#"{"a": -In"#, r#"{"a": NaN, "b""#] {
            assert!(may_hold_non_finite(piece.as_bytes()), "{piece}");
        }
        for piece in [r#"{"a": 1,"#, r#"{"a": x"#, ""] {
            assert!(!may_hold_non_finite(piece.as_bytes()), "{piece}");
        }
    }
}
