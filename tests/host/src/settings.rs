//! Which proxy is played, and what its operator has set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::faults::Fault;

/// A proxy, as `docs/hosts` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Envoy with `failure_policy: FAIL_CLOSED`.
    Envoy,
    /// nginx with ngx_wasm_module, isolation `none`.
    Nginx,
}

impl Profile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Envoy, Self::Nginx];

    /// `envoy`, `nginx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
        }
    }
}

/// What an operator sets around the filter. Fields are plain, start from [`Settings::new`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which proxy.
    pub profile: Profile,
    /// How many workers.
    pub workers: usize,
    /// Environment variables that the module sees.
    pub env: BTreeMap<String, String>,
    /// The time at the start, in seconds since 1970.
    pub start_at: u64,
    /// The client's address.
    pub client_address: String,
    /// The VM's own configuration: Envoy's `vm_config.configuration`, the third word of nginx's `module`.
    pub vm_configuration: Vec<u8>,
    /// Properties beside the known ones: path with dots, value.
    pub properties: BTreeMap<String, Vec<u8>>,

    /// Host functions that fail from the very start.
    pub faults: Vec<Fault>,

    /// Envoy: cluster names. A callout to another is `BadArgument`.
    pub clusters: BTreeSet<String>,
    /// Envoy: `node.id`; empty for none.
    pub node_id: String,
    /// Envoy: the plugin's `allow_on_headers_stop_iteration`. Without it every pause in the header phase stops the body too.
    pub allow_on_headers_stop_iteration: bool,
    /// Envoy: a held body beyond this is answered with 413, in bytes.
    pub buffer_limit: usize,

    /// nginx: variables declared with `set $NAME ""`.
    pub variables: BTreeSet<String>,
    /// nginx: `proxy_set_header NAME $VARIABLE`. A variable that is empty takes the header away, unless the filter had removed it.
    pub proxy_set_header: BTreeMap<String, String>,
    /// nginx: `map $VARIABLE $guarded { default denied; VALUE backend; }`: unless the variable has that value, a request that the
    /// filter let go dies at a closed port (502).
    pub guard: Option<(String, String)>,
    /// nginx: the size of `shm_kv *`; `None` where it was not declared.
    pub shm_kv: Option<usize>,
    /// nginx: what `request.host` says.
    pub machine_name: String,
    /// nginx: what `:authority` says.
    pub server_name: String,
    /// nginx: a body longer than this is spilled to a file, and can't be read.
    pub client_body_buffer_size: usize,
}

impl Settings {
    /// One worker at 2026-01-01, nothing declared beyond the shared zone of 1 MiB.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            workers: 1,
            env: BTreeMap::new(),
            start_at: 1_767_225_600,
            client_address: "192.0.2.7:40000".to_owned(),
            vm_configuration: Vec::new(),
            properties: BTreeMap::new(),
            faults: Vec::new(),
            clusters: BTreeSet::new(),
            node_id: "proxy-1".to_owned(),
            allow_on_headers_stop_iteration: false,
            buffer_limit: 1 << 20,
            variables: BTreeSet::new(),
            proxy_set_header: BTreeMap::new(),
            guard: None,
            shm_kv: Some(1 << 20),
            machine_name: "machine-17".to_owned(),
            server_name: "agents.example:8080".to_owned(),
            client_body_buffer_size: 16 << 10,
        }
    }

    /// [`Settings::new`] with what the documentation tells an operator to set around the filter: on nginx all that
    /// `examples/nginx/nginx.conf` has, read out of that file; in Envoy that it shows bodies.
    pub fn documented(profile: Profile) -> Self {
        let mut settings = Self::new(profile);
        match profile {
            Profile::Envoy => settings.allow_on_headers_stop_iteration = true,
            Profile::Nginx => {
                settings.heed_nginx_conf(include_str!("../../../examples/nginx/nginx.conf"));
                settings
                    .properties
                    .insert("ngx.server_protocol".to_owned(), b"HTTP/1.1".to_vec());
            }
        }
        settings
    }

    /// Variables, headers and the guard of an nginx configuration whose statements each have a line of their own.
    fn heed_nginx_conf(&mut self, text: &str) {
        let statements = text
            .lines()
            .filter_map(|line| line.trim().strip_suffix(';'));
        for statement in statements {
            let words: Vec<&str> = statement.split_whitespace().collect();
            match words[..] {
                ["set", name, "\"\""] => {
                    self.variables
                        .extend(name.strip_prefix('$').map(str::to_owned));
                }
                ["proxy_set_header", name, "\"\""] => {
                    self.proxy_set_header
                        .insert(name.to_ascii_lowercase(), String::new());
                }
                ["proxy_set_header", name, value] if value.starts_with("$portcullis_") => {
                    self.proxy_set_header
                        .insert(name.to_ascii_lowercase(), value[1..].to_owned());
                }
                [value, "agents"] => {
                    self.guard = Some(("portcullis_decision".to_owned(), value.to_owned()));
                }
                // What follows is about fetching keys, and no agent's.
                ["proxy_pass", "http://$portcullis_upstream"] => break,
                _ => {}
            }
        }
        assert!(
            self.variables.len() == 10 && self.proxy_set_header.len() >= 15 && self.guard.is_some(),
            "examples/nginx/nginx.conf is not read as it is written: {self:?}"
        );
    }

    /// [`Settings::start_at`] as a duration.
    pub(crate) const fn epoch(&self) -> Duration {
        Duration::from_secs(self.start_at)
    }
}

/// What nginx makes of a single-quoted parameter: `\" \' \\ \n \r \t` are unescaped there too, and beyond about 4 KB it does not start.
///
/// # Errors
/// The message with which nginx refuses its configuration.
pub fn nginx_parameter(text: &str) -> Result<Vec<u8>, String> {
    // ngx_conf_file.c, NGX_CONF_BUFFER.
    const LONGEST: usize = 4096;
    if text.len() >= LONGEST {
        return Err("too long parameter, probably missing terminating \"'\" character".to_owned());
    }
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = match (byte, bytes.peek()) {
            (b'\\', Some(b'n')) => Some(b'\n'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(c @ (b'"' | b'\'' | b'\\'))) => Some(*c),
            _ => None,
        };
        if escaped.is_some() {
            bytes.next();
        }
        out.push(escaped.unwrap_or(byte));
    }
    Ok(out)
}
