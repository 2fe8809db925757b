//! `portcullis aws-token`: a bearer token for `aws_sigv4`, made from the AWS credentials in the environment.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::config::Span;
use portcullis_core::provider::aws;

use crate::output;

const EXPORT: &str = "`eval \"$(aws configure export-credentials --format env)\"` puts those of a profile, SSO or a role there";

/// What to sign.
#[derive(clap::Args)]
pub struct Args {
    /// The region whose STS it is for; one of the provider's `region` [default: AWS_REGION, AWS_DEFAULT_REGION]
    #[arg(long)]
    region: Option<String>,
    /// The provider's `audience`: the token is good for it alone
    #[arg(long)]
    audience: Option<String>,
    /// The header that binds it to the audience; the provider's `audience_header`
    #[arg(long, value_name = "NAME", default_value = aws::DEFAULT_AUDIENCE_HEADER)]
    audience_header: String,
    /// What the token starts with; one of the provider's `token_prefixes`. `k8s-aws-v1.` is bound by `x-k8s-aws-id`
    #[arg(long, default_value = aws::DEFAULT_PREFIX)]
    prefix: String,
    /// How long it is good: 1s to 15m, and less than the session's own end
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    expires: String,
    /// Another endpoint than the region's; one of the provider's `sts_endpoint`
    #[arg(long, value_name = "URL")]
    sts_endpoint: Option<String>,
    /// Print `Authorization: Bearer …`, for `curl -H @-`
    #[arg(long)]
    header: bool,
}

/// Runs it.
pub fn run(args: &Args) -> ExitCode {
    match token(args, &|name| std::env::var(name).ok(), SystemTime::now()) {
        Ok(token) if args.header => output::result(&format!("Authorization: Bearer {token}\n")),
        Ok(token) => output::result(&format!("{token}\n")),
        Err(problem) => {
            output::message("error", &problem);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// `env` is the environment.
fn token(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    now: SystemTime,
) -> Result<String, String> {
    let variable = |name: &str| env(name).filter(|value| !value.is_empty());
    let needed = |name: &str| variable(name).ok_or_else(|| format!("{name} is not set; {EXPORT}"));
    let credentials = Credentials::new(
        needed("AWS_ACCESS_KEY_ID")?,
        needed("AWS_SECRET_ACCESS_KEY")?,
        variable("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let region = args
        .region
        .clone()
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .ok_or("no region; give --region, or set AWS_REGION")?;
    let expires = Span::parse(&args.expires)
        .map(|span| span.0)
        .filter(|d| (Duration::from_secs(1)..=Duration::from_secs(900)).contains(d))
        .ok_or("--expires must be a duration between 1s and 15m, such as 90s")?;
    let endpoint = match &args.sts_endpoint {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("https://{}", aws::sts_host(&region)),
    };
    let url = format!("{endpoint}/?Action=GetCallerIdentity&Version=2011-06-15");
    let header = aws::audience_header(&args.prefix, &args.audience_header);
    let signed = args.audience.as_deref().map(|audience| (header, audience));
    let signed_url = presign(&url, &region, credentials, expires, signed, now)
        .map_err(|error| format!("cannot sign: {error}"))?;
    Ok(format!(
        "{}{}",
        args.prefix,
        URL_SAFE_NO_PAD.encode(signed_url)
    ))
}

fn presign(
    url: &str,
    region: &str,
    credentials: Credentials,
    expires: Duration,
    header: Option<(&str, &str)>,
    now: SystemTime,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let request = SignableRequest::new("GET", url, header.into_iter(), SignableBody::Bytes(&[]))?;
    let (instructions, _signature) = sign(request, &parameters)?.into_parts();
    let mut request = http::Request::builder().method("GET").uri(url).body(())?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}
