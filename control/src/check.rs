//! `portcullis check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_core::config::{ConfigError, Hazard, INLINE_BYTES, Warning};
use portcullis_core::policy::{Host, Policy};
use serde_json::{Value, json};

use crate::document::{self, Found};
use crate::output;

/// What is to be checked, and how strictly.
#[derive(clap::Args)]
pub struct Args {
    /// Files to check; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The VM's own configuration (nginx: after the module's path; Envoy: `vm_config.configuration`), for FILEs without one
    #[arg(long, value_name = "FILE")]
    vm_config: Option<PathBuf>,
    /// Fail on warnings too: on what is legal but dangerous
    #[arg(long)]
    deny_warnings: bool,
    /// Print the findings as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// The findings on one configuration.
struct Report {
    file: String,
    place: String,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    notes: Vec<String>,
    /// What it is, when it is one.
    summary: Option<Summary>,
}

/// One line of the filter's log, and its parts.
struct Finding {
    path: String,
    message: String,
    line: String,
}

struct Summary {
    version: String,
    providers: Vec<(String, &'static str)>,
}

/// Checks every file and says so.
pub fn run(args: &Args) -> ExitCode {
    let vm = args.vm_config.as_deref().map(|file| {
        let text = read(file).map_err(document::Fault::Io);
        text.and_then(|bytes| document::vm_configuration(&bytes))
            .map_err(|fault| (file, fault))
    });
    let reports: Vec<Report> = match vm.transpose() {
        Ok(vm) => {
            let vm = vm.unwrap_or_default();
            args.files
                .iter()
                .flat_map(|file| check(file, &vm))
                .collect()
        }
        Err((file, fault)) => {
            let name = file.display().to_string();
            vec![Report::unreadable(
                &name,
                String::new(),
                &fault.to_string(),
                Vec::new(),
            )]
        }
    };
    let failed = reports
        .iter()
        .any(|r| !r.errors.is_empty() || (args.deny_warnings && !r.warnings.is_empty()));
    if args.json {
        let all: Vec<Value> = reports.iter().map(Report::to_json).collect();
        output::result(&format!("{:#}\n", Value::Array(all)));
    } else {
        for report in &reports {
            report.print();
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Reads a file; `-` is standard input.
pub fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text)?;
        return Ok(text);
    }
    std::fs::read(file)
}

fn check(file: &Path, vm: &str) -> Vec<Report> {
    let name = file.display().to_string();
    let found = read(file)
        .map_err(document::Fault::Io)
        .and_then(|bytes| document::find(&bytes, vm));
    match found {
        Ok(found) => found.into_iter().map(|f| examine(&name, f, vm)).collect(),
        Err(fault) => vec![Report::unreadable(
            &name,
            String::new(),
            &fault.to_string(),
            Vec::new(),
        )],
    }
}

fn examine(file: &str, mut found: Found, vm: &str) -> Report {
    let notes = std::mem::take(&mut found.notes);
    let text = match &found.text {
        Ok(text) => text,
        Err(fault) => return Report::unreadable(file, found.place, fault, notes),
    };
    let loaded = found.load(text);
    // In an nginx file each parameter was measured as it stands there. This is what it would be at least.
    let longest = text.len().saturating_sub(vm.len()).max(vm.len());
    let around = std::mem::take(&mut found.warnings);
    let in_a_file_of_its_own = found.place.is_empty();
    let mut report = Report {
        file: file.to_owned(),
        place: found.place,
        errors: Vec::new(),
        warnings: Vec::new(),
        notes,
        summary: None,
    };
    for name in loaded.assumed {
        report.notes.push(format!(
            "the variable {name} is not set here; it must be where the proxy runs"
        ));
    }
    match loaded.outcome {
        Ok((policy, warnings)) => {
            report.warnings = warnings.iter().map(Finding::warning).collect();
            report
                .warnings
                .extend(around.into_iter().map(Finding::plain));
            if let Some(clusters) = &found.clusters {
                report
                    .warnings
                    .extend(clusters.warnings(&policy).into_iter().map(Finding::plain));
            }
            if in_a_file_of_its_own && policy.host == Some(Host::Nginx) && longest > INLINE_BYTES {
                report.warnings.push(Finding::warning(&Warning {
                    path: String::new(),
                    hazard: Hazard::TooLongInline { bytes: longest },
                }));
            }
            report.summary = Some(Summary::of(&policy));
        }
        Err(errors) => report.errors = errors.0.iter().map(Finding::error).collect(),
    }
    report
}

impl Report {
    fn unreadable(file: &str, place: String, message: &str, notes: Vec<String>) -> Self {
        Self {
            file: file.to_owned(),
            place,
            errors: vec![Finding {
                path: String::new(),
                message: message.to_owned(),
                line: message.to_owned(),
            }],
            warnings: Vec::new(),
            notes,
            summary: None,
        }
    }

    fn print(&self) {
        let mut at = self.file.clone();
        if !self.place.is_empty() {
            at.push_str(": ");
            at.push_str(&self.place);
        }
        for (kind, findings) in [("error", &self.errors), ("warning", &self.warnings)] {
            for finding in findings {
                output::message(kind, &format!("{at}: {}", finding.line));
            }
        }
        for note in &self.notes {
            output::message("note", &format!("{at}: {note}"));
        }
        if let Some(summary) = &self.summary {
            let providers: Vec<String> = summary
                .providers
                .iter()
                .map(|(name, kind)| {
                    if name == kind {
                        name.clone()
                    } else {
                        format!("{name} ({kind})")
                    }
                })
                .collect();
            output::result(&format!(
                "{at}: ok, version {}, providers {}\n",
                summary.version,
                providers.join(", ")
            ));
        }
    }

    fn to_json(&self) -> Value {
        let list = |findings: &[Finding]| -> Vec<Value> {
            findings
                .iter()
                .map(|f| json!({"path": f.path, "message": f.message}))
                .collect()
        };
        json!({
            "file": self.file,
            "place": self.place,
            "ok": self.errors.is_empty(),
            "errors": list(&self.errors),
            "warnings": list(&self.warnings),
            "notes": self.notes,
            "version": self.summary.as_ref().map(|s| &s.version),
            "providers": self.summary.as_ref().map(|s| {
                s.providers.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect::<Vec<_>>()
            }),
        })
    }
}

impl Finding {
    fn error(error: &ConfigError) -> Self {
        Self {
            path: error.path.clone(),
            message: error.problem.to_string(),
            line: error.to_string(),
        }
    }

    fn plain(message: String) -> Self {
        Self {
            path: String::new(),
            line: message.clone(),
            message,
        }
    }

    fn warning(warning: &Warning) -> Self {
        Self {
            path: warning.path.clone(),
            message: warning.hazard.to_string(),
            line: warning.to_string(),
        }
    }
}

impl Summary {
    fn of(policy: &Policy) -> Self {
        Self {
            version: policy.version.to_string(),
            providers: policy
                .providers
                .iter()
                .map(|p| (p.name.to_string(), p.kind.type_name()))
                .collect(),
        }
    }
}
