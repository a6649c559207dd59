//! Free memory that the allocator still holds. Owns the one call that no library makes safe; never decides when to use it.

/// Returns free memory to the system: malloc_trim(3). After a flood that is most of the server's memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn return_to_system() {
    // SAFETY: malloc_trim may be called at any time by any thread, and does not touch memory that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: other allocators return memory by themselves, or cannot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_to_system() {}
