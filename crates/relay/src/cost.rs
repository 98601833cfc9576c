//! What it costs in memory to hold a tag, beside its bytes.

use std::collections::VecDeque;

use bytes::Bytes;

/// The least that the allocator hands out, and about what it adds to anything larger: its own header and the rounding up.
pub(crate) const ALLOCATION: usize = 32;

/// Bytes with an allocation of their own, and the count of their owners, which is another one as soon as there are two.
pub(crate) const fn of_bytes(len: usize) -> usize {
    len + 2 * ALLOCATION
}

/// A place in a queue, which doubles when it is full: up to half of its places are empty.
pub(crate) const fn of_place<T>() -> usize {
    2 * size_of::<T>()
}

/// Gives back the places of a queue that has been longer, so that [`of_place`] counts all but a few of those it has.
///
/// What is left is half as much again as is in use: as many tags as a quarter of it come or go before the next copy.
pub(crate) fn fit<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 2 * queue.len() + SPARE {
        queue.shrink_to(queue.len() + queue.len() / 2);
    }
}

/// Places that a queue may keep beyond what is counted.
pub(crate) const SPARE: usize = 64;

/// Both are the same bytes in memory.
pub(crate) fn are_shared(left: &Bytes, right: &Bytes) -> bool {
    left.as_ptr() == right.as_ptr() && left.len() == right.len()
}
