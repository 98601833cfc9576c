//! What is put on record.

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An input or output changed its state.
    State,
    /// A timestamp or framing fault.
    Fault,
    /// The programme passed to another input, or to another connection of the same.
    Splice,
    /// An output left tags out.
    Skip,
    /// The relay holds its outputs' sessions without media, or ceased to.
    Hold,
}

impl EventKind {
    /// The word used in events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Fault => "fault",
            Self::Splice => "splice",
            Self::Skip => "skip",
            Self::Hold => "hold",
        }
    }
}

/// One event of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub kind: EventKind,
    /// The input concerned.
    pub input: Option<usize>,
    /// The machine word for the cause.
    pub reason: &'static str,
    /// DTS before and after, in ms, where time is concerned.
    pub dts: Option<(i64, i64)>,
    /// For people.
    pub detail: String,
}

impl Event {
    /// An event without DTS.
    pub fn new(kind: EventKind, input: Option<usize>, reason: &'static str, detail: String) -> Self {
        Self { kind, input, reason, dts: None, detail }
    }

    /// Adds the DTS around it.
    #[must_use]
    pub fn with_dts(mut self, before: i64, after: i64) -> Self {
        self.dts = Some((before, after));
        self
    }
}
