//! What a decoder needs before the first frame: metadata and sequence headers.

use std::sync::Arc;

use bytes::Bytes;
use flv::Class;

use crate::cost;

/// The newest metadata and sequence headers of a stream, as tag bodies. They own their bytes: a slice would keep the
/// whole read buffer alive for as long as the header is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSet {
    /// The body of the newest onMetaData tag.
    pub metadata: Option<Bytes>,
    /// The body of the newest video sequence header.
    pub video: Option<Bytes>,
    /// The body of the newest audio sequence header.
    pub audio: Option<Bytes>,
}

impl HeaderSet {
    pub(crate) fn slot(&mut self, class: Class) -> Option<&mut Option<Bytes>> {
        match class {
            Class::Metadata => Some(&mut self.metadata),
            Class::VideoHeader => Some(&mut self.video),
            Class::AudioHeader => Some(&mut self.audio),
            _ => None,
        }
    }

    /// The classes of its headers that are larger than `max` bytes.
    pub(crate) fn larger_than(&self, max: usize) -> impl Iterator<Item = Class> {
        let headers =
            [(Class::Metadata, &self.metadata), (Class::VideoHeader, &self.video), (Class::AudioHeader, &self.audio)];
        let is_larger = move |header: &Option<Bytes>| header.as_ref().is_some_and(|header| header.len() > max);
        headers.into_iter().filter(move |(_, header)| is_larger(header)).map(|(class, _)| class)
    }

    /// Forgets those.
    pub(crate) fn forget_larger_than(&mut self, max: usize) {
        for header in [&mut self.metadata, &mut self.video, &mut self.audio] {
            header.take_if(|header| header.len() > max);
        }
    }

    /// What this set costs beside `other`: a set that was made of another one shares what has not changed.
    pub(crate) fn cost_beside(&self, other: &Self) -> usize {
        let pairs = [(&self.metadata, &other.metadata), (&self.video, &other.video), (&self.audio, &other.audio)];
        let own = pairs.into_iter().filter_map(|(own, others)| {
            let own = own.as_ref()?;
            let is_shared = others.as_ref().is_some_and(|others| cost::are_shared(own, others));
            (!is_shared).then(|| cost::of_bytes(own.len()))
        });
        own.sum::<usize>() + size_of::<Self>() + cost::ALLOCATION
    }
}

/// Follows one stream's headers. Snapshots are shared, so that every tag can carry the set that was in force with it.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    current: Arc<HeaderSet>,
}

impl Headers {
    /// Takes note of a header tag; true when its bytes differ from those in force. Other classes change nothing.
    pub fn observe(&mut self, class: Class, body: &[u8]) -> bool {
        let mut set = HeaderSet::clone(&self.current);
        let Some(slot) = set.slot(class) else { return false };
        if slot.as_deref() == Some(body) {
            return false;
        }
        *slot = Some(Bytes::copy_from_slice(body));
        self.current = Arc::new(set);
        true
    }

    /// No header of this class is in force any more.
    pub(crate) fn forget(&mut self, class: Class) {
        let mut set = HeaderSet::clone(&self.current);
        if set.slot(class).is_some_and(|slot| slot.take().is_some()) {
            self.current = Arc::new(set);
        }
    }

    /// The set in force.
    pub fn current(&self) -> &Arc<HeaderSet> {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_bytes_make_a_new_set() {
        let mut headers = Headers::default();
        assert!(headers.observe(Class::VideoHeader, b"avc 1"));
        let first = Arc::clone(headers.current());
        assert!(!headers.observe(Class::VideoHeader, b"avc 1"));
        assert!(Arc::ptr_eq(&first, headers.current()));
        assert!(headers.observe(Class::VideoHeader, b"avc 2"));
        assert_eq!(first.video.as_deref(), Some(&b"avc 1"[..]), "a snapshot stays as it was");
    }

    #[test]
    fn media_is_no_header() {
        let mut headers = Headers::default();
        assert!(!headers.observe(Class::Key, b"\x17\x01"));
        assert_eq!(**headers.current(), HeaderSet::default());
    }
}
