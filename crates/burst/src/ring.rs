//! io_uring: a list of calls that the kernel carries out in one go.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use bytes::Bytes;
use io_uring::{
    IoUring,
    opcode::SendMsg,
    types::{Fd, SubmitArgs, Timespec},
};

/// A submission queue and a completion queue. Both are empty between two calls of [`send`](Self::send), until one fails.
pub(crate) struct Ring {
    uring: IoUring,
    width: usize,
    /// What the kernel is to do in tests.
    #[cfg(test)]
    pub(crate) trouble: Option<Trouble>,
}

impl Ring {
    /// Fails where the kernel is older than Linux 5.12 or io_uring is forbidden, as by many containers.
    pub(crate) fn new(width: u16) -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().build(u32::from(width))?;
        let features = uring.params();
        // What is relied upon: the list of slices is copied when a call is taken in, completions are never dropped, waiting
        // has an end, and whatever works for us in the kernel counts as ours.
        if !features.is_feature_submit_stable()
            || !features.is_feature_nodrop()
            || !features.is_feature_ext_arg()
            || !features.is_feature_native_workers()
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            width: features.sq_entries() as usize,
            uring,
            #[cfg(test)]
            trouble: None,
        })
    }

    /// Appends what came of each socket to `sent`. After an error the ring is not to be used again, and sockets that
    /// `sent` does not reach have been sent nothing.
    pub(crate) fn send(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        slices: &[Bytes],
        sent: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        for sockets in sockets.chunks(self.width) {
            let first = sent.len();
            sent.extend(sockets.iter().map(|_| Err(io::ErrorKind::Interrupted.into())));
            let Err(error) = self.send_once(sockets, slices, &mut sent[first..]) else { continue };
            // The kernel takes calls in from the front.
            let taken_in = sockets.len().saturating_sub(self.uring.submission().len());
            sent.truncate(first + taken_in);
            if sent[first..].iter().any(is_unfinished) {
                // Nobody knows for how long the kernel will read them.
                std::mem::forget(slices.to_vec());
            }
            return Err(error);
        }
        Ok(())
    }

    fn send_once(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        slices: &[Bytes],
        sent: &mut [io::Result<usize>],
    ) -> io::Result<()> {
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
            pushed.map_err(io::Error::other)?;
        }
        drop(queue);
        let mut unfinished = sockets.len();
        for _ in 0..TRIES {
            let submitted = self.submit(unfinished);
            for done in self.uring.completion() {
                if let Some(sent) = sent.get_mut(done.user_data() as usize) {
                    let result = done.result();
                    *sent = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                    unfinished -= 1;
                }
            }
            match submitted {
                _ if unfinished == 0 => return Ok(()),
                Ok(_) => {}
                // A signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Nothing of it waits, so all is done when the kernel has taken it in. Should a kernel think otherwise, a lane full of
    /// relays does not wait for it.
    fn submit(&mut self, unfinished: usize) -> io::Result<usize> {
        #[cfg(test)]
        match &mut self.trouble {
            Some(Trouble::Refuses(0)) => return Err(io::Error::from_raw_os_error(libc::EPERM)),
            Some(Trouble::Refuses(calls)) => *calls -= 1,
            Some(Trouble::LosesTrack) => {
                self.uring.submit_and_wait(unfinished)?;
                self.uring.completion().for_each(drop);
                return Err(io::Error::from_raw_os_error(libc::ETIME));
            }
            None => {}
        }
        let limit = Timespec::from(LIMIT);
        self.uring.submitter().submit_with_args(unfinished, &SubmitArgs::new().timespec(&limit))
    }
}

fn is_unfinished(sent: &io::Result<usize>) -> bool {
    sent.as_ref().is_err_and(|error| error.raw_os_error().is_none())
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

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("width", &self.width).finish_non_exhaustive()
    }
}

/// What cannot be had from a kernel on demand.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It refuses every call after so many.
    Refuses(u32),
    /// It sends, and does not say so.
    LosesTrack,
}

const FLAGS: u32 = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
/// Far beyond what a list of calls takes. A kernel that has taken some in before it waits is asked once more.
const LIMIT: Duration = Duration::from_millis(500);
/// More than the signals that can come meanwhile.
const TRIES: u32 = 10;
