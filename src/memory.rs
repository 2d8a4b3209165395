//! The allocator's one setting: large buffers go back to the system when they are freed.

/// From this size on a buffer has pages of its own. Larger than what librdkafka fetches at once, so
/// that only batches and long records pay for theirs.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES_BYTES_MIN: i32 = 1024 * 1024;

/// Keeps what a batch has needed from staying with the process.
///
/// By itself glibc keeps freed buffers of up to 32 MiB for the next ones, which seldom fit into the
/// gaps: with records of 5 MiB that was as much memory again as is in use.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator has no other way to be told")]
pub fn give_back_large_buffers() {
    // SAFETY: it changes a number of the allocator, under the allocator's own lock.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES_MIN) };
    if is_set == 0 {
        tracing::debug!("the allocator keeps large buffers");
    }
}

/// Does nothing where the allocator is another.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_large_buffers() {}
