//! Public keys that tokens are verified with: JSON Web Keys of an issuer, PEM files of an operator.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use schema::{DocExt, Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Every algorithm that somebody may sign a token with, as upstream allows them.
pub const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
/// Keys read of one set.
const KEYS_MAX: usize = 256;

/// A public key and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Empty where nobody named it.
    pub id: String,
    /// The one algorithm that it is for, where its document says so.
    only: Option<String>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    Ec(Curve, Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn of(point: &[u8]) -> Option<Self> {
        match (point.first(), point.len()) {
            (Some(4), 65) => Some(Self::P256),
            (Some(4), 97) => Some(Self::P384),
            (Some(4), 133) => Some(Self::P521),
            _ => None,
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Of one coordinate.
    fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> (&'static str, &'static EcdsaVerificationAlgorithm) {
        match self {
            Self::P256 => ("ES256", &signature::ECDSA_P256_SHA256_FIXED),
            Self::P384 => ("ES384", &signature::ECDSA_P384_SHA384_FIXED),
            Self::P521 => ("ES512", &signature::ECDSA_P521_SHA512_FIXED),
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

impl Key {
    pub(crate) fn rsa(id: &str, n: &[u8], e: &[u8]) -> Self {
        Self { id: id.to_owned(), only: None, material: Material::Rsa { n: n.to_vec(), e: e.to_vec() } }
    }

    /// `point` is uncompressed: 0x04, x, y.
    pub(crate) fn ec(id: &str, point: &[u8]) -> Result<Self, String> {
        let curve = Curve::of(point).ok_or("the curve of an EC key is none of P-256, P-384 and P-521")?;
        Ok(Self { id: id.to_owned(), only: None, material: Material::Ec(curve, point.to_vec()) })
    }

    /// Reads one JSON Web Key.
    pub fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk.str_at(name)).map_err(|error| format!("{name}: {error}"));
        let material = match jwk.str_at("kty") {
            "RSA" => Material::Rsa { n: part("n")?, e: part("e")? },
            "EC" => {
                let curve = Curve::named(jwk.str_at("crv")).ok_or_else(|| format!("curve {:?} is not supported", jwk.str_at("crv")))?;
                Material::Ec(curve, point(curve, &part("x")?, &part("y")?)?)
            }
            other => return Err(format!("keys of type {other:?} are not supported")),
        };
        let only = Some(jwk.str_at("alg")).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { id: jwk.str_at("kid").to_owned(), only, material })
    }

    /// Its JSON Web Key.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.material {
            Material::Rsa { n, e } => {
                json!({"use": "sig", "kty": "RSA", "kid": self.id, "alg": self.algorithm(), "n": text(n), "e": text(e)})
            }
            Material::Ec(curve, point) => {
                let (x, y) = point[1..].split_at(curve.bytes());
                json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": curve.name(), "alg": self.algorithm(), "x": text(x), "y": text(y)})
            }
        }
    }

    /// The algorithm that we sign with by a key of this sort.
    pub fn algorithm(&self) -> &'static str {
        match &self.material {
            Material::Rsa { .. } => "RS256",
            Material::Ec(curve, _) => curve.algorithm().0,
        }
    }

    /// Whether the signature of `message` is this key's, by an algorithm that fits the key.
    pub fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self.only.as_deref().is_some_and(|only| only != algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
                let key = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                key.verify(parameters, message, signature).is_ok()
            }),
            Material::Ec(curve, point) => {
                let (own, verification) = curve.algorithm();
                own == algorithm && UnparsedPublicKey::new(verification, point).verify(message, signature).is_ok()
            }
        }
    }
}

fn point(curve: Curve, x: &[u8], y: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = curve.bytes();
    if x.len() > bytes || y.len() > bytes {
        return Err(format!("a coordinate on {} has {bytes} bytes", curve.name()));
    }
    let padded = |part: &[u8]| std::iter::repeat_n(0, bytes - part.len()).chain(part.iter().copied()).collect::<Vec<u8>>();
    Ok([vec![4], padded(x), padded(y)].concat())
}

/// The keys of a `{"keys": […]}` document. Those of other uses and sorts are passed over; none at all is an error.
pub fn of_set(document: &Value) -> Result<Vec<Key>, String> {
    let listed = document.get("keys").and_then(Value::as_array).ok_or("a key set has a list of keys")?;
    if listed.len() > KEYS_MAX {
        return Err(format!("{} keys; at most {KEYS_MAX} are read", listed.len()));
    }
    let signing = listed.iter().filter(|jwk| matches!(jwk.str_at("use"), "" | "sig"));
    Ok(signing
        .filter_map(|jwk| Key::from_jwk(jwk).inspect_err(|why| tracing::debug!(%why, "a key of a set is passed over")).ok())
        .collect())
}

/// The public keys of a PEM file; of a private key its public half. Each is known by the digest of its DER.
pub fn of_pem(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|error| format!("no PEM: {error:?}"))?;
        match kind {
            SectionKind::PublicKey => keys.push(of_spki(&der)?),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                keys.push(super::signer::Signer::from_der(kind, &der)?.public().clone());
            }
            _ => {}
        }
    }
    if keys.is_empty() { Err("data does not contain any valid RSA or ECDSA public keys".into()) } else { Ok(keys) }
}

/// A key out of the DER of a SubjectPublicKeyInfo.
pub(crate) fn of_spki(der: &[u8]) -> Result<Key, String> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| format!("a public key cannot be read: {error}"))?;
    let id = id_of(der);
    match info.parsed().map_err(|error| format!("a public key cannot be read: {error}"))? {
        PublicKey::RSA(key) => Ok(Key::rsa(&id, without_zeros(key.modulus), without_zeros(key.exponent))),
        PublicKey::EC(key) => Key::ec(&id, key.data()),
        _ => Err("a public key is neither RSA nor ECDSA".into()),
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// base64url of the SHA-256 of the public key's DER, as upstream's key ids.
pub(crate) fn id_of(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki))
}
