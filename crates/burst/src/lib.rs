//! The same bytes to many sockets with one system call.
//!
//! A relay's outputs send the same frame at the same moment. With a write call each, a fifth to a quarter of their cost
//! is the way into the kernel and out of it again; io_uring takes the whole list at once. Where the kernel has no
//! io_uring, or a sandbox forbids it, each socket gets a call of its own, and nothing else is different.

#[cfg(target_os = "linux")]
mod ring;

use std::{
    io::{self, IoSlice},
    os::fd::BorrowedFd,
    vec::Drain,
};

use bytes::Bytes;
use socket2::SockRef;

#[cfg(target_os = "linux")]
use self::ring::Ring;

/// Sends to many sockets at once.
///
/// Nothing waits: a socket that is full takes what it has room for, or nothing. No call is in progress between two
/// [`send`](Self::send)s, and none outlives one.
#[derive(Debug, Default)]
pub struct Burst {
    #[cfg(target_os = "linux")]
    ring: Option<Ring>,
    sent: Vec<io::Result<usize>>,
}

impl Burst {
    /// With io_uring where the kernel lets us, for `width` sockets per system call. It takes a file descriptor and some
    /// 20 KiB of the kernel's memory.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there is no io_uring"))]
    pub fn new(width: u16) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            ring: Ring::new(width).ok(),
            sent: Vec::new(),
        }
    }

    /// With a call per socket.
    pub fn one_by_one() -> Self {
        Self::default()
    }

    /// Whether many sockets share a call.
    pub fn is_shared(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.ring.is_some();
        #[cfg(not(target_os = "linux"))]
        return false;
    }

    /// Sends `slices`, one after the other, to each of the sockets. The answer tells, in the order of `sockets`, how
    /// many bytes each took: maybe not all. `WouldBlock` means none, since it is full.
    ///
    /// Should the kernel break off in the middle, sockets whose bytes may or may not have left get an error, and from
    /// then on each has its own call.
    pub fn send(&mut self, sockets: &[BorrowedFd<'_>], slices: &[Bytes]) -> Drain<'_, io::Result<usize>> {
        self.sent.clear();
        #[cfg(target_os = "linux")]
        if let Some(ring) = &mut self.ring
            && sockets.len() > 1
        {
            if !ring.send(sockets, slices, &mut self.sent) {
                self.ring = None;
            }
            return self.sent.drain(..);
        }
        let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        self.sent.extend(sockets.iter().map(|socket| SockRef::from(socket).send_vectored_with_flags(&slices, flags())));
        self.sent.drain(..)
    }
}

/// Never wait, and no signal when the peer is gone.
fn flags() -> i32 {
    #[cfg(target_os = "linux")]
    return libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // Such sockets are non-blocking, and do without the signal by an option of theirs.
    #[cfg(not(target_os = "linux"))]
    return 0;
}

#[cfg(test)]
mod tests;
