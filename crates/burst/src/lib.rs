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

/// Whether many sockets can share a call here.
pub fn is_available() -> bool {
    #[cfg(target_os = "linux")]
    return Ring::new(1).is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// Sends to many sockets at once.
///
/// Nothing waits: a socket that is full takes what it has room for, or nothing. No call is in progress between two
/// [`send`](Self::send)s, and none outlives one.
#[derive(Debug)]
pub struct Burst {
    calls: Calls,
    trouble: Option<io::Error>,
    sent: Vec<io::Result<usize>>,
}

#[derive(Debug)]
enum Calls {
    /// Shared by so many sockets each, once there is more than one to send to. That takes a file descriptor and some
    /// 20 KiB of the kernel's memory.
    #[cfg(target_os = "linux")]
    ToBeShared(u16),
    #[cfg(target_os = "linux")]
    Shared(Box<Ring>),
    OneByOne,
}

impl Burst {
    /// With io_uring where the kernel lets us, for `width` sockets per system call.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there is no io_uring"))]
    pub fn new(width: u16) -> Self {
        #[cfg(target_os = "linux")]
        let calls = Calls::ToBeShared(width);
        #[cfg(not(target_os = "linux"))]
        let calls = Calls::OneByOne;
        Self { calls, trouble: None, sent: Vec::new() }
    }

    /// With a call per socket.
    pub fn one_by_one() -> Self {
        Self { calls: Calls::OneByOne, trouble: None, sent: Vec::new() }
    }

    /// Why each socket has a call of its own from now on; told once.
    pub fn take_trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Sends `slices`, one after the other, to each of the sockets. The answer tells, for each of them in order, how many
    /// bytes it took: maybe not all. `WouldBlock` means none, since it is full.
    ///
    /// Should the kernel break off in the middle, sockets whose bytes may or may not have left get an error. The others,
    /// and all from then on, have a call each.
    pub fn send(&mut self, sockets: &[BorrowedFd<'_>], slices: &[Bytes]) -> Drain<'_, io::Result<usize>> {
        self.sent.clear();
        #[cfg(target_os = "linux")]
        self.send_shared(sockets, slices);
        let rest = &sockets[self.sent.len()..];
        if !rest.is_empty() {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let send = |socket| SockRef::from(socket).send_vectored_with_flags(&slices, flags());
            self.sent.extend(rest.iter().map(send));
        }
        self.sent.drain(..)
    }

    /// As far as it goes.
    #[cfg(target_os = "linux")]
    fn send_shared(&mut self, sockets: &[BorrowedFd<'_>], slices: &[Bytes]) {
        // Whatever ends this early, a panic too, the ring is not used again.
        let mut ring = match std::mem::replace(&mut self.calls, Calls::OneByOne) {
            Calls::ToBeShared(width) if sockets.len() > 1 => match Ring::new(width) {
                Ok(ring) => Box::new(ring),
                Err(error) => return self.trouble = Some(error),
            },
            Calls::Shared(ring) => ring,
            calls => return self.calls = calls,
        };
        match ring.send(sockets, slices, &mut self.sent) {
            Ok(()) => self.calls = Calls::Shared(ring),
            Err(error) => self.trouble = Some(error),
        }
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
