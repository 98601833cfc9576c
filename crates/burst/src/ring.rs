//! io_uring: a list of calls that the kernel carries out in one go.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use bytes::Bytes;
use io_uring::{IoUring, opcode::SendMsg, types::Fd};

/// A submission queue and a completion queue. Both are empty between two calls of [`send`](Self::send).
pub(crate) struct Ring {
    uring: IoUring,
    width: usize,
}

impl Ring {
    /// Fails where the kernel is older than Linux 5.12 or io_uring is forbidden, as by many containers.
    pub(crate) fn new(width: u16) -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().build(u32::from(width))?;
        let features = uring.params();
        // What is relied upon: the list of slices is copied when a call is taken in, completions are never dropped, and
        // whatever works for us in the kernel counts as ours.
        if !features.is_feature_submit_stable()
            || !features.is_feature_nodrop()
            || !features.is_feature_native_workers()
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { width: features.sq_entries() as usize, uring })
    }

    /// Appends what came of each socket to `sent`. False if the ring is broken: it is not to be used again.
    pub(crate) fn send(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        slices: &[Bytes],
        sent: &mut Vec<io::Result<usize>>,
    ) -> bool {
        for sockets in sockets.chunks(self.width) {
            let first = sent.len();
            sent.extend(sockets.iter().map(|_| Err(io::ErrorKind::Interrupted.into())));
            if let Err(unfinished) = self.send_once(sockets, slices, &mut sent[first..]) {
                if unfinished {
                    // Nobody knows for how long the kernel will read them.
                    std::mem::forget(slices.to_vec());
                }
                return false;
            }
        }
        true
    }

    /// An error says whether the kernel may still read the slices.
    fn send_once(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        slices: &[Bytes],
        sent: &mut [io::Result<usize>],
    ) -> Result<(), bool> {
        let mut list: Vec<_> = slices
            .iter()
            .map(|slice| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() })
            .collect();
        let message = message(&mut list);
        let mut queue = self.uring.submission();
        for (number, socket) in sockets.iter().enumerate() {
            let call = SendMsg::new(Fd(socket.as_raw_fd()), &raw const message).flags(FLAGS).build();
            // SAFETY: `message` and `list` live until this function returns, and the kernel copies them before that, when
            // it takes the call in (IORING_FEAT_SUBMIT_STABLE); calls that it does not take in are never seen by it: the
            // ring is dropped. The bytes are borrowed until all calls are complete, or else are never freed. They are
            // only read. The socket is borrowed until the kernel holds a reference of its own.
            #[expect(unsafe_code, reason = "the queue cannot know how long its entries' pointers live")]
            let pushed = unsafe { queue.push(&call.user_data(number as u64)) };
            if pushed.is_err() {
                debug_assert!(false, "the queue has room for every socket and was empty");
                return Err(false);
            }
        }
        drop(queue);
        let mut unfinished = sockets.len();
        let mut tries = 0;
        loop {
            let submitted = self.uring.submit_and_wait(unfinished);
            for done in self.uring.completion() {
                if let Some(sent) = sent.get_mut(done.user_data() as usize) {
                    let result = done.result();
                    *sent = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                    unfinished -= 1;
                }
            }
            if unfinished == 0 {
                return Ok(());
            }
            // Signals, and moments without memory, pass. A kernel that does not go on is not waited for.
            tries += 1;
            if tries == TRIES || submitted.is_err_and(|error| !is_passing(&error)) {
                return Err(true);
            }
        }
    }
}

/// What each call is to send.
fn message(list: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: the kernel's structure: null pointers and zero lengths are its empty value.
    #[expect(unsafe_code, reason = "some C libraries pad the structure with fields that have no name")]
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = ptr::null_mut();
    message.msg_iov = list.as_mut_ptr();
    message.msg_iovlen = list.len() as _;
    message
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("width", &self.width).finish_non_exhaustive()
    }
}

const FLAGS: u32 = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
/// Calls that do not wait end within the one that submits them; more than a few tries mean trouble.
const TRIES: u32 = 100;
