//! Frames on the wire, without I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{Deflater, Headers, Inflater};
use crate::Error;

/// Largest frame that we read; Go's copies send 32 KiB.
pub const FRAME_MAX: usize = 1 << 20;
const CONTROL_MAX: usize = 64 << 10;
const VERSION: u16 = 3;
const SETTINGS_MAX: u32 = 64;
const INITIAL_WINDOW: u32 = 7;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

/// Reasons of a reset.
pub mod reset {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INVALID_STREAM: u32 = 2;
    pub const REFUSED_STREAM: u32 = 3;
    pub const CANCEL: u32 = 5;
    pub const FLOW_CONTROL_ERROR: u32 = 7;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        id: u32,
        headers: Headers,
        fin: bool,
        unidirectional: bool,
    },
    SynReply {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    Reset {
        id: u32,
        status: u32,
    },
    /// The initial window, where the peer gives one; other settings mean nothing here.
    Settings {
        initial_window: Option<u32>,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last_id: u32,
        status: u32,
    },
    Headers {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    Data {
        id: u32,
        data: Bytes,
        fin: bool,
    },
    /// A control frame of a type that we do not know: ignored, as the protocol says.
    Unknown,
}

/// Bytes to frames.
#[derive(Default)]
pub struct Decoder {
    inflater: Inflater,
}

/// Frames to bytes.
#[derive(Default)]
pub struct Encoder {
    deflater: Deflater,
}

impl Decoder {
    /// Takes one frame off the front of `buffer`; None: more bytes are needed. After an error the connection is of no use.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let is_control = first >> 31 == 1;
        let most = if is_control { CONTROL_MAX } else { FRAME_MAX };
        if length > most {
            return Err(Error::protocol(format!("a frame of {length} bytes is larger than {most}")));
        }
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let payload = buffer.split_to(length).freeze();
        if !is_control {
            return Ok(Some(Frame::Data { id: first, data: payload, fin: flags & FLAG_FIN != 0 }));
        }
        let version = (first >> 16 & 0x7fff) as u16;
        if version != VERSION {
            return Err(Error::protocol(format!("SPDY version {version} is not 3")));
        }
        self.control((first & 0xffff) as u16, flags, payload).map(Some)
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, Error> {
        let fin = flags & FLAG_FIN != 0;
        Ok(match kind {
            1 => {
                let (id, _associated, _priority_and_slot) = (take_id(&mut payload)?, take(&mut payload)?, take_u16(&mut payload)?);
                Frame::SynStream { id, headers: self.inflater.decode(&payload)?, fin, unidirectional: flags & FLAG_UNIDIRECTIONAL != 0 }
            }
            2 => Frame::SynReply { id: take_id(&mut payload)?, headers: self.inflater.decode(&payload)?, fin },
            3 => Frame::Reset { id: take_id(&mut payload)?, status: take(&mut payload)? },
            4 => settings(payload)?,
            6 => Frame::Ping { id: take(&mut payload)? },
            7 => Frame::GoAway { last_id: take_id(&mut payload)?, status: take(&mut payload).unwrap_or_default() },
            8 => Frame::Headers { id: take_id(&mut payload)?, headers: self.inflater.decode(&payload)?, fin },
            9 => Frame::WindowUpdate { id: take_id(&mut payload)?, delta: take(&mut payload)? & 0x7fff_ffff },
            _ => Frame::Unknown,
        })
    }
}

fn settings(mut payload: Bytes) -> Result<Frame, Error> {
    let count = take(&mut payload)?;
    if count > SETTINGS_MAX {
        return Err(Error::protocol(format!("{count} settings are more than {SETTINGS_MAX}")));
    }
    let mut initial_window = None;
    for _ in 0..count {
        let (id, value) = (take(&mut payload)? & 0x00ff_ffff, take(&mut payload)?);
        if id == INITIAL_WINDOW {
            initial_window = Some(value & 0x7fff_ffff);
        }
    }
    Ok(Frame::Settings { initial_window })
}

fn take(payload: &mut Bytes) -> Result<u32, Error> {
    payload.try_get_u32().map_err(|_| Error::protocol("a control frame is cut short"))
}

fn take_u16(payload: &mut Bytes) -> Result<u16, Error> {
    payload.try_get_u16().map_err(|_| Error::protocol("a control frame is cut short"))
}

fn take_id(payload: &mut Bytes) -> Result<u32, Error> {
    Ok(take(payload)? & 0x7fff_ffff)
}

impl Encoder {
    pub fn put(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { id, headers, fin, unidirectional } => {
                let flags = u8::from(*fin) | if *unidirectional { FLAG_UNIDIRECTIONAL } else { 0 };
                let block = self.deflater.encode(headers);
                control(out, 1, flags, &[&id.to_be_bytes(), &[0; 6], &block]);
            }
            Frame::SynReply { id, headers, fin } => {
                let block = self.deflater.encode(headers);
                control(out, 2, u8::from(*fin), &[&id.to_be_bytes(), &block]);
            }
            Frame::Reset { id, status } => control(out, 3, 0, &[&id.to_be_bytes(), &status.to_be_bytes()]),
            Frame::Settings { initial_window } => match initial_window {
                Some(window) => control(out, 4, 0, &[&1_u32.to_be_bytes(), &INITIAL_WINDOW.to_be_bytes(), &window.to_be_bytes()]),
                None => control(out, 4, 0, &[&0_u32.to_be_bytes()]),
            },
            Frame::Ping { id } => control(out, 6, 0, &[&id.to_be_bytes()]),
            Frame::GoAway { last_id, status } => control(out, 7, 0, &[&last_id.to_be_bytes(), &status.to_be_bytes()]),
            Frame::Headers { id, headers, fin } => {
                let block = self.deflater.encode(headers);
                control(out, 8, u8::from(*fin), &[&id.to_be_bytes(), &block]);
            }
            Frame::WindowUpdate { id, delta } => control(out, 9, 0, &[&id.to_be_bytes(), &delta.to_be_bytes()]),
            Frame::Data { id, data, fin } => {
                out.put_u32(id & 0x7fff_ffff);
                out.put_u32(u32::from(*fin) << 24 | length(data.len()));
                out.extend_from_slice(data);
            }
            Frame::Unknown => {}
        }
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, parts: &[&[u8]]) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | length(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn length(bytes: usize) -> u32 {
    assert!(bytes < 1 << 24, "writers cut data into frames");
    bytes as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let id = 1..0x7fff_ffff_u32;
        let headers = || proptest::collection::vec(("[a-z]{1,9}", "[ -~]{0,30}"), 0..5).prop_map(Headers);
        prop_oneof![
            (id.clone(), headers(), any::<bool>(), any::<bool>()).prop_map(|(id, headers, fin, unidirectional)| Frame::SynStream {
                id,
                headers,
                fin,
                unidirectional
            }),
            (id.clone(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::SynReply { id, headers, fin }),
            (id.clone(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::Headers { id, headers, fin }),
            (id.clone(), any::<u32>()).prop_map(|(id, status)| Frame::Reset { id, status }),
            proptest::option::of(0..0x7fff_ffff_u32).prop_map(|initial_window| Frame::Settings { initial_window }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (id.clone(), any::<u32>()).prop_map(|(last_id, status)| Frame::GoAway { last_id, status }),
            (id.clone(), 1..0x7fff_ffff_u32).prop_map(|(id, delta)| Frame::WindowUpdate { id, delta }),
            (id, proptest::collection::vec(any::<u8>(), 0..300), any::<bool>()).prop_map(|(id, data, fin)| Frame::Data {
                id,
                data: data.into(),
                fin
            }),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back_in_any_pieces(frames in proptest::collection::vec(any_frame(), 1..20), step in 1..50_usize) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| encoder.put(frame, &mut wire));
            let (mut buffer, mut back) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.next(&mut buffer).unwrap() {
                    back.push(frame);
                }
            }
            prop_assert_eq!(back, frames);
        }

        #[test]
        fn garbage_never_panics_and_never_grows(bytes in proptest::collection::vec(any::<u8>(), 0..400), control in any::<bool>()) {
            let mut wire = BytesMut::from(&bytes[..]);
            if control && wire.len() > 7 {
                wire[..2].copy_from_slice(&[0x80, 3]);
                wire[2] = 0;
                wire[3] %= 10;
                wire[5] = 0;
                wire[6] = 0;
            }
            let mut decoder = Decoder::default();
            while let Ok(Some(_)) = decoder.next(&mut wire) {}
            prop_assert!(wire.capacity() <= 8 + FRAME_MAX + 1024);
        }
    }

    #[test]
    fn oversized_frames_are_refused_before_they_are_read() {
        let mut wire = BytesMut::from(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..]);
        assert!(Decoder::default().next(&mut wire).is_err());
        let mut wire = BytesMut::from(&[0x80, 2, 0, 1, 0, 0, 0, 0][..]);
        assert!(Decoder::default().next(&mut wire).unwrap_err().to_string().contains("version 2"));
    }
}
