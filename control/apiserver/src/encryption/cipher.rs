//! One key of one provider: bytes there and back, in the layout that upstream's providers write.
//!
//! | provider | layout | is bound to its place |
//! |---|---|---|
//! | `aescbc` | initialisation vector (16), blocks padded as PKCS#7 says | no: whoever may write the store may move values |
//! | `aesgcm` | nonce (12), bytes, tag (16) | yes, by the key of the store as additional data |
//! | `secretbox` | nonce (24), tag (16), bytes | no |
//!
//! Nonces are random. `aesgcm` keys must be exchanged before 2^32 writes, as upstream says of its own.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, XSalsa20Poly1305};

/// What upstream's providers say of bytes that cannot have been theirs.
const TOO_SHORT: &str = "the stored data was shorter than the required size";
const BLOCK: usize = 16;
const TAG: usize = 16;
const BOX_NONCE: usize = 24;

/// The algorithms, by upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    AesCbc,
    AesGcm,
    Secretbox,
}

impl Algorithm {
    /// The provider's word in the configuration and in prefixes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    /// Bytes that a key may have.
    pub(super) fn key_lengths(self) -> &'static [usize] {
        match self {
            Self::AesCbc | Self::AesGcm => &[16, 24, 32],
            Self::Secretbox => &[32],
        }
    }

    /// What is said where none of its keys has the name that a value tells.
    pub(super) fn no_key(self) -> &'static str {
        match self {
            Self::AesCbc | Self::AesGcm => "no matching key was found for the provided AES transformer",
            Self::Secretbox => "no matching key was found for the provided Secretbox transformer",
        }
    }
}

/// A key that is ready.
pub(super) enum Cipher {
    AesCbc(Vec<u8>, &'static cipher::Algorithm),
    AesGcm(LessSafeKey),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Cipher {
    /// None: a key of a wrong length.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::AesCbc => Self::AesCbc(key.to_vec(), block_cipher(key.len())?),
            Algorithm::AesGcm => Self::AesGcm(LessSafeKey::new(UnboundKey::new(counter_mode(key.len())?, key).ok()?)),
            Algorithm::Secretbox if key.len() == 32 => Self::Secretbox(Box::new(XSalsa20Poly1305::new(Key::from_slice(key)))),
            Algorithm::Secretbox => return None,
        })
    }

    /// `place` is the key in the store.
    pub(super) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::AesCbc(key, algorithm) => seal_blocks(key, algorithm, plain),
            Self::AesGcm(key) => seal_counted(key, place, plain),
            Self::Secretbox(key) => {
                let nonce = random::<BOX_NONCE>()?;
                let sealed = key.encrypt(&nonce.into(), plain).map_err(|_| "secretbox failed".to_owned())?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }

    /// Err in upstream's words.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::AesCbc(key, algorithm) => open_blocks(key, algorithm, sealed),
            Self::AesGcm(key) => open_counted(key, place, sealed),
            Self::Secretbox(key) => {
                let (nonce, sealed) = sealed.split_first_chunk::<BOX_NONCE>().filter(|(_, rest)| rest.len() >= TAG).ok_or(TOO_SHORT)?;
                key.decrypt(nonce.into(), sealed).map_err(|_| "output array was not large enough for encryption".into())
            }
        }
    }
}

fn block_cipher(key_bytes: usize) -> Option<&'static cipher::Algorithm> {
    match key_bytes {
        16 => Some(&cipher::AES_128),
        24 => Some(&cipher::AES_192),
        32 => Some(&cipher::AES_256),
        _ => None,
    }
}

fn counter_mode(key_bytes: usize) -> Option<&'static aead::Algorithm> {
    match key_bytes {
        16 => Some(&aead::AES_128_GCM),
        24 => Some(&aead::AES_192_GCM),
        32 => Some(&aead::AES_256_GCM),
        _ => None,
    }
}

fn seal_blocks(key: &[u8], algorithm: &'static cipher::Algorithm, plain: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |_| "aescbc failed".to_owned();
    let key = UnboundCipherKey::new(algorithm, key).and_then(PaddedBlockEncryptingKey::cbc_pkcs7).map_err(failed)?;
    let mut sealed = plain.to_vec();
    let context = key.encrypt(&mut sealed).map_err(failed)?; // with a random vector
    let vector: &[u8] = (&context).try_into().map_err(failed)?;
    Ok([vector, &sealed].concat())
}

