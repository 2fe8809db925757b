//! The built module in both profiles.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
use portcullis_test_host::*;

fn config() -> Vec<u8> {
    serde_json::json!({"auth": {"providers": [{"type": "static_token", "name": "smoke", "settings": {"token": "top-secret-token-value-0123456789", "user_id": "smoke-test"}}], "skip": ["GET /healthz"]},
      "agent": {"path": "/rest/{agent}"}}).to_string().into_bytes()
}

#[test]
fn static_token() {
    for profile in Profile::ALL {
        let mut settings = Settings::new(profile);
        settings.variables.insert("portcullis_audit".into());
        let t = std::time::Instant::now();
        let module = Module::built();
        println!("compiled {:?}", t.elapsed());
        let mut host = Host::start(&module, settings, &config()).unwrap_or_else(|e| panic!("{e}"));
        println!("started {:?}", t.elapsed());
        let id = host.send(
            0,
            Request::get("/rest/orders").token("top-secret-token-value-0123456789"),
        );
        println!("{:?}", host.stream(id));
        let id = host.send(0, Request::get("/rest/orders").token("wrong"));
        println!("{:?} {:?}", host.fate(id), host.stream(id).audit());
        host.advance(std::time::Duration::from_secs(3));
        println!("{:?}", t.elapsed());
        for l in host.log() {
            println!("{l:?}");
        }
        println!("{:?}", host.calls());
        for m in host.metrics().all() {
            println!("{m:?}");
        }
        println!("{:?}", host.take_incidents());
    }
}
