//! Takes requests out of rate-limit buckets in the host's shared data: exact, however many workers ask at once.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_core::apikey::bucket::{Bucket, Stored, Taken};
use portcullis_core::decision::Limited;
use portcullis_core::time::UnixTime;

use crate::host_kind::HostKind;
use crate::hostcalls;
use crate::status::Status;

/// Lost races in a row. Each is a request that another worker let in on this very bucket in between, so this many are not lost
/// while anything works.
const MAX_RACES: usize = 256;

/// Names to try where a host takes two for one (nginx compares 32 bits of them). Three such keys in a row there are not.
const MAX_NAMES: usize = 4;

/// Takes one request out of the bucket: `Ok(Err(wait))` when there is none left.
///
/// # Errors
/// Whatever keeps the shared data from being read or written. Then nobody knows how many requests there were, and the request
/// must be refused.
pub fn charge(
    limited: &Limited,
    kind: HostKind,
    now: UnixTime,
) -> Result<Result<(), Duration>, Status> {
    let own = limited.bucket_name();
    let mut name = Cow::Borrowed(own);
    let mut names = 1;
    for _ in 0..MAX_RACES {
        let (state, token) = match hostcalls::shared_data(&name)? {
            None => (None, kind.create_only_token()),
            Some((bytes, token)) => match Bucket::decode(&bytes, own) {
                Ok(Stored::Own(bucket)) => (Some(bucket), token),
                Ok(Stored::Foreign) if names < MAX_NAMES => {
                    name = Cow::Owned(format!("{own}#{names}"));
                    names += 1;
                    continue;
                }
                Ok(Stored::Foreign) | Err(_) => return Err(Status::PARSE_FAILURE),
            },
        };
        let next = match limited.take(state, now) {
            Taken::No { retry_after } => return Ok(Err(retry_after)),
            Taken::Yes(next) => next,
        };
        match hostcalls::set_shared_data(&name, &next.encode(own), token) {
            Ok(()) => return Ok(Ok(())),
            Err(Status::CAS_MISMATCH) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::CAS_MISMATCH)
}
