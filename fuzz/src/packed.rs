//! Packed files: any bytes unpack to something that has the kind's limit, or not at all.

use s2lab_os::outside::{
    Kind, kinds,
    packed::{Packing, unpacked},
};

/// The limit of what is unpacked.
const KIND: Kind = Kind { limit: 64 << 10, ..kinds::PATCHES };
/// The most members.
const MOST: usize = 4;

pub(crate) fn members(data: &[u8]) {
    let packing = Packing::of(data);
    match unpacked(data.to_vec(), KIND, MOST) {
        Ok(plain) if packing.is_none() => assert_eq!(plain, data),
        Ok(plain) => assert!(plain.len() as u64 <= KIND.limit, "{}", plain.len()),
        Err(why) => {
            assert!(packing.is_some(), "{why}");
            drop(why.to_string());
        }
    }
    if let Some(Ok(member)) = packing.map(|packing| packing.member(data, KIND)) {
        assert!(member.plain.len() as u64 <= KIND.limit && member.rest.len() < data.len());
        assert!(data.ends_with(member.rest));
    }
}
