//! The proxy side of Portcullis.
