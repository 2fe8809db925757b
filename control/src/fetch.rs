//! Sending the core's callouts for real: `explain --online`.

use std::path::Path;

use portcullis_core::Authenticator;
use portcullis_core::callout::{Callout, CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::time::UnixTime;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Whose certificates are trusted.
pub struct Roots(RootCerts);

impl Default for Roots {
    fn default() -> Self {
        Self(RootCerts::WebPki)
    }
}

impl Roots {
    /// The certificates of a PEM file, and no others.
    pub fn read(file: &Path) -> Result<Self, String> {
        let name = file.display();
        let text = std::fs::read(file).map_err(|e| format!("{name}: can't be read: {e}"))?;
        let mut found: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(&text) {
            let item = item.map_err(|e| format!("{name}: is no PEM: {e}"))?;
            if let PemItem::Certificate(certificate) = item {
                found.push(certificate);
            }
        }
        if found.is_empty() {
            return Err(format!("{name}: holds no certificate in PEM form"));
        }
        Ok(Self(RootCerts::from(found)))
    }
}

/// Sends every fetch that is due, and says of each what became of it.
pub fn run(auth: &mut Authenticator, now: UnixTime, roots: &Roots, say: &mut dyn FnMut(String)) {
    // Discovery, then keys; a feed of a million keys in 500 pages. Bounded, so that a peer that sends us round in circles ends too.
    for _ in 0..1024 {
        let Some(next) = auth.poll_callout(now) else {
            return;
        };
        let callout = next.callout;
        let url = format!("{}://{}{}", callout.scheme, callout.authority, callout.path);
        // A presigned query is the caller's credential, and what is said here ends up in tickets.
        let shown = url.split_once('?').map_or(url.as_str(), |(path, _)| path);
        match send(&callout, &url, roots) {
            Ok((status, headers, body)) => {
                say(format!("fetched {shown}: {status}, {} bytes", body.len()));
                let headers: Vec<(&[u8], &[u8])> = headers
                    .iter()
                    .map(|(n, v)| (n.as_bytes(), v.as_slice()))
                    .collect();
                let response = HttpResponse {
                    status,
                    headers: &headers,
                    body: &body,
                };
                auth.reply(next.id, CalloutReply::Response(response), now);
            }
            Err((failure, words)) => {
                say(format!("can't fetch {shown}: {words}"));
                if words.contains("UnknownIssuer") {
                    say(
                        "its certificate is of no public authority: name yours with --ca FILE"
                            .to_owned(),
                    );
                }
                auth.reply(next.id, CalloutReply::Failed(failure), now);
            }
        }
    }
}

type Response = (u16, Vec<(String, Vec<u8>)>, Vec<u8>);

fn send(callout: &Callout, url: &str, roots: &Roots) -> Result<Response, (CalloutFailure, String)> {
    // As in the proxy: no redirects, and a status is an answer like any other.
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(callout.timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .tls_config(TlsConfig::builder().root_certs(roots.0.clone()).build())
        .build()
        .into();
    let mut request = ureq::http::Request::builder()
        .method(callout.method)
        .uri(url);
    for (name, value) in &callout.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(callout.body.as_slice())
        .map_err(|e| (CalloutFailure::NotSent, e.to_string()))?;
    let mut response = agent
        .run(request)
        .map_err(|e| (CalloutFailure::NoResponse, e.to_string()))?;
    let headers = response
        .headers()
        .iter()
        .map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec()))
        .collect();
    let body = response
        .body_mut()
        .with_config()
        .limit(callout.max_body as u64)
        .read_to_vec()
        .map_err(|e| (CalloutFailure::TooLarge, e.to_string()))?;
    Ok((response.status().as_u16(), headers, body))
}
