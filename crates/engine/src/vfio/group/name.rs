//! Names of devices, as a group is asked for them: a PCI address, and perhaps a token that virtual
//! functions share with their physical one (`vfio_pci_core_match`).

use mem::{AddressSpace, PAGE_SIZE};

use crate::{Engine, Refusal};

/// The string of a caller, of less than a page with its end (`strndup_user`).
pub(super) fn load(memory: &dyn AddressSpace, va: u64) -> Result<Vec<u8>, Refusal> {
    const MOST: usize = PAGE_SIZE as usize;
    let mut name = Vec::new();
    let mut buffer = [0; 64];
    while name.len() < MOST {
        let at = va.wrapping_add(name.len() as u64);
        let in_page = (PAGE_SIZE - at % PAGE_SIZE) as usize;
        let part = &mut buffer[..in_page.min(64).min(MOST - name.len())];
        memory.read(at, part).map_err(Refusal::bad("name"))?;
        let end = part.iter().position(|byte| *byte == 0);
        name.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        if end.is_some() {
            return Ok(name);
        }
    }
    Err(Refusal::Invalid { field: "name", value: va, rule: "longer than a page" })
}

/// The device of a group with this name (`vfio_device_get_from_name`).
pub(super) fn find(engine: &Engine, group: u32, name: &[u8]) -> Result<usize, Refusal> {
    for index in engine.members(group) {
        let address = engine.functions[index].facts.address.to_string();
        let Some(rest) = name.strip_prefix(address.as_bytes()) else { continue };
        if !matches!(rest.first(), None | Some(b' ')) {
            continue;
        }
        return engine.match_token(index, token(rest)?).map(|()| index);
    }
    Err(Refusal::NoDevice { what: "the group has no such device" })
}

/// The token in what follows an address.
fn token(mut rest: &[u8]) -> Result<Option<[u8; 16]>, Refusal> {
    const LENGTH: usize = 36;
    let bad = |rule| Refusal::Invalid { field: "name", value: 0, rule };
    let mut found = None;
    while let Some(first) = rest.first() {
        if *first == b' ' {
            rest = &rest[1..];
            continue;
        }
        let after = rest.strip_prefix(b"vf_token=").filter(|_| found.is_none());
        let after = after.ok_or(bad("an unknown option, or one twice"))?;
        let text = after.get(..LENGTH).ok_or(bad("a token is too short"))?;
        found = Some(uuid(text).ok_or(bad("a token is no UUID"))?);
        rest = &after[LENGTH..];
    }
    Ok(found)
}

/// A UUID (`uuid_parse`).
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut value = 0_u128;
    for (at, letter) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *letter != b'-' {
                return None;
            }
            continue;
        }
        value = value << 4 | u128::from(char::from(*letter).to_digit(16)?);
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        const UUID: &str = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
        const VALUE: [u8; 16] = 0xbd8d_9d2b_5a5f_4f5a_a211_f591_514b_a1f3_u128.to_be_bytes();
        type Found = Result<Option<[u8; 16]>, ()>;
        let one = format!(" vf_token={UUID}");
        #[rustfmt::skip] // one name, one line
        let cases: &[(String, Found)] = &[
            (String::new(),                          Ok(None)),
            ("   ".to_owned(),                       Ok(None)),
            (one.clone(),                            Ok(Some(VALUE))),
            (format!("  {one}  "),                   Ok(Some(VALUE))),
            (one.to_uppercase().replace("VF_TOKEN", "vf_token"), Ok(Some(VALUE))),
            (format!("{one}{one}"),                  Err(())),
            (format!("{one}x"),                      Err(())),
            (" token=1".to_owned(),                  Err(())),
            (one[..one.len() - 1].to_owned(),        Err(())),
            (one.replace('9', "g"),                  Err(())),
            (one.replace('-', "0"),                  Err(())),
            (" vf_token=".to_owned(),                Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(token(text.as_bytes()).map_err(drop), *expected, "{text:?}");
        }
    }
}
