//! Series of patches: any text is a mailbox with patches, or none with a reason.

use s2lab_cache::series::{Series, Unusable};

pub(crate) fn mailbox(data: &[u8]) {
    check(&Series::of_mailbox(data, "x.mbox"));
    check(&Series::of_part(data, "x.patch"));
}

fn check(series: &Result<Series, Unusable>) {
    let series = match series {
        Ok(series) => series,
        Err(why) => return drop(why.to_string()),
    };
    assert!(!series.patches.is_empty());
    for patch in &series.patches {
        // git gets each of them as a file, and a terminal each title.
        assert!(patch.diff.ends_with(b"\n"), "{patch:?}");
        assert!(!patch.title.contains(char::is_control), "{patch:?}");
    }
    assert_eq!(series.digest(), series.clone().digest());
}
