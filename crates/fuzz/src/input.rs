//! Decisions and streams drawn from a fuzzer's bytes.

/// The bytes not yet used. When there are none left, everything drawn is 0 or empty.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// At most `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind one byte of length.
    pub(crate) fn short(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.take(usize::from(len))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }
}

/// The sizes in which a stream arrives, over and over.
#[derive(Clone, Copy)]
pub(crate) struct Cuts([u8; 3]);

impl Cuts {
    pub(crate) fn draw(input: &mut Input<'_>) -> Self {
        Self(input.array())
    }

    /// `stream` in pieces of 1 to 256 bytes, none of them empty.
    pub(crate) fn pieces(self, stream: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = stream;
        self.0.into_iter().cycle().map_while(move |size| {
            let (piece, behind) = rest.split_at((usize::from(size) + 1).min(rest.len()));
            rest = behind;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
