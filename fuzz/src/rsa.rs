//! RSA beside the `rsa` crate: the same verdict for any encoded message, well-formed or not.
//!
//! With the private exponents at hand every encoded message has a signature, so that the encodings can be tried as well.

use arbitrary::{Arbitrary, Unstructured};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use portcullis_core::jose::{
    Algorithm, BadSignature, PublicKey, RustVerifier, SignatureVerifier, base64url,
};
use rsa::pss::Pss;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPublicKey};
use sha2::digest::FixedOutputReset;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// A key that both sides know, and its private exponent. Made for this file.
struct Key {
    n: BoxedUint,
    d: BoxedUint,
    octets: usize,
    bits: usize,
    ours: PublicKey,
    theirs: RsaPublicKey,
}

/// Modulus, private exponent and exponent. One has a bit in its first octet, so that PSS has an octet less than the modulus.
const KEYS: [(&str, &str, u64); 2] = [
    (
        "qfjTeCvrm2g8A2J21qf5lyOr2h5FMNP15p74DEKJ3Pwhzkm-frQoMyaSrN82txYxgMJ1m3MG0sbTtuCIksGHp1tt747aXQS75d8KHYYqLMZQOskTroz0ECv5MXdOBueHmweOqMhW-_D6qhE8FOeqHpSM3-z6HKNibPPCi-XosPLlb2dJX4FFye3wxQ0AEj-R6mvq7JCMvmqcsEC6j84-VpgEvxVKqGaBoH9e2KHFWyoH28G8zPOLWh8IGoFbvtjrpviqyjEiJNskAj2HCB5MY-LmsRgET2W4KG7Biotqe66wrHZjZnDMa_uI31xVv_HfHNEEFKxzHBkioMNzSvX-yQ",
        "LAdtPA1ggEa9eQD6GLu1bz3Jx_wcXzwg0CcwyPg5fxl-5lF6-5ZObYWZ7Bb8NOwWUazNy0E-LL5dXFuIdT-VlLgd37bJANx3keG3XJOC_Es4wCmTJB2WIVRKvlIRz78NBQ8tmLIgui2fuQsy3ZVvH3HKljzsQxvdpKx2IkghgShWKwCdIgp8RwgQxDyHu75HUj3y15F_epVqirk1vZnVE06ffWIL3wATR_f8C5isglHZb_y_mzFqUmJveGx-_jK2I2vZ0R5X6_BiNSAr9kFsE1P24H7AgzFE4s-e5SR9vmGZQpD8pMWO9LzpX6zdn8tDjJKf3_4-yH4GuPr-Rn5BCw",
        65_537,
    ),
    (
        "Aa9bsA7P4z5CqpYDmVwTgt8EG73kDDKsWi4iBdZklxwSfZEu65A-0UkU6b9ND8gAXbvg3T-NyW43IH4p2wPItYDMDLuxJqplFkYlSjJtpyjfd9tF5zv_-e_Vd2t2ubpAXMMV8Xmv8ZsOvX8t4QaJ8mI8_qAKeYk6d6V_aVO8-RmjsT4BKu6pCf-M-eUKst5KTbZBHUfoPjrDTd_4dWveDVQpdEUuhHAGPfTtz7KQnkokyvVYMNemnV-Pguzamf3c_75fxkuadonrUXU3ApotkA3sLseKlmTGyMHI8gRaWB4O1O95FbDFx8wZFfEtwnyEBFBWmblbO_x3f6RhEV2tlYM",
        "AR-SdV81QimBxw6tEOgNAeoCvSlCssxy5slsA-RDD2gMU7YfR7V_NjC4m9TeCoVVk9KV6NUJMPQkwFQb51fbI6sysyfLbxxDZC7DhsxJGhs_pTzZRNKqpp_jpPJPJnwq6IIOoPvKoRIJ06oelgRb9uwoqcAG-7DRpRj_m40ophEV9NgY8kUkj5jy90ZGBDI1Bh-ODh0q5SXjCcloR_r2OkbO0xQjkgxGcOnzda_Pp--89QDpKDe91tIQmikzA3XL3h25Yuago6TOUlyKQ4fXSmN4J3ha3p2ds-MNvVVzSzfoSoZLFuT1TbhjLCRpZb_GybS9gtC8VtwgJkCI-u21Aks",
        3,
    ),
];

