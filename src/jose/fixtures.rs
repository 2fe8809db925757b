//! Published public keys for unit tests.

use serde_json::{Value, json};

/// RFC 7638 section 3.1.
pub(crate) fn rsa() -> Value {
    json!({"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxu",
        "hDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN",
        "5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5",
        "hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBni",
        "Iqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    )})
}

/// RFC 7515 appendix A.3.
pub(crate) fn p256() -> Value {
    json!({"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// Of the private key 12345678901234567890.
pub(crate) fn p384() -> Value {
    json!({"kty":"EC","crv":"P-384",
        "x":"2KF-Vbji9HvDaf2WFmlc4nPc5OMHgwpl9aSpqolnyYeu6nrTZWd6E7_WXD_lpmk5",
        "y":"vcU1QsUhOlE0XbqCIKuyPHFlmk2FCzu6_40DW9CKWesyCZyWqQSeTX1DXPZ1cTvI"})
}

/// RFC 7515 appendix A.4.
pub(crate) fn p521() -> Value {
    json!({"kty":"EC","crv":"P-521",
        "x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"})
}

/// RFC 8037 appendix A.2.
pub(crate) fn ed25519() -> Value {
    json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// `value` with `member` set.
pub(crate) fn with(mut value: Value, member: &str, to: impl Into<Value>) -> Value {
    value
        .as_object_mut()
        .unwrap()
        .insert(member.to_owned(), to.into());
    value
}
