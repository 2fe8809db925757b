//! JSON Object Signing and Encryption: what of RFC 7515, 7517, 7518 and 8037 Portcullis speaks.
