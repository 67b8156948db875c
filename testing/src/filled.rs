//! Numbers that anybody can repeat, in Python and here.

/// `mixed(number, count)` of the fixtures' section `models`: any 32 bits.
pub fn mixed(number: u32, count: usize) -> Vec<u32> {
    let start = number.wrapping_mul(0x9E37_79B1);
    let mix = |at: usize| {
        let mut x = u32::try_from(at).unwrap().wrapping_add(start);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85EB_CA6B);
        x ^= x >> 13;
        x = x.wrapping_mul(0xC2B2_AE35);
        x ^ (x >> 16)
    };
    (0..count).map(mix).collect()
}

/// `filled(shape, number)` of the fixtures' section `models`, as a flat list: numbers from -1 to 1.
#[allow(clippy::cast_precision_loss, reason = "24 bits are left")]
pub fn filled(count: usize, number: u32) -> Vec<f32> {
    mixed(number, count).into_iter().map(|x| (x >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}
