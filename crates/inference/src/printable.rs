//! Texts that quote a file which nobody trusts.

/// Longest reason that is passed on, in bytes.
const MOST: usize = 500;

/// One line without control characters, cut where it is long.
pub fn printable(text: &str) -> String {
    let end = text.floor_char_boundary(MOST);
    let text = text[..end].trim();
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_one_printable_line() {
        assert_eq!(printable("x\u{1b}[31m\n\tfake\tready\n"), "x?[31m??fake?ready");
        assert_eq!(printable(&"é".repeat(300)).len(), 500);
    }
}