fn open_blocks(key: &[u8], algorithm: &'static cipher::Algorithm, sealed: &[u8]) -> Result<Vec<u8>, String> {
    let (vector, blocks) = sealed.split_first_chunk::<BLOCK>().filter(|(_, blocks)| !blocks.is_empty()).ok_or(TOO_SHORT)?;
    if blocks.len() % BLOCK != 0 {
        return Err("the stored data is not a multiple of the block size".into());
    }
    let failed = |_| "invalid padding on input".to_owned();
    let key = UnboundCipherKey::new(algorithm, key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7).map_err(failed)?;
    let mut opened = blocks.to_vec();
    let length = key.decrypt(&mut opened, DecryptionContext::Iv128(FixedLength::from(*vector))).map_err(failed)?.len();
    opened.truncate(length);
    Ok(opened)
}

fn seal_counted(key: &LessSafeKey, place: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG);
    sealed.extend_from_slice(plain);
    let bound = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(bound, Aad::from(place.as_bytes()), &mut sealed).map_err(|_| "aesgcm failed".to_owned())?;
    Ok([&nonce[..], &sealed].concat())
}

fn open_counted(key: &LessSafeKey, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(TOO_SHORT)?;
    let mut opened = sealed.to_vec();
    let bound = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(bound, Aad::from(place.as_bytes()), &mut opened).map(|plain| plain.len());
    opened.truncate(length.map_err(|_| "cipher: message authentication failed".to_owned())?);
    Ok(opened)
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 3] = [Algorithm::AesCbc, Algorithm::AesGcm, Algorithm::Secretbox];

    #[test]
    fn every_key_opens_what_it_sealed_and_no_other_does() {
        for algorithm in ALL {
            for length in algorithm.key_lengths() {
                let cipher = Cipher::new(algorithm, &vec![7; *length]).unwrap();
                for plain in [&b""[..], b"x", &[b'y'; 16], &[b'z'; 1000]] {
                    let sealed = cipher.seal("/secrets/a/b", plain).unwrap();
                    assert_eq!(cipher.open("/secrets/a/b", &sealed).unwrap(), plain, "{algorithm:?} {length}");
                    assert_ne!(sealed, cipher.seal("/secrets/a/b", plain).unwrap(), "nonces differ");
                    let other = Cipher::new(algorithm, &vec![8; *length]).unwrap();
                    assert_ne!(other.open("/secrets/a/b", &sealed).as_deref(), Ok(plain));
                }
            }
            assert!(Cipher::new(algorithm, &[7; 15]).is_none());
        }
    }

    #[test]
    fn what_was_changed_or_moved_is_refused() {
        let gcm = Cipher::new(Algorithm::AesGcm, &[1; 32]).unwrap();
        let sealed = gcm.seal("/secrets/a/b", b"secret").unwrap();
        assert_eq!(gcm.open("/secrets/a/c", &sealed), Err("cipher: message authentication failed".into()));
        for algorithm in ALL {
            let cipher = Cipher::new(algorithm, &[1; 32]).unwrap();
            assert_eq!(cipher.open("/k", b"short").unwrap_err(), TOO_SHORT);
            let sealed = cipher.seal("/k", &[b'a'; 40]).unwrap();
            for cut in 0..sealed.len() {
                assert_ne!(cipher.open("/k", &sealed[..cut]).as_deref(), Ok(&[b'a'; 40][..]), "{algorithm:?} {cut}");
            }
        }
    }

    /// The test of NaCl (`secretbox.c`), so that the layout is everybody's.
    #[test]
    fn secretbox_is_nacls() {
        let key = [
            0x1b, 0x27, 0x55, 0x64, 0x73, 0xe9, 0x85, 0xd4, 0x62, 0xcd, 0x51, 0x19, 0x7a, 0x9a, 0x46, 0xc7, 0x60, 0x09, 0x54, 0x9e, 0xac,
            0x64, 0x74, 0xf2, 0x06, 0xc4, 0xee, 0x08, 0x44, 0xf6, 0x83, 0x89,
        ];
        let nonce = [
            0x69, 0x69, 0x6e, 0xe9, 0x55, 0xb6, 0x2b, 0x73, 0xcd, 0x62, 0xbd, 0xa8, 0x75, 0xfc, 0x73, 0xd6, 0x82, 0x19, 0xe0, 0x03, 0x6b,
            0x7a, 0x0b, 0x37,
        ];
        let Some(Cipher::Secretbox(cipher)) = Cipher::new(Algorithm::Secretbox, &key) else { panic!("a key of 32 bytes") };
        let sealed = cipher.encrypt(&nonce.into(), &[0xbe, 0x07, 0x5f, 0xc5][..]).unwrap();
        // The stream begins with the block that the tag's key is taken from, so four bytes of text give NaCl's first four.
        assert_eq!(sealed[TAG..], [0x8e, 0x99, 0x3b, 0x9f]);
    }
}
