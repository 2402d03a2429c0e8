//! SHA-256, in hexadecimal.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Takes bytes, and ends in 64 hexadecimal digits.
#[derive(Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> String {
        HEXLOWER.encode(&self.0.finalize())
    }
}

/// Returns the digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Returns true if a digest has this form.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        // `printf content | sha256sum`
        let known = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
        let mut hasher = Hasher::default();
        [&b"con"[..], b"", b"tent"].iter().for_each(|piece| hasher.update(piece));
        assert_eq!((hasher.finish().as_str(), digest(b"content").as_str()), (known, known));
        assert!(is_digest(known) && !is_digest(&known[1..]) && !is_digest(&known.replace('e', "g")));
    }
}
