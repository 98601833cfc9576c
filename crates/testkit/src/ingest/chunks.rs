//! RTMP chunks (RTMP 1.0, 5.3), written plainly. They are read by [`crate::readers`].

/// A message in chunks of a size, as pieces that other messages may stand between.
pub(super) fn write(chunk_stream: u8, type_id: u8, stream_id: u32, payload: &[u8], chunk_size: usize) -> Vec<Vec<u8>> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut header = vec![chunk_stream, 0, 0, 0, length[1], length[2], length[3], type_id];
    header.extend_from_slice(&stream_id.to_le_bytes());
    let mut pieces: Vec<Vec<u8>> = payload
        .chunks(chunk_size)
        .enumerate()
        .map(|(n, part)| {
            let mut piece = if n == 0 { header.clone() } else { vec![0xC0 | chunk_stream] };
            piece.extend_from_slice(part);
            piece
        })
        .collect();
    if pieces.is_empty() {
        pieces.push(header);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::{Personality, Reader};

    #[test]
    fn what_is_written_reads_as_it_was() {
        let payload: Vec<u8> = (0..300).map(|n| n as u8).collect();
        let pieces = write(3, 20, 1, &payload, 128);
        assert_eq!(pieces.len(), 3);
        let mut reader = Reader::new(Personality::Spec);
        reader.push(&pieces.concat());
        let message = reader.next().unwrap().expect("a whole message");
        assert_eq!((message.type_id, message.stream_id, message.chunk_stream), (20, 1, 3));
        assert_eq!(message.payload, payload);
        assert!(reader.between_messages());
    }
}
