//! Memory that is free again, and that the allocator has kept. Owns the one call that no library makes safe; never decides
//! when it is time.

/// Gives what is free back to the system: malloc_trim(3). After a flood that is most of what the server has.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time and by any thread, and touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do it by themselves, or cannot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
