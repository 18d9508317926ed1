//! A document that travels with its hole open, as one value: where the hole is stands behind the document in white space, so any
//! reader of JSON takes it as it is.

use bytes::Bytes;

use crate::contract::Revision;
pub use crate::mvcc::fill_hole as fill;

/// A line feed, and one blank or tabulator for each bit of the hole's place.
const TRAILER: usize = 1 + BITS;
const BITS: usize = 24;
/// Says that there is no hole, behind a value that by chance ends like one with a trailer.
const NO_HOLE: u32 = (1 << BITS) - 1;

/// The value with the place of its hole. None: it is too large to have one, and for any store anyway.
pub fn enclose(value: &Bytes, hole: Option<u32>) -> Option<Bytes> {
    let place = match hole {
        None if trailer(value).is_none() => return Some(value.clone()),
        None => NO_HOLE,
        Some(at) if at < NO_HOLE => at,
        Some(_) => return None,
    };
    let mut there = Vec::with_capacity(value.len() + TRAILER);
    there.extend_from_slice(value);
    there.push(b'\n');
    there.extend((0..BITS).rev().map(|bit| if place >> bit & 1 == 1 { b'\t' } else { b' ' }));
    Some(there.into())
}

/// The value without its trailer, and where its hole is.
pub fn split(enclosed: &[u8]) -> (&[u8], Option<u32>) {
    match trailer(enclosed) {
        Some((value, NO_HOLE)) => (value, None),
        Some((value, at)) if at as usize <= value.len() => (value, Some(at)),
        _ => (enclosed, None),
    }
}

/// The document as readers want it, in memory of its own: its hole filled with the revision that wrote it.
pub fn disclose(enclosed: &Bytes, modified: Revision) -> Bytes {
    let (document, hole) = split(enclosed);
    match hole {
        Some(_) => fill(enclosed.slice(..document.len()), hole, modified),
        None => Bytes::copy_from_slice(document), // not a part of a message that would stay with it
    }
}

fn trailer(enclosed: &[u8]) -> Option<(&[u8], u32)> {
    let (value, trailer) = enclosed.split_at_checked(enclosed.len().checked_sub(TRAILER)?)?;
    let bits = trailer.strip_prefix(b"\n")?;
    let place = bits.iter().try_fold(0, |place: u32, byte| match byte {
        b'\t' => Some(place << 1 | 1),
        b' ' => Some(place << 1),
        _ => None,
    })?;
    Some((value, place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_stays_json_and_its_hole_is_found_again() {
        let document = Bytes::from_static(b"{\"metadata\":{\"resourceVersion\":\"\"}}");
        let there = enclose(&document, Some(32)).unwrap();
        assert!(there.starts_with(&document) && there[document.len()..].iter().all(u8::is_ascii_whitespace));
        assert_eq!(disclose(&there, Revision(42)), "{\"metadata\":{\"resourceVersion\":\"42\"}}");
        assert_eq!(disclose(&document, Revision(42)), document, "what others wrote is taken as it is");
        assert_eq!(enclose(&document, Some(NO_HOLE)), None);
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in "[ \t\n]{0,60}|[a-z \t\n]{0,60}", hole in prop::option::of(0..30u32)) {
            let value = Bytes::from(value);
            let hole = hole.map(|at| at.min(value.len() as u32));
            let there = enclose(&value, hole).unwrap();
            prop_assert_eq!(split(&there), (&value[..], hole));
            let again = enclose(&there, None).unwrap();
            prop_assert_eq!(split(&again), (&there[..], None));
        }
    }
}
