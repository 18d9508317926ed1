//! Header blocks: name/value pairs, compressed with one zlib stream a direction and the protocol's dictionary.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::Error;

/// Of one block, after decompression.
const BLOCK_MAX: usize = 64 << 10;
const PAIRS_MAX: u32 = 256;

/// Names in lower case, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect())
    }

    /// The value, or `""`.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// One direction's compressor.
pub struct Deflater(Compress);

/// One direction's decompressor.
pub struct Inflater(Decompress);

impl Default for Deflater {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(&dictionary()).expect("a fresh stream takes a dictionary");
        Self(compress)
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Deflater {
    pub fn encode(&mut self, headers: &Headers) -> Vec<u8> {
        let plain = plain(headers);
        let mut out = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let read = usize::try_from(self.0.total_in() - start).expect("it is within the block");
            if out.capacity() - out.len() < 64 {
                out.reserve(plain.len() + 64);
            }
            let before = out.len();
            self.0.compress_vec(&plain[read..], &mut out, FlushCompress::Sync).expect("compression of memory does not fail");
            let all_read = usize::try_from(self.0.total_in() - start).expect("it is within the block") == plain.len();
            // A flush is complete when it leaves room in the output.
            if all_read && (out.len() < out.capacity() || out.len() == before) {
                return out;
            }
        }
    }
}

impl Inflater {
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, Error> {
        let bad = |cause: &dyn std::fmt::Display| Error::protocol(format!("header block: {cause}"));
        let mut plain = Vec::with_capacity(4096);
        let start = self.0.total_in();
        loop {
            let read = usize::try_from(self.0.total_in() - start).map_err(|cause| bad(&cause))?;
            if plain.len() == plain.capacity() {
                if plain.len() >= BLOCK_MAX {
                    return Err(bad(&format!("larger than {BLOCK_MAX} bytes")));
                }
                plain.reserve(plain.len().min(BLOCK_MAX - plain.len()).max(1));
            }
            let before = (read, plain.len());
            match self.0.decompress_vec(block.get(read..).unwrap_or_default(), &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(bad(&"the compressed stream ended")),
                Ok(_) => {}
                Err(cause) if cause.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|cause| bad(&cause))?;
                    continue;
                }
                Err(cause) => return Err(bad(&cause)),
            }
            let read = usize::try_from(self.0.total_in() - start).map_err(|cause| bad(&cause))?;
            if plain.len() < plain.capacity() && (read >= block.len() || (read, plain.len()) == before) {
                return parse(&plain);
            }
        }
    }
}

fn plain(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |bytes: &[u8]| {
        out.extend_from_slice(&length(bytes.len()));
        out.extend_from_slice(bytes);
    };
    headers.0.iter().for_each(|(name, value)| {
        put(name.to_lowercase().as_bytes());
        put(value.as_bytes());
    });
    [&length(headers.0.len())[..], &out].concat()
}

fn length(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("our own headers are small").to_be_bytes()
}

fn parse(mut plain: &[u8]) -> Result<Headers, Error> {
    let pairs = take_u32(&mut plain)?;
    if pairs > PAIRS_MAX {
        return Err(Error::protocol(format!("header block: {pairs} headers are more than {PAIRS_MAX}")));
    }
    let mut headers = Headers::default();
    for _ in 0..pairs {
        let name = take_text(&mut plain)?.to_lowercase();
        // Several values of one name are joined by NUL.
        let value = take_text(&mut plain)?.replace('\0', ",");
        headers.0.push((name, value));
    }
    Ok(headers)
}

fn take_u32(from: &mut &[u8]) -> Result<u32, Error> {
    let (head, rest) = from.split_first_chunk::<4>().ok_or_else(|| Error::protocol("header block: cut short"))?;
    *from = rest;
    Ok(u32::from_be_bytes(*head))
}

fn take_text(from: &mut &[u8]) -> Result<String, Error> {
    let length = take_u32(from)? as usize;
    let (text, rest) = from.split_at_checked(length).ok_or_else(|| Error::protocol("header block: cut short"))?;
    *from = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Error::protocol("header block: not UTF-8"))
}

/// The words that SPDY/3 compresses with: each with its length before it, then one run of text.
fn dictionary() -> Vec<u8> {
    const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization \
        cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type \
        date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards \
        pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning \
        www-authenticate method get status 200\u{a0}OK version HTTP/1.1 url public set-cookie keep-alive origin";
    const RUN: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative \
        Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
        Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, \
        GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,\
        deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let mut out = Vec::with_capacity(1423);
    for word in WORDS.split_ascii_whitespace() {
        let word = word.replace('\u{a0}', " ");
        out.extend_from_slice(&length(word.len()));
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(RUN.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adler32(bytes: &[u8]) -> u32 {
        let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        b << 16 | a
    }

    #[test]
    fn the_dictionary_is_the_protocols() {
        assert_eq!((dictionary().len(), adler32(&dictionary())), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_share_one_compression_stream() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for stream in ["error", "stdin", "stdout"] {
            let headers = Headers::of(&[("streamType", stream), ("port", "80")]);
            let back = inflater.decode(&deflater.encode(&headers)).unwrap();
            assert_eq!((back.get("streamtype"), back.get("Port")), (stream, "80"));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut deflater = Deflater::default();
        let block = deflater.encode(&Headers(vec![("x".into(), "a".repeat(10 << 20))]));
        assert!(block.len() < 64 << 10);
        assert!(Inflater::default().decode(&block).unwrap_err().to_string().contains("larger than"));
    }

    proptest! {
        #[test]
        fn any_headers_come_back(pairs in proptest::collection::vec(("[a-z]{1,20}", "[ -~]{0,200}"), 0..20)) {
            let headers = Headers(pairs);
            let back = Inflater::default().decode(&Deflater::default().encode(&headers)).unwrap();
            prop_assert_eq!(back, headers);
        }

        #[test]
        fn garbage_never_panics(block in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Inflater::default().decode(&block);
            let _ = parse(&block);
        }
    }
}
