// SPDX-License-Identifier: GPL-2.0

//! The mistakes of `mishap_main.c` that it takes Rust to make.

/// Reads a byte, whatever it is.
///
/// # Safety
///
/// None where the memory was freed: that is what KASAN is to see.
#[no_mangle]
pub unsafe extern "C" fn mishap_rust_read(p: *const u8) -> u8 {
    // SAFETY: None, as said above. The address is one that the kernel maps.
    unsafe { p.read_volatile() }
}

/// Panics if there is an overflow and that is looked for.
#[no_mangle]
pub extern "C" fn mishap_rust_add(a: u32, b: u32) -> u32 {
    a + b
}

/// Panics if `a` is odd and debug assertions are on.
#[no_mangle]
pub extern "C" fn mishap_rust_half(a: u32) -> u32 {
    debug_assert!(a % 2 == 0, "an odd number");
    a / 2
}
