//! ARNs as STS names callers.

/// The longest ARN that is one. IAM paths have up to 512 characters, names up to 64.
const MAX_ARN: usize = 2048;

/// `arn:PARTITION:iam|sts::ACCOUNT:RESOURCE` (IAM user guide, "IAM identifiers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    text: String,
    partition_end: usize,
    account: (usize, usize),
}

impl Arn {
    /// Reads an ARN; `None` for what could not be one of a caller.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (arn, partition, service, region, account, resource) = (
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
            parts.next()?,
        );
        let partition_ok = partition == "aws"
            || partition.strip_prefix("aws-").is_some_and(|p| {
                !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
            });
        let fine = text.len() <= MAX_ARN
            && arn == "arn"
            && partition_ok
            && matches!(service, "iam" | "sts")
            && region.is_empty()
            && (1..=12).contains(&account.len())
            && account.bytes().all(|b| b.is_ascii_digit())
            && !resource.is_empty()
            // Paths may have any of these; what is left out would be trouble in a header, a log or a glob.
            && resource.bytes().all(|b| b.is_ascii_graphic());
        let start = arn.len() + partition.len() + service.len() + region.len() + 4;
        fine.then(|| Self {
            text: text.to_owned(),
            partition_end: arn.len() + 1 + partition.len(),
            account: (start, start + account.len()),
        })
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The account's number.
    pub fn account(&self) -> &str {
        self.text
            .get(self.account.0..self.account.1)
            .unwrap_or_default()
    }

    /// The role behind an assumed-role session, without its path, which STS does not tell:
    /// `arn:aws:sts::A:assumed-role/NAME/SESSION` is `arn:aws:iam::A:role/NAME`. Only for an account number of 12 digits,
    /// which all real ones have.
    pub fn role(&self) -> Option<String> {
        let resource = self.text.get(self.account.1 + 1..)?;
        let (name, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        let account = self.account();
        let service = self.text.get(self.partition_end + 1..self.account.0)?;
        let fine = service == "sts::"
            && account.len() == 12
            && !name.is_empty()
            && !session.is_empty()
            && !session.contains('/');
        let partition = self.text.get(..self.partition_end)?;
        fine.then(|| format!("{partition}:iam::{account}:role/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reads_what_sts_returns() {
        for (text, account, role) in [
            ("arn:aws:iam::123456789012:user/alice", "123456789012", None),
            (
                "arn:aws:iam::123456789012:user/team/a/alice",
                "123456789012",
                None,
            ),
            ("arn:aws-cn:iam::123456789012:root", "123456789012", None),
            (
                "arn:aws:sts::123456789012:federated-user/jane",
                "123456789012",
                None,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/ci-deploy/session-1",
                "123456789012",
                Some("arn:aws:iam::123456789012:role/ci-deploy"),
            ),
            (
                "arn:aws-us-gov:sts::123456789012:assumed-role/ci/i-0abc",
                "123456789012",
                Some("arn:aws-us-gov:iam::123456789012:role/ci"),
            ),
            // No account has such a number, so no role is derived from it.
            ("arn:aws:sts::123:assumed-role/ci/s", "123", None),
            (
                "arn:aws:iam::123456789012:assumed-role/ci/s",
                "123456789012",
                None,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/ci",
                "123456789012",
                None,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/ci/",
                "123456789012",
                None,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role//s",
                "123456789012",
                None,
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/ci/s/t",
                "123456789012",
                None,
            ),
        ] {
            let arn = Arn::parse(text).unwrap();
            assert_eq!(arn.as_str(), text);
            assert_eq!(arn.account(), account);
            assert_eq!(arn.role().as_deref(), role, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        let long = format!("arn:aws:iam::123456789012:user/{}", "a".repeat(2048));
        for text in [
            "",
            "alice",
            "arn:aws:iam::123456789012",
            "arn:aws:iam::123456789012:",
            "xarn:aws:iam::123456789012:user/a",
            "arn:AWS:iam::123456789012:user/a",
            "arn:aws-:iam::123456789012:user/a",
            "arn:evil:iam::123456789012:user/a",
            "arn:aws:s3::123456789012:user/a",
            "arn:aws:iam:us-east-1:123456789012:user/a",
            "arn:aws:iam:::user/a",
            "arn:aws:iam::1234567890123:user/a",
            "arn:aws:iam::12345678901x:user/a",
            "arn:aws:iam::123456789012:user/a b",
            "arn:aws:iam::123456789012:user/a\r\nx: y",
            "arn:aws:iam::123456789012:user/\u{e9}",
            long.as_str(),
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
