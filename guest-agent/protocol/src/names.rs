//! Names that a person gives to guests and devices, and that agents pass on; the words of keys; the
//! name of the agents' port.

/// The name of the virtio-serial port of every agent, in host and guest.
pub const AGENT_PORT: &str = "s2lab";
/// Longest name, characters.
pub const LONGEST_NAME: usize = 41;
/// [`is_name`] as a regular expression, for schemas.
pub const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9-]{0,40}$";

/// Returns true for a name that is safe on a command line and in QEMU's options: a-z, 0-9 and `-`,
/// not `-` first.
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && is_word(text, "-")
}

/// Returns true if `text` begins with one of a-z and 0-9, and has nothing but those and `others`.
pub fn is_word(text: &str, others: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(letter) && text.chars().all(|c| letter(c) || others.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_has_the_same_limit() {
        assert!(NAME_PATTERN.ends_with(&format!("{{0,{}}}$", LONGEST_NAME - 1)));
    }

    #[test]
    fn names() {
        for good in ["g0", "0", "a-b", &"x".repeat(LONGEST_NAME)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a b", "a,b", "ä", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
