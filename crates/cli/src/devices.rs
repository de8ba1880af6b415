//! `softiommu devices`: what `run --device` takes.

use std::process::ExitCode;

use ::devices::catalogue::{ALL, Entry};
use clap::Args;
use serde_json::json;

use crate::output::{self, Format, document, table};

/// List the devices that run --device takes: their PCI IDs and settings
///
/// Exit status: 0; 2 of a usage error.
#[derive(Args)]
pub struct Options {
    /// How to print them
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Prints every device.
pub fn run(options: &Options) -> ExitCode {
    let text = match options.format {
        Format::Text => ALL.iter().map(|entry| paragraph(entry)).collect::<Vec<_>>().join("\n"),
        Format::Json => document(&ALL.iter().map(|entry| object(entry)).collect()),
    };
    output::finish(Ok((text, 0)))
}

/// The IDs as `lspci -n` prints them.
fn ids(entry: &Entry) -> (String, String) {
    let it = &entry.identity;
    (format!("{:04x}:{:04x}", it.vendor, it.device), format!("{:06x}", it.class))
}

fn paragraph(entry: &Entry) -> String {
    let (id, class) = ids(entry);
    let row = |it: &::devices::catalogue::Setting| {
        let default = if it.default.is_empty() { "none" } else { it.default };
        [format!("{}=", it.name), format!("{} (default: {default})", it.what)]
    };
    let settings: Vec<_> = entry.settings.iter().map(row).collect();
    let Entry { name, summary, .. } = entry;
    format!("{name}  {id}, class {class}: {summary}\n{}", table("  ", &settings))
}

fn object(entry: &Entry) -> serde_json::Value {
    let (id, class) = ids(entry);
    let settings: Vec<_> = entry
        .settings
        .iter()
        .map(|it| json!({ "name": it.name, "what": it.what, "default": it.default }))
        .collect();
    json!({
        "name": entry.name, "summary": entry.summary, "id": id, "class": class,
        "settings": settings,
    })
}
