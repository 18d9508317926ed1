//! The key that tokens of ours are signed with: RSA, or ECDSA on one of the three curves.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use schema::json;
use serde::Serialize;

use super::keys::{Key, of_spki};

const EC: [&EcdsaSigningAlgorithm; 3] =
    [&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P521_SHA512_FIXED_SIGNING];

/// Signs claims.
pub struct Signer {
    private: Private,
    public: Key,
}

enum Private {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
}

impl Signer {
    /// The first private key of a PEM file.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).filter_map(Result::ok);
        let private = |kind: &SectionKind| matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey);
        let (kind, der) = sections.find(|(kind, _)| private(kind)).ok_or("no private key in PEM")?;
        Self::from_der(kind, &der)
    }

    pub(crate) fn from_der(kind: SectionKind, der: &[u8]) -> Result<Self, String> {
        let ec = |read: &dyn Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>| EC.into_iter().find_map(read);
        let pkcs8 = |algorithm: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok();
        let sec1 = |algorithm: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok();
        let rsa = |pair: Result<RsaKeyPair, _>| pair.ok().map(|pair| Private::Rsa(Box::new(pair)));
        let private = match kind {
            SectionKind::RsaPrivateKey => rsa(RsaKeyPair::from_der(der)),
            SectionKind::EcPrivateKey => ec(&sec1).map(Private::Ec),
            _ => ec(&pkcs8).map(Private::Ec).or_else(|| rsa(RsaKeyPair::from_pkcs8(der))),
        };
        let private = private.ok_or("the private key is neither RSA of 2048 bits or more nor ECDSA on P-256, P-384 or P-521")?;
        let spki: Result<PublicKeyX509Der<'_>, _> = match &private {
            Private::Rsa(pair) => pair.public_key().as_der(),
            Private::Ec(pair) => pair.public_key().as_der(),
        };
        let public = of_spki(spki.map_err(|_| "the key has no public half")?.as_ref())?;
        Ok(Self { private, public })
    }

    pub fn public(&self) -> &Key {
        &self.public
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, String> {
        self.sign_payload(&serde_json::to_vec(claims).map_err(|error| error.to_string())?)
    }

    /// A token over `payload` as it is, claims or not.
    pub fn sign_payload(&self, payload: &[u8]) -> Result<String, String> {
        let header = json!({"alg": self.public.algorithm(), "kid": self.public.id}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(message.as_bytes()).map_err(|_| "the key did not sign")?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{EcPrivateKeyRfc5915Der, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use base64::engine::general_purpose::STANDARD;

    use super::super::Jws;
    use super::super::keys::{of_pem, of_set};
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    fn rsa() -> String {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        pem("PRIVATE KEY", der.as_ref())
    }

    #[test]
    fn every_sort_of_key_signs_what_its_public_half_verifies() {
        let ec = |algorithm| pem("PRIVATE KEY", EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap().as_ref());
        let sec1 = EcdsaKeyPair::generate(EC[0]).unwrap();
        let sec1: EcPrivateKeyRfc5915Der<'_> = sec1.private_key().as_der().unwrap();
        let all = [
            (rsa(), "RS256"),
            (ec(EC[0]), "ES256"),
            (ec(EC[1]), "ES384"),
            (ec(EC[2]), "ES512"),
            (pem("EC PRIVATE KEY", sec1.as_ref()), "ES256"),
        ];
        let signers: Vec<Signer> = all.iter().map(|(pem, _)| Signer::from_pem(pem).unwrap()).collect();
        for (at, ((pem, algorithm), signer)) in all.iter().zip(&signers).enumerate() {
            let token = signer.sign(&json!({"iss": "i"})).unwrap();
            let jws = Jws::parse(&token).unwrap();
            assert_eq!((jws.algorithm.as_str(), jws.key_id.as_str()), (*algorithm, signer.public().id.as_str()));
            let set = of_set(&json!({"keys": [signer.public().jwk(), {"kty": "oct"}, {"kty": "RSA", "use": "enc"}]})).unwrap();
            assert_eq!(set.len(), 1);
            assert!(jws.is_signed_by(&set[0]) && jws.is_signed_by(&of_pem(pem).unwrap()[0]));
            for (other, key) in signers.iter().enumerate() {
                assert_eq!(jws.is_signed_by(key.public()), other == at, "{algorithm}");
            }
        }
    }

    #[test]
    fn an_algorithm_is_the_keys_and_not_the_tokens() {
        let signer = Signer::from_pem(&rsa()).unwrap();
        let token = signer.sign(&json!({"iss": "i"})).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        for algorithm in ["none", "None", "HS256", "RS384", "PS256", "ES256", ""] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm}).to_string());
            for signature in ["", "AAAA", token.rsplit('.').next().unwrap()] {
                let forged = format!("{header}.{payload}.{signature}");
                assert!(!Jws::parse(&forged).unwrap().is_signed_by(signer.public()), "{algorithm}");
            }
        }
        let mut jwk = signer.public().jwk();
        jwk["alg"] = json!("PS256");
        assert!(!Jws::parse(&token).unwrap().is_signed_by(&Key::from_jwk(&jwk).unwrap()), "the set says what the key is for");
        let body = token.rsplit_once('.').unwrap().0;
        assert!(!Jws::parse(&format!("{body}.AAAA")).unwrap().is_signed_by(signer.public()));
    }

    #[test]
    fn files_without_keys_are_refused() {
        assert!(of_pem("").unwrap_err().contains("does not contain any valid"));
        assert!(Signer::from_pem("nothing").is_err_and(|why| why == "no private key in PEM"));
        assert!(Signer::from_pem(&pem("PRIVATE KEY", b"nonsense")).is_err());
        assert!(of_set(&json!({"keys": {}})).is_err() && of_set(&json!({})).is_err());
    }
}
