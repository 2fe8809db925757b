//! Every host function failing in every way while requests are decided.