thread_local! {
    static HELD: Vec<Key> = KEYS.iter().map(Key::new).collect();
}

impl Key {
    fn new((n, d, e): &(&str, &str, u64)) -> Self {
        let [n_octets, d_octets] =
            [n, d].map(|text| base64url::decode(text.as_bytes()).expect("base64url"));
        let n = BoxedUint::from_be_slice_vartime(&n_octets);
        let e_octets: Vec<u8> = e
            .to_be_bytes()
            .into_iter()
            .skip_while(|octet| *octet == 0)
            .collect();
        Self {
            d: BoxedUint::from_be_slice(&d_octets, n.bits_precision()).expect("shorter than n"),
            octets: n_octets.len(),
            bits: n.bits() as usize,
            ours: PublicKey::rsa(&n_octets, &e_octets).expect("a key"),
            theirs: RsaPublicKey::new_with_size_limits(n.clone(), BoxedUint::from(*e), 2048..=4096)
                .expect("a key"),
            n,
        }
    }

    /// The signature whose encoded message is this; of a number above n, what is left of it.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let n = self.n.to_odd().expect("odd");
        let m = BoxedUint::from_be_slice(message, self.n.bits_precision()).expect("as long as n");
        let base = m.rem_vartime(n.as_nz_ref());
        let params = BoxedMontyParams::new_vartime(n);
        let x = BoxedMontyForm::new(base, &params).pow(&self.d).retrieve();
        let all = x.to_be_bytes();
        all[all.len() - self.octets..].to_vec()
    }
}

/// One change to an encoded message or a signature.
#[derive(Arbitrary, Debug)]
enum Change {
    Bit(u16),
    Octet(u16, u8),
    /// n is added, where that fits.
    PlusN,
    Length(u16),
    Zeros,
    Ones,
    /// From here on, as many octets are taken out and the rest is padded in front of the end.
    Cut(u16, u8),
}

#[derive(Arbitrary, Debug)]
struct Recipe {
    key: bool,
    hash: u8,
    judged_as_pss: bool,
    made_as_pss: bool,
    salt: Option<u8>,
    text: [u8; 8],
    message: Option<Change>,
    signature: Option<Change>,
}

/// `data` as a recipe for a signature. Whether it was good.
pub fn run(data: &[u8]) {
    judged(data);
}

/// The same, and what both said.
pub fn judged(data: &[u8]) -> Option<bool> {
    let recipe = Recipe::arbitrary(&mut Unstructured::new(data)).ok()?;
    HELD.with(|keys| {
        let key = &keys[usize::from(recipe.key)];
        Some(match recipe.hash % 3 {
            0 => judge::<Sha256>(key, &recipe, [Algorithm::Rs256, Algorithm::Ps256]),
            1 => judge::<Sha384>(key, &recipe, [Algorithm::Rs384, Algorithm::Ps384]),
            _ => judge::<Sha512>(key, &recipe, [Algorithm::Rs512, Algorithm::Ps512]),
        })
    })
}

