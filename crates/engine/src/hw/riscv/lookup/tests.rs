//! Against the reference model.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;

use flate2::read::GzDecoder;
use serde_json::Value;

use pt::{Access, Rights};

use super::directory::Registers;
use crate::hw::ram::Ram;
use crate::hw::request::Request;

/// RAM of the reference model's bench: 64 MiB.
const RAM: Range<u64> = 0x8000_0000..0x8400_0000;

fn number(value: &Value) -> u64 {
    match value {
        Value::String(hex) => u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap(),
        other => other.as_u64().unwrap(),
    }
}

fn words(value: &Value) -> BTreeMap<u64, u64> {
    value.as_array().unwrap().iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
}

/// What the reference model came to: status, address, the fault record, and what memory changed.
fn expected(out: &Value) -> (u64, Option<u64>, Option<[u64; 3]>, BTreeMap<u64, u64>) {
    let record = out["fault"].as_array().map(|it| [0, 1, 2].map(|at| number(&it[at])));
    let address = (!out["spa"].is_null()).then(|| number(&out["spa"]));
    (number(&out["status"]), address, record, words(&out["mem_after"]))
}

fn found(vector: &Value) -> (u64, Option<u64>, Option<[u64; 3]>, BTreeMap<u64, u64>) {
    let ask = &vector["req"];
    let (rights, kind) = match ask["acc"].as_str().unwrap() {
        "r" => (Rights::READ, 2),
        "w" => (Rights::WRITE, 3),
        _ => (Rights::EXECUTE, 1),
    };
    let pasid = (number(&ask["pv"]) != 0).then(|| number(&ask["pid"]) as u32);
    let privileged = number(&ask["priv"]) != 0;
    let device_id = number(&ask["did"]) as u32;
    let request = Request {
        pasid,
        access: Access { privileged, ..Access::new(rights) },
        iova: number(&ask["iova"]),
        translation_only: false,
    };
    let ddtp = 0x8010_0000 >> 12 << 10 | 2;
    let registers = Registers { capabilities: number(&vector["cap"]), ddtp };
    let before = words(&vector["mem"]);
    let ram = Ram::new(RAM, before.clone());
    let translated = registers.translate(device_id, request, &ram);
    let mut after = ram.into_words();
    after.retain(|address, word| before.get(address) != Some(word));
    match translated {
        Ok(found) => (0, Some(found.address), None, after),
        Err(refused) => {
            let process =
                pasid.map_or(0, |id| u64::from(id) << 12 | 1 << 32 | u64::from(privileged) << 33);
            let head = u64::from(refused.cause) | process | kind << 34 | u64::from(device_id) << 40;
            let record = (!refused.silent).then_some([head, request.iova, refused.detail]);
            (1, None, record, after)
        }
    }
}

/// 10,000 requests as the official reference model answers them; `RISCV_VECTORS` names another file.
#[test]
fn riscv_reference() {
    const OWN: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/riscv_iommu_reference_10k.jsonl.gz");
    let name = std::env::var("RISCV_VECTORS").unwrap_or_else(|_| OWN.to_owned());
    let file = std::fs::File::open(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut count, mut wrong) = (0, Vec::new());
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let vector: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let (expected, found) = (expected(&vector["out"]), found(&vector));
        count += 1;
        if expected != found {
            wrong.push(format!("{}: {found:x?}, not {expected:x?} {}", vector["n"], vector["cfg"]));
        }
    }
    println!("{name}: {} of {count} equal", count - wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(count > 0, "{name} has no vectors");
}
