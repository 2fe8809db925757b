pub mod token {
    pub fn run(d: &[u8]) {
        let _ = portcullis_core::jose::UntrustedJws::parse(
            d,
            &portcullis_core::jose::JoseLimits::DEFAULT,
        );
    }
}
pub use token as jwk_set;
pub use token as claims;
pub use token as configuration;
pub use token as sequence;
