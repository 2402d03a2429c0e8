//! Artifacts of the command line: a file at an address, with the digest of its content.

use std::fmt;

/// The schemes that s2lab fetches files by.
const SCHEMES: [&str; 2] = ["http", "https"];
/// The beginning of the fragment.
const SHA256: &str = "sha256=";
/// The digits of a SHA-256.
const DIGITS: usize = 64;
/// The longest address, in characters.
const LONGEST: usize = 2000;

/// A file at an address. Only the content with this digest is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub url: String,
    /// The digits are lower-case hexadecimal.
    pub sha256: String,
}

impl Artifact {
    /// Reads `URL#sha256=DIGEST`. Returns None for a text that is not a URL, such as a path.
    ///
    /// # Errors
    /// Returns the defect as the end of a sentence about the argument.
    pub fn parse(text: &str) -> Option<Result<Self, &'static str>> {
        let (scheme, _) = text.split_once("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let is_url = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme);
        is_url.then(|| Self::of_url(text))
    }

    fn of_url(text: &str) -> Result<Self, &'static str> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        match () {
            () if !SCHEMES.contains(&scheme) => return Err("is not fetched by http or https"),
            () if host.is_empty() => return Err("names no host"),
            () if host.contains('@') => return Err("has a user in it, which reports would show"),
            () if text.len() > LONGEST => return Err("has more than 2000 characters"),
            () if !url.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err("has a space or a character beyond ASCII, which must be written with %");
            }
            () => {}
        }
        let digest = fragment.strip_prefix(SHA256).ok_or("has no digest")?.to_ascii_lowercase();
        match digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(Self { url: url.to_owned(), sha256: digest }),
            false => Err("has a digest that is not 64 hexadecimal digits"),
        }
    }

    /// Returns the last part of the address's path.
    pub fn name(&self) -> &str {
        let path = self.url.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{SHA256}{}", self.url, self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        let parse = |text: &str| Artifact::parse(&text.replace("DIGEST", &digest));
        let good = parse("https://example.org/a/Image.gz?x=1#sha256=DIGEST").unwrap().unwrap();
        assert_eq!((good.name(), &*good.sha256), ("Image.gz", &*digest));
        assert_eq!(good.url, "https://example.org/a/Image.gz?x=1");
        assert_eq!(Artifact::parse(&good.to_string()), Some(Ok(good)));
        let upper = Artifact::parse(&format!("http://h/Image#sha256={}", digest.to_uppercase()));
        assert_eq!(upper.unwrap().unwrap().sha256, digest);
        for path in ["out/Image", "./http:/x", "Image", "tree:http://x", "://x", "a b://x"] {
            assert_eq!(parse(path), None, "{path}");
        }
        for (url, why) in [
            ("http://h/Image", "has no digest"),
            ("http://h/Image#md5=1", "has no digest"),
            ("http://h/Image#sha256=12", "64 hexadecimal"),
            ("http://h/Image#sha256=DIGEST0", "64 hexadecimal"),
            ("ftp://h/Image#sha256=DIGEST", "not fetched"),
            ("file:///etc/passwd#sha256=DIGEST", "not fetched"),
            ("HTTP://h/Image#sha256=DIGEST", "not fetched"),
            ("http:///Image#sha256=DIGEST", "no host"),
            ("http://me:word@h/Image#sha256=DIGEST", "a user"),
            ("http://h/a b#sha256=DIGEST", "a space"),
            ("http://h/\u{e9}#sha256=DIGEST", "beyond ASCII"),
        ] {
            let error = parse(url).unwrap().unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
        let long = format!("http://h/{}#sha256={digest}", "x".repeat(LONGEST));
        assert!(Artifact::parse(&long).unwrap().unwrap_err().contains("2000"));
    }
}
