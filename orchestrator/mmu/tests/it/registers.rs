//! VTTBR_EL2, VTCR_EL2 and HCR_EL2.

use crate::builder::*;
use s2lab_mmu::{GeometryError, Granule, Stage2};

#[test]
fn geometry_as_kvm_chooses_it() {
    // Format, IPA bits, start level, concatenated tables.
    let cases = [
        (K4, 33, 2, 8),
        (K4, 36, 1, 1),
        (K4, 40, 1, 2),
        (K4, 43, 1, 16),
        (K4, 44, 0, 1),
        (K4, 48, 0, 1),
        (K4_LPA2, 40, 1, 2),
        (K4_LPA2, 48, 0, 1),
        (K4_LPA2, 52, 0, 16),
        (K16, 36, 2, 1),
        (K16, 40, 2, 16),
        (K16, 48, 1, 2),
        (K16_LPA2, 52, 0, 1),
        (K64, 40, 2, 1),
        (K64, 48, 1, 1),
        (K64_LPA, 52, 1, 1),
    ];
    for (format, ipa, level, tables) in cases {
        let (vtcr, ..) = kvm_vtcr(format, ipa);
        let s = Stage2::new(0x12_3400_0000 | 0x0042 << 48 | 1, vtcr, HCR)
            .unwrap_or_else(|e| panic!("{format:?} {ipa}: {e}"));
        let found = (s.ipa_bits(), s.start_level(), s.start_tables(), s.lpa2(), s.granule().size(), s.vmid());
        assert_eq!(found, (ipa, level, tables, format.ds, format.page, 0x42), "{format:?} {ipa}");
        assert_eq!(
            (s.base(), s.fwb(), s.pa_bits()),
            (0x12_3400_0000, false, if format.wide { 52 } else { 48 })
        );
    }
}

#[test]
fn sl2_starts_at_level_minus_one() {
    let vtcr = 12 | 6 << 16 | 1 << 32 | 1 << 33;
    let s = Stage2::new(0x1000, vtcr, HCR).unwrap();
    assert_eq!((s.start_level(), s.ipa_bits(), s.start_tables()), (-1, 52, 1));
    // Without DS the bit is RES0, and SL0 0 is level 2, too few for 48 bits.
    let e = Stage2::new(0x1000, 16 | 5 << 16 | 1 << 33, HCR).unwrap_err();
    assert_eq!(e, GeometryError::InputBits { bits: 48, granule: Granule::K4, min: 22, max: 34 });
    let e = Stage2::new(0x1000, 12 | 1 << 6 | 6 << 16 | 1 << 32 | 1 << 33, HCR).unwrap_err();
    assert_eq!(e.to_string(), "SL2 1, SL0 0b01 name no start level of 4K tables");
}

#[test]
fn what_is_no_stage_2_is_refused() {
    let (vtcr, ..) = kvm_vtcr(K4, 40);
    assert_eq!(Stage2::new(0x1000, vtcr, 1 << 46), Err(GeometryError::Stage2Off));
    assert_eq!(
        Stage2::new(0, vtcr | 3 << 14, HCR).unwrap_err().to_string(),
        "TG0 0b11 is a reserved granule"
    );
    for (format, sl0) in [(K16, 3), (K64, 3)] {
        let vtcr = 24 | sl0 << 6 | format.tg0() << 14;
        assert!(matches!(Stage2::new(0, vtcr, HCR), Err(GeometryError::StartLevel { .. })), "{format:?}");
    }
    // 40 bits from level 0 leave nothing to it to resolve but one bit; 39 not even that.
    assert!(Stage2::new(0, 24 | 2 << 6, HCR).is_ok());
    let e = Stage2::new(0, 25 | 2 << 6, HCR).unwrap_err();
    assert_eq!(e.to_string(), "39 address bits; 4K tables can have 40 to 48 here");
    // 43 bits from level 1 are 16 tables; 44 would be 32.
    assert!(Stage2::new(0, 21 | 1 << 6, HCR).is_ok());
    assert!(matches!(Stage2::new(0, 20 | 1 << 6, HCR), Err(GeometryError::InputBits { max: 43, .. })));
}

#[test]
fn registers_of_a_real_machine_are_read() {
    let (vtcr, ..) = kvm_vtcr(K4, 44);
    let s = Stage2::new(0xff01_0000_4567_8001, vtcr & !(1 << 19), HCR_FWB).unwrap();
    assert_eq!(
        (s.vmid(), s.vmid_bits(), s.base(), s.fwb()),
        (0x01, 8, 0x4567_8000, true),
        "VMIDs of 8 bits without VTCR_EL2.VS"
    );
    let s = Stage2::new(0xff01_0000_4567_8001, vtcr | 1 << 19, HCR_FWB).unwrap();
    assert_eq!((s.vmid(), s.vmid_bits()), (0xff01, 16));
}

#[test]
fn bits_that_a_format_has_not_are_not_read() {
    // DS is RES0 with 64K tables; PS of 52 bits means 48 without LPA2.
    let (vtcr, ..) = kvm_vtcr(K64, 40);
    assert!(!Stage2::new(0, vtcr | 1 << 32, HCR).unwrap().lpa2());
    let (vtcr, ..) = kvm_vtcr(K4, 40);
    let s = Stage2::new(0x4000_0000 | 0b1010 << 2, vtcr | 6 << 16, HCR).unwrap();
    assert_eq!((s.pa_bits(), s.base()), (48, 0x4000_0000));
}

#[test]
fn bits_51_to_48_of_a_base_are_bits_5_to_2() {
    let (vtcr, _, entries) = kvm_vtcr(K4_LPA2, 40);
    let s = Stage2::new(0x4000_0000 | 0b1010 << 2, vtcr, HCR).unwrap();
    assert_eq!(s.base(), 0xa << 48 | 0x4000_0000);
    let tables = Tables::new(K4_LPA2, s.start_level(), entries, s.base());
    assert_eq!(s.walk(&tables).anomalies, [], "not misaligned");
    let (vtcr, ..) = kvm_vtcr(K4, 40);
    assert_eq!(Stage2::new(0x4000_0000 | 0b1010 << 2, vtcr, HCR).unwrap().base(), 0x4000_0000);
}
