//! `aws_sigv4`: a caller presents a presigned `GetCallerIdentity` request as its bearer token, and AWS STS says who signed it.
//!
//! The request is never forwarded: it is taken apart, every part is checked against an allow-list, and what was signed is put
//! together again byte for byte, for an endpoint of ours. What STS answered is remembered by the whole token, so a forged signature
//! never rides on a genuine caller's entry; whom we let in is decided on every request.

mod answer;
mod arn;
mod presigned;

use std::rc::Rc;
use std::time::Duration;

pub use self::arn::Arn;
use self::presigned::Presigned;
use crate::callout::{Callout, CalloutReply};
use crate::identity::{Identity, Refused};
use crate::limits::Limits;
use crate::lookup::{Failure, Finding, Progress, Question};
use crate::policy::{AwsSigV4Policy, CalloutPolicy, TokenPrefix, Url};
use crate::reason::Code;
use crate::time::UnixTime;

/// What a token starts with, unless it is an Amazon EKS token.
pub const DEFAULT_PREFIX: &str = "forge-aws-v1.";

/// The header that binds such a token to its audience, unless another one is configured.
pub const DEFAULT_AUDIENCE_HEADER: &str = "x-portcullis-audience";

/// The prefix of Amazon EKS tokens (aws-iam-authenticator, "API authorization from outside a cluster").
pub const EKS_PREFIX: &str = "k8s-aws-v1.";

/// The header that EKS tokens are bound to a cluster by.
const EKS_HEADER: &str = "x-k8s-aws-id";

/// The host of a region's STS, in the partition aws, aws-cn or aws-us-gov (AWS General Reference, "AWS Security Token Service
/// endpoints").
pub fn sts_host(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("sts.{region}.amazonaws.com{suffix}")
}

/// The header that binds a token with this prefix to its audience; `configured` is the provider's `audience_header`.
pub fn audience_header<'a>(prefix: &str, configured: &'a str) -> &'a str {
    if prefix == EKS_PREFIX {
        EKS_HEADER
    } else {
        configured
    }
}

/// Bytes of an answer that are worth reading. A genuine one has about 500.
const MAX_ANSWER: usize = 64 * 1024;

/// Who signed a token, as STS says, and what the token says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    arn: Arn,
    signed_at: UnixTime,
    expires: Duration,
    audience_signed: bool,
}

impl CallerIdentity {
    pub(crate) fn weight(&self) -> usize {
        self.arn.as_str().len()
    }
}

impl AwsSigV4Policy {
    /// The prefix that makes a token one of ours.
    pub fn prefix_of(&self, token: &str) -> Option<&TokenPrefix> {
        self.prefixes.iter().find(|p| token.starts_with(&p.prefix))
    }

    /// The question to STS that a token amounts to, once everything that can be checked without asking has been.
    ///
    /// # Errors
    /// [`Code::MalformedPresignedUrl`] and what else is wrong with it; [`Code::ForeignStsEndpoint`] when it is for
    /// a host that this provider does not know.
    pub(crate) fn question(
        &self,
        prefix: &TokenPrefix,
        token: &str,
        callouts: &CalloutPolicy,
        limits: &Limits,
        now: UnixTime,
    ) -> Result<Box<dyn Question>, Code> {
        let encoded = token.strip_prefix(&prefix.prefix).unwrap_or_default();
        let presigned = Presigned::parse(encoded, &self.endpoints, &prefix.audience_header)?;
        if presigned.audience_signed && self.audience.is_none() {
            return Err(Code::UnexpectedSignedHeaders);
        }
        self.check(
            presigned.signed_at,
            presigned.expires,
            presigned.audience_signed,
            now,
        )?;
        let url = Url {
            path: presigned.path,
            ..presigned.endpoint.url.clone()
        };
        let upstream = callouts.upstream(&presigned.endpoint.url.authority);
        let mut callout = Callout::get_json(upstream, url, callouts.timeout, MAX_ANSWER);
        if presigned.audience_signed
            && let Some(audience) = &self.audience
        {
            // Our own value: a token made for somebody else fails at STS.
            callout.add_header(&prefix.audience_header, audience.as_str());
        }
        Ok(Box::new(GetCallerIdentity {
            callout,
            signed_at: presigned.signed_at,
            expires: presigned.expires,
            audience_signed: presigned.audience_signed,
            good_until: presigned.signed_at + presigned.expires + self.clock_skew,
            ttl: self.identity_cache_ttl,
            refused_ttl: limits.failed_token_ttl,
        }))
    }

    /// Judges who signed a token, as of now.
    ///
    /// # Errors
    /// The code of the first rule that it breaks.
    pub(crate) fn judge(&self, caller: &CallerIdentity, now: UnixTime) -> Result<Identity, Code> {
        self.check(
            caller.signed_at,
            caller.expires,
            caller.audience_signed,
            now,
        )?;
        let arn = &caller.arn;
        if !self.allowed_accounts.is_empty()
            && !self.allowed_accounts.iter().any(|a| a == arn.account())
        {
            return Err(Code::AccountNotAllowed);
        }
        if let Some(allowed) = &self.allowed_principals
            && !allowed.is_match(arn.as_str())
            && !arn.role().is_some_and(|role| allowed.is_match(&role))
        {
            return Err(Code::PrincipalNotAllowed);
        }
        Ok(Identity {
            user_id: arn.as_str().into(),
            email: None,
            org_id: Some(arn.account().into()),
            workspace_id: None,
            groups: Vec::new(),
        })
    }

    /// Whom STS named, where [`judge`](Self::judge) refuses them.
    pub(crate) fn refused(caller: &CallerIdentity) -> Refused {
        Refused::new(Some(caller.arn.as_str()), None)
    }

    fn check(
        &self,
        signed_at: UnixTime,
        expires: Duration,
        audience_signed: bool,
        now: UnixTime,
    ) -> Result<(), Code> {
        if signed_at > now + self.clock_skew {
            return Err(Code::NotYetValid);
        }
        if expires > self.max_token_expires {
            return Err(Code::TooLongLived);
        }
        if now >= signed_at + expires + self.clock_skew {
            return Err(Code::Expired);
        }
        if self.require_audience && !audience_signed {
            return Err(Code::MissingAudience);
        }
        Ok(())
    }
}

/// `GetCallerIdentity` (AWS STS API reference, version 2011-06-15), signed by the caller.
#[derive(Debug)]
struct GetCallerIdentity {
    callout: Callout,
    signed_at: UnixTime,
    expires: Duration,
    audience_signed: bool,
    good_until: UnixTime,
    ttl: Duration,
    refused_ttl: Duration,
}

impl Question for GetCallerIdentity {
    fn callout(&self) -> Callout {
        self.callout.clone()
    }

    fn read(self: Box<Self>, reply: CalloutReply<'_>, now: UnixTime) -> Progress {
        let CalloutReply::Response(response) = reply else {
            return Progress::Failed(Failure::Unreachable);
        };
        match answer::read(&response) {
            Ok(arn) => {
                let caller = CallerIdentity {
                    arn,
                    signed_at: self.signed_at,
                    expires: self.expires,
                    audience_signed: self.audience_signed,
                };
                let until = (now + self.ttl).min(self.good_until);
                Progress::Found(Finding::Caller(Rc::new(caller)), until)
            }
            Err(answer::NoIdentity::Refused(code)) => Progress::Found(
                Finding::Refused(Code::RejectedUpstream, code),
                now + self.refused_ttl,
            ),
            Err(answer::NoIdentity::Failed(failure)) => Progress::Failed(failure),
        }
    }
}
