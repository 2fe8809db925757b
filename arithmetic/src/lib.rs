//! The long numbers that verifying ES256 and RSA takes, and nothing around them: no keys to look up, no encodings, no hash.
//!
//! WebAssembly has no carry flag and no upper half of a product, which is what libraries of numbers live on. Both parts take
//! limbs so short that carries can wait. All of it is about public numbers, so that time may depend on them.

pub mod p256;
pub mod rsa;
