//! Bundles: any bytes are a bundle that s2lab itself could have written, or are refused. An archive
//! that is not packed is one too, so that the fuzzer need not find checksums of gzip.

use s2lab::run::bundle::{Bundle, Contents};

pub(crate) fn open(data: &[u8]) {
    check(Bundle::of(data));
    check(Bundle::of_archive(data.to_vec()));
}

fn check(bundle: Result<Bundle, impl std::fmt::Display>) {
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(why) => return shown(&why.to_string()),
    };
    let mut again = Contents::default();
    for name in bundle.names() {
        shown(name);
        let bytes = bundle.get(name).map(<[u8]>::to_vec);
        assert!(again.add(name, bytes.unwrap_or_default()).is_ok(), "{name}");
    }
    assert_eq!(again.count(), bundle.names().count());
    assert!(again.archive().is_ok_and(|archive| archive == bundle.archive()), "one form");
}

/// Checks that the text can be shown on a terminal.
fn shown(text: &str) {
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// A seed that is refused at its first byte shows a fuzzer nothing. Each is a bundle of a run
    /// whose log is a seed of `log`: `s2lab bundle DIR`, or that, unpacked by `gunzip`.
    #[test]
    fn seeds_are_bundles() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/bundle");
        for seed in fs::read_dir(folder).unwrap() {
            let path = seed.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let bundle = Bundle::of(&bytes).or_else(|_| Bundle::of_archive(bytes));
            assert!(bundle.is_ok_and(|bundle| bundle.get("events.jsonl").is_some()), "{}", path.display());
        }
    }
}