fn judge<D>(key: &Key, recipe: &Recipe, algorithms: [Algorithm; 2]) -> bool
where
    D: Digest + FixedOutputReset + sha2::digest::const_oid::AssociatedOid,
{
    let digest = D::digest(recipe.text);
    let mut message = if recipe.made_as_pss {
        pss::<D>(key, &digest, recipe)
    } else {
        pkcs1::<D>(key, &digest)
    };
    change(recipe.message.as_ref(), &mut message, key);
    message.resize(key.octets, 0);
    let mut signature = key.sign(&message);
    change(recipe.signature.as_ref(), &mut signature, key);
    let ours = RustVerifier.verify(
        algorithms[usize::from(recipe.judged_as_pss)],
        &key.ours,
        &recipe.text,
        &signature,
    );
    let theirs = if recipe.judged_as_pss {
        let scheme = Pss::<D>::new_with_salt(<D as Digest>::output_size());
        key.theirs.verify(scheme, &digest, &signature)
    } else {
        key.theirs
            .verify(Pkcs1v15Sign::new::<D>(), &digest, &signature)
    };
    assert_eq!(ours, theirs.map_err(|_| BadSignature), "{recipe:?}");
    ours.is_ok()
}

fn change(change: Option<&Change>, octets: &mut Vec<u8>, key: &Key) {
    let Some(change) = change else { return };
    let length = octets.len().max(1);
    match *change {
        Change::Bit(at) => {
            let at = usize::from(at) % (8 * length);
            octets[at / 8] ^= 1 << (at % 8);
        }
        Change::Octet(at, octet) => octets[usize::from(at) % length] = octet,
        Change::PlusN => {
            let number = BoxedUint::from_be_slice_vartime(octets);
            let sum = number.concatenating_add(&key.n).to_be_bytes();
            let (lead, rest) = sum.split_at(sum.len() - key.octets);
            if lead.iter().all(|octet| *octet == 0) {
                octets.copy_from_slice(rest);
            }
        }
        Change::Length(to) => octets.resize(usize::from(to) % 1024, 0),
        Change::Zeros => octets.fill(0),
        Change::Ones => octets.fill(0xff),
        Change::Cut(at, count) => {
            let at = usize::from(at) % length;
            let end = (at + usize::from(count)).min(octets.len());
            let removed: Vec<u8> = octets.drain(at..end).collect();
            octets.extend(removed);
        }
    }
}

/// EMSA-PKCS1-v1_5, by the scheme's own prefix.
fn pkcs1<D: Digest + sha2::digest::const_oid::AssociatedOid>(key: &Key, digest: &[u8]) -> Vec<u8> {
    let oid = D::OID.as_bytes();
    let (o, h) = (oid.len() as u8, digest.len() as u8);
    let info = [
        &[0x30, o + h + 8, 0x30, o + 4, 6, o],
        oid,
        &[5, 0, 4, h],
        digest,
    ]
    .concat();
    let padding = vec![0xff; key.octets - info.len() - 3];
    [&[0, 1], &padding[..], &[0], &info].concat()
}

/// EMSA-PSS (RFC 8017 section 9.1.1), with a salt of any length.
fn pss<D: Digest>(key: &Key, digest: &[u8], recipe: &Recipe) -> Vec<u8> {
    let salt = vec![recipe.text[0]; recipe.salt.map_or(digest.len(), usize::from)];
    let em_bits = key.bits - 1;
    let em_length = em_bits.div_ceil(8);
    let hash = D::new()
        .chain_update([0; 8])
        .chain_update(digest)
        .chain_update(&salt)
        .finalize();
    let db_length = em_length - hash.len() - 1;
    let Some(zeros) = db_length.checked_sub(salt.len() + 1) else {
        return vec![0; key.octets];
    };
    let mut db = [&vec![0; zeros], &[1][..], &salt].concat();
    for (counter, chunk) in (0_u32..).zip(db.chunks_mut(hash.len())) {
        let mask = D::new()
            .chain_update(&hash)
            .chain_update(counter.to_be_bytes())
            .finalize();
        chunk
            .iter_mut()
            .zip(mask)
            .for_each(|(octet, mask)| *octet ^= mask);
    }
    db[0] &= 0xff >> (8 * em_length - em_bits);
    [&vec![0; key.octets - em_length], &db[..], &hash, &[0xbc]].concat()
}
